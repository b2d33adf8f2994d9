"""Live coding: audio in as it comes, codes out as soon as they can be, and the other way round.

All codes of a signal together are those of :meth:`Codec.encode`, and all audio is that of :meth:`Codec.decode`, whatever
the pieces. A coder is immutable; where a signal stands is a state, a plain value that is handed in and out: it can
be copied, pickled, and gone back to, and one coder serves any number of signals, one by one or many in a call.

With less look-ahead than that takes, what is still to come is guessed, again at each push: what is given out is then
close to the exact, and sooner (docs/live.md has figures).
"""

from dacodec.streaming.decoder import DecoderState, PushedCodes, StreamDecoder, stream_decoder
from dacodec.streaming.encoder import EncoderState, PushedAudio, StreamEncoder, stream_encoder

__all__ = [
    "DecoderState",
    "EncoderState",
    "PushedAudio",
    "PushedCodes",
    "StreamDecoder",
    "StreamEncoder",
    "stream_decoder",
    "stream_encoder",
]
