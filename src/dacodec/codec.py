"""Any audio in, tokens out, and the same audio length back.

Shapes: C channels, T samples, K codebooks in use, F frames. The channels of a recording are coded as they
are, each on its own, with one gain for all, so that the stereo image stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dacodec import audio as audio_io
from dacodec.checkpoint import load_model
from dacodec.container import Header, Reader, Writer
from dacodec.engine import Engine, make_engine
from dacodec.errors import AudioError, CodesError, ModelMismatchError
from dacodec.files import new_file, open_input
from dacodec.geometry import Geometry
from dacodec.model.quantizer import check_codes


@dataclass(frozen=True)
class Model:
    """What codes must say about the model that made them."""

    name: str
    fingerprint: bytes
    sampling_rate: int  # Hz
    hop_length: int  # samples at sampling_rate
    codebook_size: int

    @property
    def frames_per_second(self) -> float:
        return self.sampling_rate / self.hop_length


@dataclass(frozen=True)
class Encoded:
    """A coded recording: codes, and what is needed to give back the audio as it came.

    ``encoded[a:b]`` are its frames a to b, ``Encoded.concatenate`` puts recordings one after the other.

    Args:
        codes: uint16 [C, K, F].
        sampling_rate: in Hz, of the audio as given.
        n_samples: per channel at ``sampling_rate``.
        model: which model made the codes.
        gain: what the audio was multiplied by before coding.
        flat: the audio was given as [T] and is given back so.
    """

    codes: NDArray[np.uint16]
    sampling_rate: int
    n_samples: int
    model: Model
    gain: float = 1.0
    flat: bool = False

    @property
    def n_channels(self) -> int:
        return int(self.codes.shape[0])

    @property
    def n_codebooks(self) -> int:
        return int(self.codes.shape[1])

    @property
    def n_frames(self) -> int:
        return int(self.codes.shape[2])

    @property
    def duration_seconds(self) -> float:
        return self.n_samples / self.sampling_rate

    @property
    def bitrate_kbps(self) -> float:
        """True rate of the codes of all channels, in kbit/s."""
        bits = (self.model.codebook_size - 1).bit_length()
        return self.n_channels * self.n_codebooks * bits * self.model.frames_per_second / 1000

    def __len__(self) -> int:
        return self.n_frames

    def __getitem__(self, frames: slice) -> Encoded:
        """The frames of a slice without a step; what they share of the samples comes along.

        Near a cut the audio differs from the whole recording's, as far as the decoder's receptive field.
        """
        if not isinstance(frames, slice) or frames.step not in (None, 1):
            raise TypeError("an Encoded is cut by a slice of frames without a step, as in encoded[10:20]")
        start, stop, _ = frames.indices(self.n_frames)
        stop = max(start, stop)
        first = min(self._sample_of(start), self.n_samples)
        last = self.n_samples if stop == self.n_frames else min(self._sample_of(stop), self.n_samples)
        return replace(self, codes=self.codes[:, :, start:stop], n_samples=last - first)

    @staticmethod
    def concatenate(parts: Iterable[Encoded]) -> Encoded:
        """One recording after the other, joined at whole frames.

        What pads the last frame of a part (but the last part's) is kept, less than a frame.

        Raises:
            CodesError: if there are none, or they differ in model, rate, channels, codebooks or gain.
        """
        parts = list(parts)
        if not parts:
            raise CodesError("nothing to concatenate")
        first, last = parts[0], parts[-1]
        for part in parts:
            for name in ("model", "sampling_rate", "n_channels", "n_codebooks", "gain"):
                if getattr(part, name) != getattr(first, name):
                    raise CodesError(
                        f"cannot concatenate: {name} is {getattr(first, name)} and {getattr(part, name)}"
                    )
        codes = np.concatenate([part.codes for part in parts], axis=2)
        n_samples = first._sample_of(codes.shape[2] - last.n_frames) + last.n_samples
        return replace(first, codes=codes, n_samples=n_samples)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write a ``.dacz`` file (docs/format.md).

        Raises:
            OutputError: if ``path`` exists and ``overwrite`` is False, or cannot be written.
        """
        with new_file(path, overwrite) as file, Writer(file, self.header()) as writer:
            writer.write(self.codes)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Encoded:
        """Read a ``.dacz`` file.

        Raises:
            InputError: if there is none, or it cannot be opened.
            FormatError: if it breaks the format, with the byte offset.
        """
        with open_input(path) as file:
            reader = Reader(file)
            codes = reader.read_codes()
            header = reader.header
            assert reader.n_samples is not None
            model = Model(
                header.model_name,
                header.fingerprint,
                header.model_sampling_rate,
                header.hop_length,
                header.codebook_size,
            )
            return Encoded(codes, header.sampling_rate, reader.n_samples, model, header.gain)

    def header(self) -> Header:
        """What the file says about itself."""
        return Header(
            model_name=self.model.name,
            fingerprint=self.model.fingerprint,
            model_sampling_rate=self.model.sampling_rate,
            hop_length=self.model.hop_length,
            codebook_size=self.model.codebook_size,
            n_codebooks=self.n_codebooks,
            sampling_rate=self.sampling_rate,
            channels=self.n_channels,
            n_samples=self.n_samples,
            gain=self.gain,
        )

    def _sample_of(self, frame: int) -> int:
        """First sample, at ``sampling_rate``, of a frame."""
        return round(frame * self.model.hop_length * self.sampling_rate / self.model.sampling_rate)


class Codec:
    """Audio of any rate, length and number of channels to codes, and back to exactly as much audio.

    Safe to call from several threads.

    Args:
        engine: runs the model.
        model: who it is.
    """

    def __init__(self, engine: Engine, model: Model) -> None:
        self.engine = engine
        self.model = model

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] = "builtin",
        *,
        engine: str = "auto",
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
            engine: ``"auto"``, ``"torch"`` or ``"torch-compile"``.

        Raises:
            CheckpointError: if the weights cannot be found or do not fit.
            EngineError: if there is no such engine.
        """
        loaded = load_model(
            source, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token,
            device=device, dtype=dtype,
        )  # fmt: skip
        config = loaded.model.config
        model = Model(
            loaded.name, loaded.fingerprint, config.sampling_rate, config.hop_length, config.codebook_size
        )
        return cls(make_engine(loaded.model, engine), model)

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
        sampling_rate: int,
        *,
        n_quantizers: int | None = None,
        bitrate_kbps: float | None = None,
        loudness_lufs: float | None = None,
    ) -> Encoded:
        """Audio to codes.

        Args:
            audio: NumPy array or torch tensor, [T] or [C, T], floats in [-1, 1] or integers of full scale.
            sampling_rate: of ``audio``, in Hz; any.
            n_quantizers: codebooks to use, 1..N; left out, all.
            bitrate_kbps: instead, as many codebooks as fit in this rate of all channels together.
            loudness_lufs: bring the audio to this loudness (ITU-R BS.1770) before coding, as far as it does
                not clip; decoding takes it back. DAC was trained at -16.

        Raises:
            AudioError: if the audio is empty or of a wrong shape or dtype, or holds NaN or infinity.
            CodesError: if ``n_quantizers`` or ``bitrate_kbps`` cannot be had.
        """
        samples = audio_io.as_float(audio)  # [C, T]
        n_channels, n_samples = samples.shape
        n_quantizers = self._n_quantizers(n_channels, n_quantizers, bitrate_kbps)
        gain = 1.0
        if loudness_lufs is not None:
            gain = _loudness_gain(samples, sampling_rate, loudness_lufs)
            samples = samples * np.float32(gain)
        x = torch.from_numpy(audio_io.resample(samples, sampling_rate, self.sampling_rate))
        n_frames = self.geometry.frames_needed(x.shape[-1])
        x = F.pad(x, (0, self.geometry.samples_needed(n_frames) - x.shape[-1]))
        codes = self.engine.encode(x, None, n_quantizers)
        return Encoded(
            codes.numpy().astype(np.uint16),
            sampling_rate,
            n_samples,
            self.model,
            gain,
            flat=np.ndim(audio) == 1,
        )

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
        self._check_model(encoded, allow_other_model)
        n_samples, rate = encoded.n_samples, encoded.sampling_rate
        n_model = audio_io.resampled_length(n_samples, rate, self.sampling_rate)
        if n_samples == 0:
            samples = np.zeros((encoded.n_channels, 0), np.float32)
        else:
            codes = torch.from_numpy(encoded.codes.astype(np.int64))
            decoded = self.engine.decode(codes)  # [C, T at the model's rate]
            decoded = F.pad(decoded, (0, max(0, n_model - decoded.shape[-1])))[:, :n_model]
            samples = audio_io.resample(decoded.numpy(), self.sampling_rate, rate)[:, :n_samples]
            samples = samples / np.float32(encoded.gain)
        return samples[0] if encoded.flat else samples

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
        tensor = (
            codes.detach().cpu() if isinstance(codes, torch.Tensor) else torch.as_tensor(np.asarray(codes))
        )
        flat = tensor.ndim == 2
        config = self.geometry.config
        tensor = check_codes(tensor[None] if flat else tensor, config.n_codebooks, config.codebook_size)
        rate = sampling_rate or self.sampling_rate
        if n_samples is None:
            n_samples = self.geometry.samples(tensor.shape[-1]) * rate // self.sampling_rate
        return Encoded(tensor.numpy().astype(np.uint16), rate, n_samples, self.model, flat=flat)

    def encode_file(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        **options: Any,
    ) -> Encoded:
        """Code an audio file into a ``.dacz`` file; ``options`` are those of :meth:`encode`."""
        recording = audio_io.read(path)
        encoded = self.encode(recording.samples, recording.sampling_rate, **options)
        encoded.save(output, overwrite=overwrite)
        return encoded

    def decode_file(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        **options: Any,
    ) -> Encoded:
        """Decode a ``.dacz`` file into an audio file; ``options`` are those of :meth:`decode`."""
        encoded = Encoded.load(path)
        samples = self.decode(encoded, **options)
        with new_file(output, overwrite) as file:
            audio_io.write(file, samples, encoded.sampling_rate, format=Path(output).suffix[1:] or "wav")
        return encoded

    def _n_quantizers(self, n_channels: int, n_quantizers: int | None, bitrate_kbps: float | None) -> int:
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

    def _check_model(self, encoded: Encoded, allow_other_model: bool) -> None:
        mine, theirs = self.model, encoded.model
        shape = ("sampling_rate", "hop_length", "codebook_size")
        fits = all(getattr(mine, name) == getattr(theirs, name) for name in shape)
        if not fits or encoded.n_codebooks > self.n_codebooks:
            raise ModelMismatchError(
                f"these codes are of {theirs.name!r}, whose shape {mine.name!r} does not have; "
                f"load {theirs.name!r} to decode them"
            )
        if mine.fingerprint != theirs.fingerprint and not allow_other_model:
            raise ModelMismatchError(
                f"these codes are of {theirs.name!r} ({theirs.fingerprint.hex()[:12]}), not of {mine.name!r} "
                f"({mine.fingerprint.hex()[:12]}); load that model, or pass allow_other_model=True"
            )


def _loudness_gain(samples: NDArray[np.float32], sampling_rate: int, target_lufs: float) -> float:
    """One gain for all channels, not above what full scale allows, within what a file can say."""
    gain = audio_io.loudness_gain(samples, sampling_rate, target_lufs)
    peak = float(np.abs(samples).max())
    if peak > 0:
        gain = min(gain, max(1.0, 1 / peak))
    if not np.isfinite(gain):
        raise AudioError(f"no gain brings this audio to {target_lufs} LUFS")
    return float(np.float32(min(max(gain, 2.0**-20), 2.0**20)))
