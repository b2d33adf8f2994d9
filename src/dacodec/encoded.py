"""A coded recording in memory and in a file.

Shapes: C channels, K codebooks in use, F frames.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dacodec.container import AS_GIVEN, MID_SIDE, Damage, Header, Reader, Writer, prior_of_model
from dacodec.errors import CodesError
from dacodec.files import new_file, open_input

_PACKETS_AHEAD = 1 << 10  # decoded together: many are faster than one


@dataclass(frozen=True)
class Model:
    """The identity and shape of a model, recorded with the codes it made."""

    name: str
    fingerprint: bytes
    sampling_rate: int  # Hz
    hop_length: int  # samples at sampling_rate
    codebook_size: int

    @property
    def frames_per_second(self) -> float:
        return self.sampling_rate / self.hop_length

    def bitrate_kbps(self, n_codes: int) -> float:
        """True bitrate, in kbit/s, of ``n_codes`` codes per frame."""
        return n_codes * (self.codebook_size - 1).bit_length() * self.frames_per_second / 1000


def model_of(header: Header) -> Model:
    """The model that a file names."""
    return Model(
        header.model_name,
        header.fingerprint,
        header.model_sampling_rate,
        header.hop_length,
        header.codebook_size,
    )


def header_of(
    model: Model,
    n_codebooks: int,
    sampling_rate: int,
    channels: int,
    n_samples: int | None,
    gain: float = 1.0,
    mid_side: bool = False,
) -> Header:
    """The header of a file with codes of ``model``; other arguments as in :class:`~dacodec.container.Header`.

    The codes will be entropy-coded if the package has a prior for the model.
    """
    prior = prior_of_model(model.fingerprint)
    return Header(
        model_name=model.name,
        fingerprint=model.fingerprint,
        model_sampling_rate=model.sampling_rate,
        hop_length=model.hop_length,
        codebook_size=model.codebook_size,
        n_codebooks=n_codebooks,
        sampling_rate=sampling_rate,
        channels=channels,
        n_samples=n_samples,
        gain=gain,
        channel_coding=MID_SIDE if mid_side else AS_GIVEN,
        prior_id=None if prior is None else prior.id,
    )


@dataclass(frozen=True)
class Summary:
    """What is in a ``.dacz`` file, without its codes."""

    header: Header
    n_frames: int
    n_samples: int  # per channel at header.sampling_rate
    damages: tuple[Damage, ...] = ()  # that were skipped

    @property
    def duration_seconds(self) -> float:
        return self.n_samples / self.header.sampling_rate

    @property
    def bitrate_kbps(self) -> float:
        """True rate of the codes of all channels, in kbit/s."""
        header = self.header
        return model_of(header).bitrate_kbps(header.channels * header.n_codebooks)

    @staticmethod
    def read(path: str | os.PathLike[str], conceal: bool = False) -> Summary:
        """Read and check a whole file. Errors as for :meth:`Encoded.load`; ``conceal`` skips damage."""
        with open_input(path) as file:
            reader = Reader(file, conceal=conceal, packets_ahead=_PACKETS_AHEAD)
            for _ in reader:
                pass
            assert reader.n_samples is not None
            return Summary(reader.header, reader.n_frames, reader.n_samples, tuple(reader.damages))


@dataclass(frozen=True)
class Encoded:
    """A coded recording: its codes, and what it takes to decode the audio as it was given.

    ``encoded[a:b]`` gives its frames a to b; ``Encoded.concatenate`` joins recordings.

    Args:
        codes: uint16 [C, K, F].
        sampling_rate: in Hz, of the audio as given.
        n_samples: per channel at ``sampling_rate``.
        model: which model made the codes.
        gain: the factor applied to the audio before coding.
        mid_side: the two channels of the codes are mid and side rather than left and right.
        flat: the audio was given as [T], and decodes to [T].
    """

    codes: NDArray[np.uint16]
    sampling_rate: int
    n_samples: int
    model: Model
    gain: float = 1.0
    mid_side: bool = False
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
        return self.model.bitrate_kbps(self.n_channels * self.n_codebooks)

    def __len__(self) -> int:
        return self.n_frames

    def __getitem__(self, frames: slice) -> Encoded:
        """The frames of a slice without a step, with their samples.

        Near a cut, within the decoder's receptive field, the audio differs from the whole recording's.
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
        """Join recordings end to end, at whole frames.

        The padding of each part's last frame, except the last part's, is kept: less than a frame.

        Raises:
            CodesError: if there are no parts, or they differ in model, rate, channels, codebooks or gain.
        """
        parts = list(parts)
        if not parts:
            raise CodesError("nothing to concatenate")
        first, last = parts[0], parts[-1]
        for part in parts:
            for name in ("model", "sampling_rate", "n_channels", "n_codebooks", "gain", "mid_side"):
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
            InputError: if it does not exist or cannot be opened.
            FormatError: if it breaks the format, with the byte offset.
        """
        with open_input(path) as file:
            reader = Reader(file)
            codes = reader.read_codes()
            header = reader.header
            assert reader.n_samples is not None
            return Encoded(
                codes,
                header.sampling_rate,
                reader.n_samples,
                model_of(header),
                header.gain,
                header.is_mid_side,
            )

    def header(self) -> Header:
        """What the file says about itself."""
        return header_of(
            self.model,
            self.n_codebooks,
            self.sampling_rate,
            self.n_channels,
            self.n_samples,
            self.gain,
            self.mid_side,
        )

    def _sample_of(self, frame: int) -> int:
        """First sample, at ``sampling_rate``, of a frame."""
        return round(frame * self.model.hop_length * self.sampling_rate / self.model.sampling_rate)
