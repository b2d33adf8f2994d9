"""Live coding: audio in piece by piece, codes out as soon as they are determined, and the reverse.

However the signal is cut, the codes are those of :meth:`Codec.encode` and the audio is that of
:meth:`Codec.decode`. A coder is immutable. The position in a signal is a state, a plain value passed in and
returned: it can be copied, pickled and rewound, and one coder serves any number of signals, singly or many
per call.

With less look-ahead than exactness needs, the input still to come is guessed anew at each push. The output
then comes sooner and is close to the exact one (figures in docs/live.md).
"""

from __future__ import annotations

from dacodec.audio import check_sampling_rate
from dacodec.codec.coder import Coder
from dacodec.codec.live.decoder import DecoderState, PushedCodes, StreamDecoder
from dacodec.codec.live.encoder import EncoderState, PushedAudio, StreamEncoder
from dacodec.errors import ConfigError

__all__ = [
    "DecoderState",
    "EncoderState",
    "LiveCodec",
    "PushedAudio",
    "PushedCodes",
    "StreamDecoder",
    "StreamEncoder",
]


class LiveCodec(Coder):
    """The calls of :class:`~dacodec.codec.Codec` for live audio."""

    def stream_encoder(
        self,
        sampling_rate: int,
        *,
        n_quantizers: int | None = None,
        lookahead_seconds: float | None = None,
    ) -> StreamEncoder:
        """An encoder of live audio at ``sampling_rate`` Hz.

        Args:
            n_quantizers: codebooks to use, 1..N; by default all.
            lookahead_seconds: by default as much as the exact codes of offline coding need; with less, codes
                come sooner and differ from those. Resampling adds its own look-ahead.

        Raises:
            ConfigError: if the look-ahead is negative.
            CodesError: if ``n_quantizers`` is out of range.
        """
        n = self.choose_n_quantizers(1, n_quantizers, None)
        lookahead = _lookahead_samples(self.sampling_rate, lookahead_seconds, self.geometry.encoder_lookahead)
        return StreamEncoder(self, check_sampling_rate(sampling_rate), n, lookahead)

    def stream_decoder(
        self, sampling_rate: int | None = None, *, lookahead_seconds: float | None = None
    ) -> StreamDecoder:
        """A decoder of live codes to audio at ``sampling_rate`` Hz, by default the model's rate.

        Args:
            lookahead_seconds: by default as much as the exact audio of offline decoding needs; with less,
                audio comes sooner and is close to that. Resampling adds its own look-ahead.

        Raises:
            ConfigError: if the look-ahead is negative.
        """
        exact = self.geometry.decoder_lookahead * self.model.hop_length
        lookahead = _lookahead_samples(self.sampling_rate, lookahead_seconds, exact)
        return StreamDecoder(self, check_sampling_rate(sampling_rate or self.sampling_rate), lookahead)


def _lookahead_samples(sampling_rate: int, seconds: float | None, exact: int) -> int:
    """``seconds`` in samples, capped at the ``exact`` look-ahead, since more is of no use; by default that.

    Raises:
        ConfigError: if it is negative.
    """
    if seconds is None:
        return exact
    if not seconds >= 0:
        raise ConfigError(f"a look-ahead of {seconds} s is negative")
    return min(exact, round(seconds * sampling_rate))
