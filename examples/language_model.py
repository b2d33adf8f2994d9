"""Hear a language model while it generates: rows of ids in, audio out as soon as it is determined.

    python examples/language_model.py in.flac heard.wav

The model here is a stand-in that knows one recording by heart and says it in Dia's rows; put your own in its place.
"""

import sys

import soundfile

from dacodec import Codec
from dacodec.audio import read
from dacodec.tokens import Undelay, apply


def language_model(codec, path):
    """One row of ids [K] per step."""
    sound = read(path)
    yield from apply(codec.encode(sound.samples[:1], sound.sampling_rate).codes[0], "dia")


codec = Codec.from_pretrained("builtin")
undelay, decoder = Undelay("dia"), codec.stream_decoder()
rows_state = audio_state = None
with soundfile.SoundFile(sys.argv[2], "w", codec.sampling_rate, 1) as loudspeaker:
    n_heard = 0
    for n_rows, row in enumerate(language_model(codec, sys.argv[1]), start=1):
        codes, rows_state, bad = undelay.push(row[None], rows_state)  # [K, 0 or 1 frame]
        for bad_id in bad:
            print(bad_id)
        audio, audio_state = decoder.push(codes[None], audio_state)  # [1, T]
        if n_heard == 0 and audio.shape[1]:
            print(f"the first sound after {n_rows} rows")
        n_heard += audio.shape[1]
        loudspeaker.write(audio.T)
    loudspeaker.write(decoder.flush(audio_state).T)
