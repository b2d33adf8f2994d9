"""``dacodec stream``: live audio through pipes, or from a microphone to a speaker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacodec.cli import live, options
from dacodec.cli.messages import complain

if TYPE_CHECKING:
    from dacodec.codec import Codec
    from dacodec.container import Packet

app = typer.Typer(
    help="Live audio through pipes: raw samples in and out, nothing held back.", no_args_is_help=True
)

Rate = Annotated[int, typer.Option(help="Sampling rate, in Hz.")]
Channels = Annotated[int, typer.Option(help="Channels.")]
Raw = Annotated[str, typer.Option(help="Samples: s16le, s32le or f32le, interleaved.")]
Lookahead = Annotated[
    float | None,
    typer.Option(
        help="Look-ahead in milliseconds, each way: less for less delay. Default: as much as is exact.",
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
    packet_frames: Annotated[int, typer.Option(help="Frames per packet: fewer for less delay.", min=1)] = 4,
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
    coder = codec.stream_encoder(
        rate, n_quantizers=n_quantizers, lookahead_seconds=live.seconds(lookahead_ms)
    )
    live.warm_up(codec)
    blocks = live.samples_in(rate, channels, raw, microphone)
    header = header_of(codec.model, coder.n_quantizers, rate, channels, None)
    state, load = (
        None,
        live.Load(rate, coder.lookahead_seconds + packet_frames / codec.model.frames_per_second),
    )
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
        help="The input is a language model's rows of ids, laid out as for dia, parler-tts, higgs-audio or "
        "musicgen; needs --model."
    ),
]
Rows = Annotated[
    str, typer.Option(help="With --layout: uint16 (little-endian) or json (one list of ids per line).")
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

    With --layout, the input is a language model's output, row by row, instead of a .dacz stream.
    """
    if layout is not None:
        if model is None:
            raise typer.BadParameter(
                "say which codec the language model was trained on, such as --model descript/dac_44khz",
                param_hint="--layout",
            )
        codec = options.codec_loader(device, engine)(model)
        _decode_rows(codec, layout, rows, raw, live.seconds(lookahead_ms), speaker, statistics)
        return
    import numpy as np

    from dacodec.audio.conversion import as_given
    from dacodec.container import Reader

    reader = Reader(sys.stdin.buffer, conceal=True)
    header = reader.header
    codec = options.codec_loader(device, engine)(model or header.model_name)
    live.warm_up(codec)
    live.end_on_interrupt()
    decoder = codec.stream_decoder(header.sampling_rate, lookahead_seconds=live.seconds(lookahead_ms))
    state, load = None, live.Load(header.sampling_rate, decoder.lookahead_seconds)

    def push(packet: Packet) -> live.Heard:
        nonlocal state
        missing = np.full(packet.n_frames, packet.is_lost)
        audio, state = decoder.push(packet.codes, state, missing)
        (given,) = as_given([audio], header.gain, header.is_mid_side)
        return live.Heard(given, packet.n_frames / codec.model.frames_per_second)

    with live.samples_out(header.sampling_rate, header.channels, raw, speaker) as writer:
        live.hear(reader, push, writer, load)
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
    """Samples through encoder and decoder, as many out as in: hear what the other end would hear."""
    codec = options.codec_loader(device, engine)(model)
    lookahead = live.seconds(lookahead_ms)
    coder = codec.stream_encoder(rate, n_quantizers=n_quantizers, lookahead_seconds=lookahead)
    decoder = codec.stream_decoder(rate, lookahead_seconds=lookahead)
    load = live.Load(rate, coder.lookahead_seconds + decoder.lookahead_seconds)
    live.warm_up(codec)
    coding = decoding = None
    blocks = live.samples_in(rate, channels, raw, microphone)
    with live.samples_out(rate, channels, raw, speaker) as writer:
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
    """An error in a row is reported after the audio of the rows before it."""
    from dacodec.cli.rows import Listener, rows_in
    from dacodec.tokens import find_layout

    found = find_layout(layout)
    found.check(codec.n_codebooks, codec.model.codebook_size)
    decoder = codec.stream_decoder(lookahead_seconds=lookahead_seconds)
    listener, blocks = Listener(found, decoder), rows_in(sys.stdin.buffer, found, rows)
    live.warm_up(codec)
    live.end_on_interrupt()
    load = live.Load(codec.sampling_rate, decoder.lookahead_seconds)

    def until_wrong() -> Iterator[Any]:
        for block in blocks:
            yield block
            if listener.error is not None:
                return

    def push(block: Any) -> live.Heard:
        audio = listener.push(block)
        return live.Heard(audio, audio.shape[1] / codec.sampling_rate)

    with live.samples_out(codec.sampling_rate, 1, raw, speaker) as writer:
        live.hear(until_wrong(), push, writer, load)
        audio = listener.flush()
        load.add(audio.shape[1] / codec.sampling_rate, 0)
        writer.write(audio)
        sys.stdout.buffer.flush()
    if listener.bad:
        row, codebook, _, number = listener.bad[0]
        complain(
            f"id {number} at row {row}, codebook {codebook} is no code ({len(listener.bad)} such ids); the frame "
            "before was repeated there"
        )
    load.tell(statistics)
    if listener.error is not None:
        raise listener.error
