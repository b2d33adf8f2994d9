"""Any audio in, tokens out, and the same audio length back.

Shapes: C channels, T samples, K codebooks in use, F frames. The channels of a recording are coded as they
are, each on its own, with one gain for all, so that the stereo image stays.

Long signals go through in chunks that give exactly what the whole would (``engine/chunks.py``): arrays, files and
pipes take the same way, block by block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacodec import audio as audio_io
from dacodec import streaming, transcode
from dacodec.audio import Samples, ending_at, exactly, resample_blocks, resampled_length
from dacodec.checkpoint import load_model
from dacodec.encoded import Encoded, Model
from dacodec.engine import Engine, make_engine
from dacodec.engine.batches import decode_rows, encode_rows
from dacodec.engine.chunks import CHUNK_SECONDS, chunk_frames, decode_chunks, encode_chunks
from dacodec.errors import AudioError, CodesError, ModelMismatchError
from dacodec.geometry import Geometry
from dacodec.model.quantizer import check_codes

Codes = NDArray[np.uint16]

# Frames at the end that may be padding only: the last one, and one for how resamplers round lengths.
_PADDING_FRAMES = 2


class Codec:
    """Audio of any rate, length and number of channels to codes, and back to exactly as much audio.

    Safe to call from several threads.

    Args:
        engine: runs the model.
        model: who it is.
        chunk_seconds: long audio is computed in pieces of about this length. It changes memory and speed, and
            nothing of the result.
    """

    def __init__(self, engine: Engine, model: Model, chunk_seconds: float = CHUNK_SECONDS) -> None:
        self.engine = engine
        self.model = model
        self.chunk_seconds = chunk_seconds

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] = "builtin",
        *,
        engine: str = "auto",
        precision: str = "fast",
        threads: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Codec:
        """A codec with the weights of ``source``.

        Args:
            source: ``"builtin"``, a folder, a hub id such as ``"descript/dac_44khz"``, or a Descript ``.pth``.
            engine: ``"auto"``, ``"native"``, ``"torch"`` or ``"torch-compile"``.
            precision: of the native engine: ``"fast"``, or ``"exact"`` to PyTorch's own rounding.
            threads: of the native engine, at most one a core; left out, as many as PyTorch uses and a
                container's quota allows.

        Raises:
            CheckpointError: if the weights cannot be found or do not fit.
            EngineError: if there is no such engine, or it cannot run here.
        """
        loaded = load_model(
            source,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            device=device,
            dtype=dtype,
        )
        config = loaded.model.config
        model = Model(
            loaded.name, loaded.fingerprint, config.sampling_rate, config.hop_length, config.codebook_size
        )
        return cls(make_engine(loaded.model, engine, precision, threads), model)

    @property
    def geometry(self) -> Geometry:
        return self.engine.geometry

    @property
    def sampling_rate(self) -> int:
        """The model's rate, in Hz."""
        return self.model.sampling_rate

    @property
    def n_codebooks(self) -> int:
        return self.geometry.config.n_codebooks

    def encode(
        self,
        audio: Any,
        sampling_rate: int | None = None,
        *,
        n_quantizers: int | None = None,
        bitrate_kbps: float | None = None,
        loudness_lufs: float | None = None,
        mid_side: bool = False,
    ) -> Encoded:
        """Audio to codes.

        Args:
            audio: NumPy array or torch tensor, [T] or [C, T], floats in [-1, 1] or integers of full scale; or
                such an array with its rate, as data loaders hand it out: a row ``{"array", "sampling_rate"}`` of
                Hugging Face's datasets, a decoder with ``get_all_samples()``, torchcodec's ``AudioSamples``.
            sampling_rate: of ``audio``, in Hz; any. Left out only where ``audio`` brings it.
            n_quantizers: codebooks to use, 1..N; left out, all.
            bitrate_kbps: instead, as many codebooks as fit in this rate of all channels together.
            loudness_lufs: bring the audio to this loudness (ITU-R BS.1770) before coding, as far as it does
                not clip; decoding takes it back. DAC was trained at -16.
            mid_side: code the mid and side of a stereo recording rather than left and right: errors then lie
                where the channels agree or differ, and what is in the middle stays there.

        Raises:
            AudioError: if the audio is empty or of a wrong shape or dtype, or holds NaN or infinity; if its rate
                is not known, or contradicts the one that it brings.
            CodesError: if ``n_quantizers`` or ``bitrate_kbps`` cannot be had.
        """
        given = _given(audio, sampling_rate, loudness_lufs, mid_side)
        n_quantizers = self.choose_n_quantizers(len(given.samples), n_quantizers, bitrate_kbps)
        blocks = self.encode_blocks(
            [given.samples],
            given.sampling_rate,
            n_quantizers=n_quantizers,
            gain=given.gain,
            mid_side=mid_side,
        )
        return self._encoded(np.concatenate(list(blocks), axis=2), given)

    def decode(self, encoded: Encoded, *, allow_other_model: bool = False) -> NDArray[np.float32]:
        """Codes to audio, of the rate, channels and number of samples that were given.

        Args:
            allow_other_model: decode codes of a model with another fingerprint but the same shape.

        Returns:
            float32 [C, T], or [T] if the audio was given so.

        Raises:
            ModelMismatchError: if another model made the codes.
            CodesError: if the codes are out of range.
        """
        self.check_model(encoded.model, encoded.n_codebooks, allow_other_model)
        blocks = self.decode_blocks(
            [encoded.codes],
            encoded.sampling_rate,
            n_samples=encoded.n_samples,
            gain=encoded.gain,
            mid_side=encoded.mid_side,
        )
        return _joined(blocks, encoded)

    def encode_batch(
        self,
        audios: Sequence[Any],
        sampling_rates: int | Sequence[int | None] | None = None,
        *,
        n_quantizers: int | None = None,
        bitrate_kbps: float | None = None,
        loudness_lufs: float | None = None,
        mid_side: bool = False,
    ) -> list[Encoded]:
        """Many recordings at once: what :meth:`encode` gives for each, in the order given.

        Recordings of like length go through the model together, padded and masked (``engine/batches.py``).

        Args:
            audios: as for :meth:`encode`, of any lengths and numbers of channels.
            sampling_rates: of each, or one for all, in Hz. Left out only where all bring theirs.
        """
        rates: Any = sampling_rates
        if rates is None or np.ndim(rates) == 0:
            rates = [rates] * len(audios)
        if len(rates) != len(audios):
            raise AudioError(f"{len(audios)} recordings but {len(rates)} sampling rates; give one for each")
        given = [
            _given(audio, rate, loudness_lufs, mid_side) for audio, rate in zip(audios, rates, strict=True)
        ]
        counts = [self.choose_n_quantizers(len(g.samples), n_quantizers, bitrate_kbps) for g in given]
        rows = [row for g in given for row in self._rows(g)]
        # The codes of fewer codebooks are the first of the codes of more.
        frames = chunk_frames(self.engine, self.chunk_seconds)
        coded = iter(encode_rows(self.engine, rows, max(counts, default=1), frames))
        return [
            self._encoded(_uint16(torch.stack([next(coded)[:count] for _ in g.samples])), g)
            for g, count in zip(given, counts, strict=True)
        ]

    def decode_batch(
        self, encoded: Sequence[Encoded], *, allow_other_model: bool = False
    ) -> list[NDArray[np.float32]]:
        """Many recordings at once: what :meth:`decode` gives for each, in the order given."""
        for one in encoded:
            self.check_model(one.model, one.n_codebooks, allow_other_model)
        rows = [torch.from_numpy(codes.astype(np.int64)) for one in encoded for codes in one.codes]
        decoded = iter(decode_rows(self.engine, rows, chunk_frames(self.engine, self.chunk_seconds)))
        return [
            _joined(
                self.at_given_rate(
                    [torch.stack([next(decoded) for _ in one.codes]).numpy()],
                    one.sampling_rate,
                    one.n_samples,
                    one.gain,
                    one.mid_side,
                ),
                one,
            )
            for one in encoded
        ]

    def encode_blocks(
        self,
        blocks: Iterable[Samples],
        sampling_rate: int,
        *,
        n_quantizers: int | None = None,
        gain: float = 1.0,
        mid_side: bool = False,
    ) -> Iterator[Codes]:
        """Codes [C, K, F], bit by bit, of a recording that comes in blocks [C, T]: the same as of the whole."""
        yield from self.encode_raw(self.at_model_rate(blocks, sampling_rate, gain, mid_side), n_quantizers)

    def decode_blocks(
        self,
        blocks: Iterable[Codes],
        sampling_rate: int,
        *,
        n_samples: int | Callable[[], int],
        gain: float = 1.0,
        mid_side: bool = False,
    ) -> Iterator[Samples]:
        """Audio [C, T], bit by bit, of codes that come in blocks [C, K, F].

        Args:
            n_samples: how many in all, per channel; a function, if that is known only after the last block.
        """
        yield from self.at_given_rate(self.decode_raw(blocks), sampling_rate, n_samples, gain, mid_side)

    def from_codes(
        self, codes: Any, *, sampling_rate: int | None = None, n_samples: int | None = None
    ) -> Encoded:
        """Codes from outside, a language model's output for one, made ready for :meth:`decode`.

        Args:
            codes: NumPy array or torch tensor of integers, [K, F] or [C, K, F], K from 1 to N.
            sampling_rate: of the audio to be given back, in Hz; left out, the model's.
            n_samples: of it; left out, all that the frames give.

        Raises:
            CodesError: for codes of wrong rank or dtype or out of range, with their position.
        """
        tensor = codes.detach().cpu() if isinstance(codes, Tensor) else torch.as_tensor(np.asarray(codes))
        flat = tensor.ndim == 2
        config = self.geometry.config
        tensor = check_codes(tensor[None] if flat else tensor, config.n_codebooks, config.codebook_size)
        rate = sampling_rate or self.sampling_rate
        if n_samples is None:
            n_samples = self.geometry.samples(tensor.shape[-1]) * rate // self.sampling_rate
        return Encoded(_uint16(tensor), rate, n_samples, self.model, flat=flat)

    encode_file = transcode.encode_file
    encode_stream = transcode.encode_stream
    decode_file = transcode.decode_file
    decode_stream = transcode.decode_stream
    stream_encoder = streaming.stream_encoder
    stream_decoder = streaming.stream_decoder

    def choose_n_quantizers(
        self, n_channels: int, n_quantizers: int | None, bitrate_kbps: float | None
    ) -> int:
        most = self.n_codebooks
        if n_quantizers is not None and bitrate_kbps is not None:
            raise CodesError("give n_quantizers or bitrate_kbps, not both")
        if bitrate_kbps is not None:
            each = self.geometry.config.bitrate_kbps(1) * n_channels
            if not bitrate_kbps >= each:
                raise CodesError(
                    f"{bitrate_kbps:g} kbit/s is less than one codebook for {n_channels} channel(s) takes; "
                    f"give at least {each:.3f}"
                )
            return min(most, int(bitrate_kbps / each + 1e-9))
        if n_quantizers is None:
            return most
        if isinstance(n_quantizers, bool) or not 1 <= n_quantizers <= most:
            raise CodesError(f"n_quantizers must be from 1 to {most}, got {n_quantizers}")
        return n_quantizers

    def at_model_rate(
        self, blocks: Iterable[Samples], sampling_rate: int, gain: float = 1.0, mid_side: bool = False
    ) -> Iterator[Samples]:
        """What :meth:`encode_raw` takes, of a recording that comes in blocks [C, T]."""
        blocks = audio_io.mid_side(blocks) if mid_side else blocks
        scaled = blocks if gain == 1 else (block * np.float32(gain) for block in blocks)
        yield from resample_blocks(scaled, sampling_rate, self.sampling_rate)

    def encode_raw(self, blocks: Iterable[Samples], n_quantizers: int | None = None) -> Iterator[Codes]:
        """Codes [C, K, F], bit by bit, of audio at the model's rate in blocks [C, T]."""
        frames = chunk_frames(self.engine, self.chunk_seconds)
        return map(_uint16, encode_chunks(self.engine, map(torch.from_numpy, blocks), n_quantizers, frames))

    def decode_raw(self, blocks: Iterable[Codes]) -> Iterator[Samples]:
        """Audio [C, T] at the model's rate, bit by bit, of codes in blocks [C, K, F]: all that they give."""
        frames = chunk_frames(self.engine, self.chunk_seconds)
        codes = (torch.from_numpy(block.astype(np.int64)) for block in blocks)
        return (block.numpy() for block in decode_chunks(self.engine, codes, frames))

    def at_given_rate(
        self,
        decoded: Iterable[Samples],
        sampling_rate: int,
        n_samples: int | Callable[[], int],
        gain: float = 1.0,
        mid_side: bool = False,
    ) -> Iterator[Samples]:
        """The recording in blocks [C, T] of what :meth:`decode_raw` gives; arguments as of :meth:`decode_blocks`."""

        # What pads the last frame is cut off before resampling, as it was put on after resampling.
        def n_model() -> int:
            n = n_samples if isinstance(n_samples, int) else n_samples()
            return resampled_length(n, sampling_rate, self.sampling_rate)

        if isinstance(n_samples, int):
            cut = exactly(decoded, n_model())
            given = exactly(resample_blocks(cut, self.sampling_rate, sampling_rate), n_samples)
        else:
            cut = ending_at(decoded, n_model, _PADDING_FRAMES * self.model.hop_length)
            resampled = resample_blocks(cut, self.sampling_rate, sampling_rate)
            given = ending_at(resampled, n_samples, -(-sampling_rate // self.sampling_rate))
        for block in audio_io.left_right(given) if mid_side else given:
            yield block / np.float32(gain)

    def _rows(self, given: _Given) -> Tensor:
        """[C, T] at the model's rate."""
        blocks = self.at_model_rate([given.samples], given.sampling_rate, given.gain, given.mid_side)
        return torch.from_numpy(np.concatenate(list(blocks), axis=1))

    def _encoded(self, codes: Codes, given: _Given) -> Encoded:
        n_samples = given.samples.shape[1]
        return Encoded(
            codes, given.sampling_rate, n_samples, self.model, given.gain, given.mid_side, given.flat
        )

    def check_model(self, theirs: Model, n_codebooks: int, allow_other_model: bool = False) -> None:
        """Raise ModelMismatchError unless codes of ``theirs`` can be decoded here."""
        mine = self.model
        shape = ("sampling_rate", "hop_length", "codebook_size")
        fits = all(getattr(mine, name) == getattr(theirs, name) for name in shape)
        if not fits or n_codebooks > self.n_codebooks:
            raise ModelMismatchError(
                f"these codes are of {theirs.name!r}, whose shape {mine.name!r} does not have; "
                f"load {theirs.name!r} to decode them"
            )
        if mine.fingerprint != theirs.fingerprint and not allow_other_model:
            raise ModelMismatchError(
                f"these codes are of {theirs.name!r} ({theirs.fingerprint.hex()[:12]}), not of {mine.name!r} "
                f"({mine.fingerprint.hex()[:12]}); load that model, or pass allow_other_model=True"
            )


class _Given(NamedTuple):
    """A recording as it was given, checked."""

    samples: Samples  # [C, T]
    sampling_rate: int  # Hz
    gain: float  # to be multiplied by
    mid_side: bool  # to be coded so
    flat: bool  # it came as [T]


def _given(audio: Any, sampling_rate: int | None, loudness_lufs: float | None, mid_side: bool) -> _Given:
    audio, rate = audio_io.unpacked(audio, sampling_rate)
    samples = audio_io.as_float(audio)
    gain = 1.0
    if loudness_lufs is not None:
        gain = transcode.gain_to([samples], len(samples), rate, loudness_lufs)
    transcode.check_mid_side(len(samples), mid_side)
    return _Given(samples, rate, gain, mid_side, flat=np.ndim(audio) == 1)


def _joined(blocks: Iterable[Samples], encoded: Encoded) -> NDArray[np.float32]:
    nothing = np.zeros((encoded.n_channels, 0), np.float32)
    samples = np.concatenate([nothing, *blocks], axis=1)
    return samples[0] if encoded.flat else samples


def _uint16(codes: Tensor) -> Codes:
    return codes.numpy().astype(np.uint16)
