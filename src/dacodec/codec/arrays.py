"""Whole arrays, one by one and in batches, to codes and back.

Shapes: C channels, T samples, K codebooks in use, F frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacodec import audio as audio_io
from dacodec.audio import Samples
from dacodec.audio.conversion import check_mid_side, gain_to
from dacodec.batching.batches import decode_rows, encode_rows
from dacodec.codec.coder import Coder, Codes, to_uint16
from dacodec.encoded import Encoded
from dacodec.errors import AudioError
from dacodec.model.quantizer import check_codes


class ArrayCodec(Coder):
    """The calls of :class:`~dacodec.codec.Codec` for arrays."""

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
            audio: NumPy array or torch tensor, [T] or [C, T], floats in [-1, 1] or full-scale integers; or an
                object that carries its own rate, as data loaders return it: a row ``{"array",
                "sampling_rate"}`` of Hugging Face's datasets, a decoder with ``get_all_samples()``,
                torchcodec's ``AudioSamples``.
            sampling_rate: of ``audio``, in Hz; any. Optional only if ``audio`` carries it.
            n_quantizers: codebooks to use, 1..N; by default all.
            bitrate_kbps: instead, as many codebooks as fit in this bitrate, all channels together.
            loudness_lufs: bring the audio to this loudness (ITU-R BS.1770) before coding, as far as it does
                not clip; decoding undoes it. DAC was trained at -16.
            mid_side: code the mid and side of a stereo recording rather than left and right: coding errors
                then fall on mid and side, so that what is in the middle stays there.

        Raises:
            AudioError: if the audio is empty, has the wrong shape or dtype, or contains NaN or infinity; if
                its rate is unknown, or contradicts the one it carries.
            CodesError: if ``n_quantizers`` or ``bitrate_kbps`` is out of range.
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
        """Codes to audio, with the rate, channels and number of samples of the original.

        Args:
            allow_other_model: decode codes of a model with another fingerprint but the same shape.

        Returns:
            float32 [C, T], or [T] if the original was.

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
        """:meth:`encode` for many recordings at once, in the order given.

        Recordings of similar length run as one batch, padded and masked (``batching/batches.py``).

        Args:
            audios: as for :meth:`encode`, of any lengths and numbers of channels.
            sampling_rates: one for each, or one for all, in Hz. Optional only if each carries its own.

        Raises:
            AudioError, CodesError: as for :meth:`encode`.
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
        coded = iter(encode_rows(self.engine, rows, max(counts, default=1), self.chunk_frames))
        return [
            self._encoded(to_uint16(torch.stack([next(coded)[:count] for _ in g.samples])), g)
            for g, count in zip(given, counts, strict=True)
        ]

    def decode_batch(
        self, encoded: Sequence[Encoded], *, allow_other_model: bool = False
    ) -> list[NDArray[np.float32]]:
        """:meth:`decode` for many recordings at once, in the order given."""
        for one in encoded:
            self.check_model(one.model, one.n_codebooks, allow_other_model)
        rows = [torch.from_numpy(codes.astype(np.int64)) for one in encoded for codes in one.codes]
        decoded = iter(decode_rows(self.engine, rows, self.chunk_frames))
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

    def from_codes(
        self, codes: Any, *, sampling_rate: int | None = None, n_samples: int | None = None
    ) -> Encoded:
        """Wrap codes from elsewhere, such as a language model's output, for :meth:`decode`.

        Args:
            codes: NumPy array or torch tensor of integers, [K, F] or [C, K, F], K from 1 to N.
            sampling_rate: of the decoded audio, in Hz; by default the model's.
            n_samples: of the decoded audio, per channel; by default all that the frames give.

        Raises:
            CodesError: if the codes have the wrong rank or dtype, or are out of range (with their position).
        """
        tensor = codes.detach().cpu() if isinstance(codes, Tensor) else torch.as_tensor(np.asarray(codes))
        flat = tensor.ndim == 2
        config = self.geometry.config
        tensor = check_codes(tensor[None] if flat else tensor, config.n_codebooks, config.codebook_size)
        rate = sampling_rate or self.sampling_rate
        if n_samples is None:
            n_samples = self.geometry.samples(tensor.shape[-1]) * rate // self.sampling_rate
        return Encoded(to_uint16(tensor), rate, n_samples, self.model, flat=flat)

    def _rows(self, given: _Given) -> Tensor:
        """[C, T] at the model's rate."""
        blocks = self.at_model_rate([given.samples], given.sampling_rate, given.gain, given.mid_side)
        return torch.from_numpy(np.concatenate(list(blocks), axis=1))

    def _encoded(self, codes: Codes, given: _Given) -> Encoded:
        n_samples = given.samples.shape[1]
        return Encoded(
            codes, given.sampling_rate, n_samples, self.model, given.gain, given.mid_side, given.flat
        )


class _Given(NamedTuple):
    """A recording as it was given, checked."""

    samples: Samples  # [C, T]
    sampling_rate: int  # Hz
    gain: float  # to apply before coding
    mid_side: bool  # code it as mid and side
    flat: bool  # it was given as [T]


def _given(audio: Any, sampling_rate: int | None, loudness_lufs: float | None, mid_side: bool) -> _Given:
    audio, rate = audio_io.unpacked(audio, sampling_rate)
    samples = audio_io.as_float(audio)
    gain = 1.0
    if loudness_lufs is not None:
        gain = gain_to([samples], len(samples), rate, loudness_lufs)
    check_mid_side(len(samples), mid_side)
    return _Given(samples, rate, gain, mid_side, flat=np.ndim(audio) == 1)


def _joined(blocks: Iterable[Samples], encoded: Encoded) -> NDArray[np.float32]:
    nothing = np.zeros((encoded.n_channels, 0), np.float32)
    samples = np.concatenate([nothing, *blocks], axis=1)
    return samples[0] if encoded.flat else samples
