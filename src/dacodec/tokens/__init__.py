"""Conversion between codes and the ids of language models: layouts of codebooks in rows.

An audio language model generates a row of K ids per step, one for each codebook, and in most the later
codebooks lag behind (the delay pattern of MusicGen, https://arxiv.org/abs/2306.05284, section 2.2). A
:class:`Layout` describes this, :func:`apply` turns codes into rows, :func:`invert` rows into codes, and
:class:`Undelay` does so while the model is still generating.

Shapes: K codebooks, F frames, n rows; codes [K, F], rows [n, K].
"""

from dacodec.tokens.layouts import LAYOUTS, Layout, find_layout
from dacodec.tokens.undelay import BadId, Cut, Undelay, Undelayed, UndelayState
from dacodec.tokens.whole import Inverted, apply, invert

__all__ = [
    "LAYOUTS",
    "BadId",
    "Cut",
    "Inverted",
    "Layout",
    "Undelay",
    "UndelayState",
    "Undelayed",
    "apply",
    "find_layout",
    "invert",
]
