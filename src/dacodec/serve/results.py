"""Files to send back: ``.dacz``, and decoded audio. Runs in reader threads, not in the event loop."""

from __future__ import annotations

import io

import numpy as np

from dacodec.audio import AudioWriter, Resampler, Samples
from dacodec.audio.conversion import as_given
from dacodec.audio.parts import Part
from dacodec.codec.coder import Codes
from dacodec.codec.concealment import Envelope
from dacodec.codec.window import Window, window_of
from dacodec.container import Writer
from dacodec.encoded import Encoded, header_of
from dacodec.serve.admission import Slot
from dacodec.serve.codes import Coded

_MOST_BYTES = 4  # per sample of a result


def to_dacz(encoded: Encoded, length: int | None) -> bytes:
    """The file that :meth:`Codec.encode_file` writes.

    Args:
        length: of the recording in samples, if it was known before it was read; only then is it in the header.
    """
    header = header_of(
        encoded.model,
        encoded.n_codebooks,
        encoded.sampling_rate,
        encoded.n_channels,
        length,
        encoded.gain,
        encoded.mid_side,
    )
    file = io.BytesIO()
    with Writer(file, header, index=True) as writer:
        writer.write(encoded.codes)
        writer.close(encoded.n_samples)
    return file.getvalue()


class Result:
    """Collects decoded audio, chunk by chunk, as a file with the recording's own rate, level and channels.

    Args:
        coded: what is being decoded.
        part: of the recording; only this is decoded, and goes into the file.
        format: of the file.
        subtype: encoding of the samples; None for the format's default.
        slot: where memory for the file is reserved.

    Raises:
        AudioError: if the recording has no such part, or the format cannot hold such audio.
        Problem: if there is no memory for it.
    """

    def __init__(self, coded: Coded, part: Part, format: str, subtype: str | None, slot: Slot) -> None:
        encoded, model_rate = coded.encoded, coded.codec.sampling_rate
        rate, channels = encoded.sampling_rate, encoded.n_channels
        self._window = window = _window(coded, part)
        length = window.stop - window.start
        slot.take(length * channels * _MOST_BYTES)
        self._encoded, self._hop = encoded, coded.codec.model.hop_length
        self._envelope = Envelope(sees_ahead=True).add(coded.lost) if coded.lost.any() else None
        self._decoded = _Cut(window.skip, window.length)
        self._resampler = Resampler(model_rate, rate)
        first = window.first_output
        self._state = self._resampler.start_at(channels, first) if first else self._resampler.start(channels)
        self._resampled = _Cut(window.start - first, length)
        self._file = io.BytesIO()
        self._writer = AudioWriter(
            self._file, rate, channels, subtype=subtype, format=format, n_samples=length
        )

    @property
    def codes(self) -> Codes:
        """Codes [C, K, F] to decode."""
        return self._encoded.codes[:, :, self._window.first_frame : self._window.last_frame]

    def write(self, decoded: Samples) -> None:
        """Add the next samples [C, n] at the model's rate."""
        if self._envelope is not None:
            decoded, self._envelope = self._envelope.apply(decoded, self._hop)
        self._resample(self._decoded.of(decoded))

    def close(self) -> memoryview:
        """The file."""
        self._resample(np.zeros((self._encoded.n_channels, self._decoded.left), np.float32))
        self._write(self._resampler.flush(self._state))
        self._writer.close()
        return self._file.getbuffer()

    def _resample(self, decoded: Samples) -> None:
        resampled, self._state = self._resampler.push(decoded, self._state)
        self._write(resampled)

    def _write(self, resampled: Samples) -> None:
        for block in as_given([self._resampled.of(resampled)], self._encoded.gain, self._encoded.mid_side):
            self._writer.write(block)


def _window(coded: Coded, part: Part) -> Window:
    encoded = coded.encoded
    start, stop = part.samples(encoded.sampling_rate, encoded.n_samples)
    # Concealment depends on all the frames before.
    first = 0 if coded.lost.any() else start
    window = window_of(coded.codec, encoded.sampling_rate, encoded.n_samples, first, stop)
    return window._replace(start=start)


class _Cut:
    """Passes on ``length`` samples from a signal in blocks [C, n], after the first ``skip``."""

    def __init__(self, skip: int, length: int) -> None:
        self._skip, self.left = skip, length

    def of(self, block: Samples) -> Samples:
        kept = block[:, self._skip :][:, : self.left]
        self._skip = max(0, self._skip - block.shape[1])
        self.left -= kept.shape[1]
        return kept
