"""Conversion between codes and the ids of language models: layouts of codebooks in rows.

An audio language model generates a row of K ids per step, one for each codebook, and in most the later
codebooks lag behind (the delay pattern of MusicGen, https://arxiv.org/abs/2306.05284, section 2.2). A
:class:`Layout` describes this, :func:`apply` turns codes into rows, :func:`invert` rows into codes, and
:class:`Undelay` does so while the model is still generating.

Shapes: K codebooks, F frames, n rows; codes [K, F], rows [n, K].

:func:`flatten` and :func:`unflatten` do the same for one sequence of ids (a :class:`FlatLayout`); :func:`batch` pads
sequences of either kind.
"""

from dacodec.tokens.batches import Batch, batch, unbatch
from dacodec.tokens.flat import BARK_COARSE, Filled, FlatLayout, Unflattened, flatten, unflatten
from dacodec.tokens.layouts import LAYOUTS, Layout, delayed, find_layout
from dacodec.tokens.undelay import BadId, Cut, Undelay, Undelayed, UndelayState
from dacodec.tokens.whole import Inverted, apply, invert

__all__ = [
    "BARK_COARSE",
    "LAYOUTS",
    "BadId",
    "Batch",
    "Cut",
    "Filled",
    "FlatLayout",
    "Inverted",
    "Layout",
    "Undelay",
    "UndelayState",
    "Undelayed",
    "Unflattened",
    "apply",
    "batch",
    "delayed",
    "find_layout",
    "flatten",
    "invert",
    "unbatch",
    "unflatten",
]
