"""``dacodec stream``: live audio through pipes, or from a microphone to a speaker."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, cast

import typer

from dacodec.cli import options
from dacodec.cli.messages import complain

if TYPE_CHECKING:
    from dacodec.audio import PcmWriter, SampleFormat, Samples
    from dacodec.cli.devices import Speaker
    from dacodec.codec import Codec

app = typer.Typer(
    help="Live audio through pipes: bare samples in and out, nothing held back.", no_args_is_help=True
)

Rate = Annotated[int, typer.Option(help="Sampling rate, in Hz.")]
Channels = Annotated[int, typer.Option(help="Channels.")]
Raw = Annotated[str, typer.Option(help="Samples: s16le, s32le or f32le, interleaved.")]
Lookahead = Annotated[
    float | None,
    typer.Option(
        help="Milliseconds to look ahead, each way: less for less delay. Left out, as many as make it exact.",
        min=0,
    ),
]
Microphone = Annotated[bool, typer.Option("--microphone", help="Record instead of reading samples.")]
Speakers = Annotated[bool, typer.Option("--speaker", help="Play instead of writing samples.")]
Statistics = Annotated[bool, typer.Option("--statistics", help="Latency and load, on stderr, at the end.")]


@app.command()
def encode(
    rate: Rate = 44100,
    channels: Channels = 1,
    raw: Raw = "s16le",
    packet_frames: Annotated[int, typer.Option(help="Frames a packet: fewer for less delay.", min=1)] = 4,
    model: options.Model = "builtin",
    n_quantizers: options.NQuantizers = None,
    lookahead_ms: Lookahead = None,
    microphone: Microphone = False,
    device: options.Device = "cpu",
    engine: options.Engine = "auto",
    statistics: Statistics = False,
) -> None:
    """Samples on standard input to a .dacz stream on standard output, packet by packet."""
    from dataclasses import replace

    from dacodec.container import Writer
    from dacodec.encoded import header_of

    codec = options.codec_loader(device, engine)(model)
    coder = codec.stream_encoder(rate, n_quantizers=n_quantizers, lookahead_seconds=_seconds(lookahead_ms))
    _warm_up(codec)
    blocks = _samples_in(rate, channels, raw, microphone)
    header = header_of(codec.model, coder.n_quantizers, rate, channels, None)
    state, load = None, _Load(rate, coder.lookahead_seconds + packet_frames / codec.model.frames_per_second)
    with Writer(sys.stdout.buffer, replace(header, packet_frames=packet_frames)) as writer:
        sys.stdout.buffer.flush()
        for block in load.watch(blocks):
            codes, state = coder.push(block, state)
            writer.write(codes)
            sys.stdout.buffer.flush()
        if state is not None:
            writer.write(coder.flush(state))
        writer.close(0 if state is None else state.n_samples)
    load.tell(statistics)


Layout = Annotated[
    str | None,
    typer.Option(
        help="The input is rows of ids of a language model, laid out as in dia, parler-tts, higgs-audio or musicgen; "
        "needs --model."
    ),
]
Rows = Annotated[
    str, typer.Option(help="With --layout: uint16 (little-endian) or json (a list of ids a line).")
]


@app.command()
def decode(
    raw: Raw = "s16le",
    model: options.OtherModel = None,
    layout: Layout = None,
    rows: Rows = "uint16",
    lookahead_ms: Lookahead = None,
    speaker: Speakers = False,
    device: options.Device = "cpu",
    engine: options.Engine = "auto",
    statistics: Statistics = False,
) -> None:
    """A .dacz stream on standard input to samples on standard output, packet by packet; damage is concealed.

    With --layout, what a language model writes, row by row, instead of the .dacz stream.
    """
    if layout is not None:
        if model is None:
            raise typer.BadParameter(
                "say which codec the language model learned from, such as --model descript/dac_44khz",
                param_hint="--layout",
            )
        codec = options.codec_loader(device, engine)(model)
        _decode_rows(codec, layout, rows, raw, _seconds(lookahead_ms), speaker, statistics)
        return
    import numpy as np

    from dacodec.codec.coder import as_given
    from dacodec.container import Reader

    reader = Reader(sys.stdin.buffer, conceal=True)
    header = reader.header
    codec = options.codec_loader(device, engine)(model or header.model_name)
    _warm_up(codec)
    _end_on_interrupt()
    decoder = codec.stream_decoder(header.sampling_rate, lookahead_seconds=_seconds(lookahead_ms))
    state, load = None, _Load(header.sampling_rate, decoder.lookahead_seconds)
    with _samples_out(header.sampling_rate, header.channels, raw, speaker) as writer:
        for packet in reader:
            started = time.perf_counter()
            audio, state = decoder.push(packet.codes, state, np.full(packet.n_frames, packet.is_lost))
            load.add(packet.n_frames / codec.model.frames_per_second, time.perf_counter() - started)
            writer.write(*as_given([audio], header.gain, header.is_mid_side))
            sys.stdout.buffer.flush()
        if state is not None:
            audio = decoder.flush(state, reader.n_samples)
            writer.write(*as_given([audio], header.gain, header.is_mid_side))
    load.tell(statistics)


@app.command()
def loopback(
    rate: Rate = 44100,
    channels: Channels = 1,
    raw: Raw = "s16le",
    model: options.Model = "builtin",
    n_quantizers: options.NQuantizers = None,
    lookahead_ms: Lookahead = None,
    microphone: Microphone = False,
    speaker: Speakers = False,
    device: options.Device = "cpu",
    engine: options.Engine = "auto",
    statistics: Statistics = False,
) -> None:
    """Samples through encoder and decoder and out again, as many as went in: hear what the other end would."""
    codec = options.codec_loader(device, engine)(model)
    lookahead = _seconds(lookahead_ms)
    coder = codec.stream_encoder(rate, n_quantizers=n_quantizers, lookahead_seconds=lookahead)
    decoder = codec.stream_decoder(rate, lookahead_seconds=lookahead)
    load = _Load(rate, coder.lookahead_seconds + decoder.lookahead_seconds)
    _warm_up(codec)
    coding = decoding = None
    blocks = _samples_in(rate, channels, raw, microphone)
    with _samples_out(rate, channels, raw, speaker) as writer:
        for block in load.watch(blocks):
            codes, coding = coder.push(block, coding)
            audio, decoding = decoder.push(codes, decoding)
            writer.write(audio)
            sys.stdout.buffer.flush()
        if coding is not None:
            left = coding.n_samples - (decoding.n_samples if decoding else 0)
            audio, decoding = decoder.push(coder.flush(coding), decoding)
            writer.write(audio[:, :left])
            writer.write(decoder.flush(decoding, coding.n_samples))
    load.tell(statistics)


def _decode_rows(
    codec: Codec,
    layout: str,
    rows: str,
    raw: str,
    lookahead_seconds: float | None,
    speaker: bool,
    statistics: bool,
) -> None:
    """What is wrong with a row is said after the audio of those before it."""
    from dacodec.cli.rows import Listener, rows_in
    from dacodec.tokens import find_layout

    found = find_layout(layout)
    found.check(codec.n_codebooks, codec.model.codebook_size)
    decoder = codec.stream_decoder(lookahead_seconds=lookahead_seconds)
    listener, blocks = Listener(found, decoder), rows_in(sys.stdin.buffer, found, rows)
    _warm_up(codec)
    _end_on_interrupt()
    load = _Load(codec.sampling_rate, decoder.lookahead_seconds)
    with _samples_out(codec.sampling_rate, 1, raw, speaker) as writer:
        for block in blocks:
            started = time.perf_counter()
            audio = listener.push(block)
            load.add(audio.shape[1] / codec.sampling_rate, time.perf_counter() - started)
            writer.write(audio)
            sys.stdout.buffer.flush()
            if listener.error is not None:
                break
        audio = listener.flush()
        load.add(audio.shape[1] / codec.sampling_rate, 0)
        writer.write(audio)
        sys.stdout.buffer.flush()
    if listener.bad:
        row, codebook, _, number = listener.bad[0]
        complain(
            f"id {number} at row {row}, codebook {codebook} is no code ({len(listener.bad)} such ids); the frame "
            "before was decoded there"
        )
    load.tell(statistics)
    if listener.error is not None:
        raise listener.error


def _warm_up(codec: Codec) -> None:
    """Before the signal: first calls are slow."""
    import numpy as np

    codes = codec.encode(np.zeros(codec.model.hop_length), codec.sampling_rate)
    codec.decode(codes)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _samples_in(rate: int, channels: int, raw: str, recorded: bool) -> Iterator[Samples]:
    """Until the input's end, or Ctrl-C."""
    from dacodec.audio import PcmReader
    from dacodec.cli.devices import microphone

    ended = _end_on_interrupt()
    if recorded:
        return microphone(rate, channels, ended)
    return PcmReader(sys.stdin.buffer, rate, channels, cast("SampleFormat", raw)).blocks()


def _samples_out(
    rate: int, channels: int, raw: str, played: bool
) -> AbstractContextManager[PcmWriter | Speaker]:
    from dacodec.audio import PcmWriter
    from dacodec.cli.devices import speaker

    return speaker(rate, channels) if played else PcmWriter(sys.stdout.buffer, cast("SampleFormat", raw))


def _end_on_interrupt() -> threading.Event:
    """Ctrl-C ends the signal as the end of the input does: what is under way is finished.

    Standard input becomes empty, and the event that is returned is set.
    """
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())

    signal.signal(signal.SIGINT, end)
    return ended


class _Load:
    """How much of the time was work."""

    def __init__(self, sampling_rate: int, lookahead_seconds: float) -> None:
        self._rate, self._lookahead = sampling_rate, lookahead_seconds
        self._audio = self._work = self._longest = 0.0

    def watch(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """``blocks``, with the time taken by whoever asked for them."""
        for block in blocks:
            started = time.perf_counter()
            yield block
            self.add(block.shape[1] / self._rate, time.perf_counter() - started)

    def add(self, audio_seconds: float, work_seconds: float) -> None:
        self._audio += audio_seconds
        self._work += work_seconds
        self._longest = max(self._longest, work_seconds)

    def tell(self, wanted: bool) -> None:
        if wanted and self._audio:
            print(
                f"{self._audio:.2f} s of audio, {self._work / self._audio:.2f} s of work a second, longest push "
                f"{1000 * self._longest:.0f} ms, look-ahead {1000 * self._lookahead:.0f} ms",
                file=sys.stderr,
            )
