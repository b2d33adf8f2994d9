"""Live coding: audio in as it comes, codes out as soon as they can be, and the other way round.

All codes of a signal together are those of :meth:`Codec.encode`, and all audio is that of :meth:`Codec.decode`, whatever
the pieces. A coder is immutable; where a signal stands is a state, a plain value that is handed in and out: it can
be copied, pickled, and gone back to, and one coder serves any number of signals, one by one or many in a call.

With less look-ahead than that takes, what is still to come is guessed, again at each push: what is given out is then
close to the exact, and sooner (docs/live.md has figures).
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
        """A coder of live audio of ``sampling_rate`` Hz.

        Args:
            n_quantizers: codebooks to use, 1..N; left out, all.
            lookahead_seconds: left out, as much as gives exactly the codes of offline coding; less gives codes
                sooner, and others. Resampling adds its own.

        Raises:
            ConfigError: if the look-ahead is negative.
        """
        n = self.choose_n_quantizers(1, n_quantizers, None)
        lookahead = _lookahead_samples(self.sampling_rate, lookahead_seconds, self.geometry.encoder_lookahead)
        return StreamEncoder(self, check_sampling_rate(sampling_rate), n, lookahead)

    def stream_decoder(
        self, sampling_rate: int | None = None, *, lookahead_seconds: float | None = None
    ) -> StreamDecoder:
        """A decoder of live codes to audio of ``sampling_rate`` Hz; left out, the model's.

        Args:
            lookahead_seconds: left out, as much as gives exactly the audio of offline coding; less gives audio
                sooner, close to that. Resampling adds its own.

        Raises:
            ConfigError: if the look-ahead is negative.
        """
        exact = self.geometry.decoder_lookahead * self.model.hop_length
        lookahead = _lookahead_samples(self.sampling_rate, lookahead_seconds, exact)
        return StreamDecoder(self, check_sampling_rate(sampling_rate or self.sampling_rate), lookahead)


def _lookahead_samples(sampling_rate: int, seconds: float | None, exact: int) -> int:
    """``seconds`` in samples; left out, the ``exact`` look-ahead, more than which is of no use.

    Raises:
        ConfigError: if it is negative.
    """
    if seconds is None:
        return exact
    if not seconds >= 0:
        raise ConfigError(f"a look-ahead of {seconds} s is negative")
    return min(exact, round(seconds * sampling_rate))
