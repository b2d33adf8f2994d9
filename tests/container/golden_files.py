"""The golden files of version 1, kept for ever: the contents of each, and the writer's arguments.

``plain``, ``coded`` and ``live`` hold made-up codes. The others hold 0.2 s of tests/data/clips/speech_en_cards_16k.flac
and 0.1 s of music_guitar_em9_44k_st.flac, coded by the tiny model in golden/model. The codes of a file are in the .json
named by the first word of its name; the audio that they decode to is in the .npy, float32 [C, T]. All of it was made
once, on 2026-11-22, and there is no script to make it again.
"""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tiny
from golden_dacz import HEADER

from dacodec.container import MID_SIDE, Extension, Header, Prior, Tag, Writer, read_prior

FOLDER = Path(__file__).parent / "golden"
TOY_PRIOR = FOLDER / "toy.prior"
MODEL_PRIOR = FOLDER / "model" / "codes.prior"


class Golden(NamedTuple):
    header: Header
    n_samples: int
    prior_path: Path | None = None
    index: bool = False
    flushes: tuple[int, ...] = ()  # frames after which a live writer flushed
    cut: int | None = None  # length in bytes of a recording that was cut off

    @property
    def prior(self) -> Prior | None:
        return self.prior_path and read_prior(self.prior_path)


LIVE = Header(
    "m",
    bytes(32),
    24000,
    320,
    codebook_size=5,
    n_codebooks=3,
    sampling_rate=48000,
    channels=1,
    n_samples=None,
    packet_frames=3,
    extensions=(Extension(0x9001, b"hello"),),
)
SPEECH = Header(
    "golden",
    bytes.fromhex("686ee1c0d6ffc1a8fb994d8fac2610bdb948152a9520b5d55f685724b2344fbf"),
    model_sampling_rate=16000,
    hop_length=32,
    codebook_size=16,
    n_codebooks=4,
    sampling_rate=16000,
    channels=1,
    n_samples=3200,
    packet_frames=24,
)
CODED_SPEECH = replace(SPEECH, prior_id=bytes.fromhex("407bf4b7e8245017"))
TAGS = (Tag("TITLE", "cards/005"), Tag("LICENSE", "BSD-2-Clause"), Tag("COMMENT", "für immer\n永遠"))
GUITAR = replace(
    CODED_SPEECH, channels=2, channel_coding=MID_SIDE, speakers=3, gain=0.5, n_samples=1600, packet_frames=16
)

FILES = {
    "plain": Golden(HEADER, 1500),
    "coded": Golden(tiny.HEADER, 2497, TOY_PRIOR, index=True),
    "live": Golden(LIVE, 3000, flushes=(4,)),
    "speech-raw": Golden(SPEECH, 3200),
    "speech-coded": Golden(replace(CODED_SPEECH, tags=TAGS, speakers=4), 3200, MODEL_PRIOR, index=True),
    "speech-live": Golden(replace(CODED_SPEECH, n_samples=None), 3200, MODEL_PRIOR, flushes=(7, 40, 41, 66)),
    "speech-cut": Golden(CODED_SPEECH, 3200, MODEL_PRIOR, cut=300),
    "guitar-mid-side": Golden(GUITAR, 1600, MODEL_PRIOR),
}


def path_of(name):
    return FOLDER / f"{name}.dacz"


def codes_of(name):
    """The codes [C, K, F] of a file, before it was cut off."""
    return np.array(json.loads((FOLDER / f"{name.split('-')[0]}.json").read_text()))


def written(name):
    """A file written anew from its codes."""
    golden = FILES[name]
    file = io.BytesIO()
    writer = Writer(file, golden.header, prior=golden.prior, index=golden.index)
    for portion in np.split(codes_of(name), golden.flushes, axis=2):
        writer.write(portion)
        writer.flush()
    writer.close(golden.n_samples)
    return file.getvalue()[: golden.cut]
