"""Between codes and the ids that language models read and write: layouts of codebooks in rows, there and back.

A language model of audio writes a row of K ids a step, one for each codebook, and most let the later codebooks lag
behind (the delay pattern of MusicGen, https://arxiv.org/abs/2306.05284, section 2.2). A :class:`Layout` says how,
:func:`apply` makes rows of codes, :func:`invert` codes of rows, and :class:`Undelay` does so while the model is still
writing.

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
