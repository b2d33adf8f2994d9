"""Codes as one sequence of ids: each codebook has ids of its own, and the frames follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacodec.errors import CodesError, ConfigError, RowError
from dacodec.tokens.undelay import Codes, Cut

Ids = NDArray[np.int64]
Order = Literal["frames", "codebooks"]


@dataclass(frozen=True)
class FlatLayout:
    """One id per code: ``first + k * codebook_size + code`` for codebook ``k``.

    ``order`` is ``"frames"``, all codebooks of a frame and then the next frame (interleaved), or ``"codebooks"``, all
    frames of a codebook and then the next codebook. ``begin``, ``end`` and ``padding`` default to the three ids after
    the codes.
    """

    n_codebooks: int
    codebook_size: int = 1024
    first: int = 0  # the id of code 0 of codebook 0, as after the ids of a text tokenizer
    order: Order = "frames"
    begin: int = -1
    end: int = -1
    padding: int = -1
    vocabulary: int = -1  # number of ids in the model

    def __post_init__(self) -> None:
        stop = self.first + self.n_codebooks * self.codebook_size
        for i, name in enumerate(("begin", "end", "padding")):
            if getattr(self, name) < 0:
                object.__setattr__(self, name, stop + i)
        special = {self.begin, self.end, self.padding}
        if self.vocabulary < 0:
            object.__setattr__(self, "vocabulary", max(stop, *(i + 1 for i in special)))
        if self.n_codebooks < 1 or self.codebook_size < 1 or self.first < 0:
            raise ConfigError("a flat layout needs a codebook, a code and a first id that is not negative")
        if self.order not in ("frames", "codebooks"):
            raise ConfigError(f"the order is 'frames' or 'codebooks', not {self.order!r}")
        if any(self.first <= i < stop for i in special):
            raise ConfigError(
                f"one of the ids {sorted(special)} is a code's: codes are {self.first}..{stop - 1}"
            )
        if max(stop, *(i + 1 for i in special)) > self.vocabulary:
            raise ConfigError(f"a vocabulary of {self.vocabulary} ids is too small")


# suno-ai/bark, bark/generation.py: the coarse model's codebooks after 10000 semantic ids, interleaved by
# _flatten_codebooks; COARSE_INFER_TOKEN and COARSE_SEMANTIC_PAD_TOKEN. EnCodec at 24 kHz, not DAC.
BARK_COARSE = FlatLayout(2, first=10_000, begin=12_050, end=12_048, padding=12_048, vocabulary=12_096)


class Filled(NamedTuple):
    """A place without a code; the code of the frame before stands there."""

    codebook: int
    frame: int
    id: int | None  # what was there instead; None if nothing was


class Unflattened(NamedTuple):
    codes: Codes  # uint16 [K, F]
    cut: Cut  # its rows are ids
    bad: tuple[Filled, ...]


def flatten(codes: Any, layout: FlatLayout, *, begin: bool = True, end: bool = True) -> Ids:
    """``codes`` [K, F] as ids [n], with one of ``begin`` before and one of ``end`` after them.

    Raises:
        CodesError: for codes with another number of codebooks, not integers, or out of range.

    Examples:
        >>> layout = FlatLayout(2, codebook_size=10)
        >>> flatten(np.array([[1, 2], [3, 4]]), layout).tolist()
        [20, 1, 13, 2, 14, 21]
        >>> unflatten([20, 1, 13, 2, 14, 21], layout).codes.tolist()
        [[1, 2], [3, 4]]
    """
    array = np.asarray(codes.detach().cpu() if hasattr(codes, "detach") else codes)
    if array.ndim != 2 or len(array) != layout.n_codebooks or array.dtype.kind not in "iu":
        raise CodesError(
            f"codes must be integers [{layout.n_codebooks} codebooks, frames], got {array.dtype} {list(array.shape)}"
        )
    if array.size and not 0 <= array.min() <= array.max() < layout.codebook_size:
        raise CodesError(f"codes must be in 0..{layout.codebook_size - 1}, got {array.min()}..{array.max()}")
    ids = array.astype(np.int64) + layout.first + layout.codebook_size * np.arange(len(array))[:, None]
    flat = ids.ravel("F" if layout.order == "frames" else "C")
    return np.concatenate([[layout.begin] * begin, flat, [layout.end] * end]).astype(np.int64)


def unflatten(ids: Any, layout: FlatLayout) -> Unflattened:
    """The codes in ``ids`` [n], the inverse of :func:`flatten`, whatever a model made of them.

    Codes end at the first ``end`` or ``padding``, and only complete frames count. In the order ``"frames"`` an id that is
    not a code, is missing or is one too many disturbs its own frame only, because every id tells its codebook.

    Raises:
        RowError: for ids that are not integers or not in one dimension.
    """
    array = np.asarray(ids.detach().cpu() if hasattr(ids, "detach") else ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise RowError(f"ids must be integers in one dimension, got {array.dtype} {list(array.shape)}", 0)
    body, leading, trailing = _trimmed(array.astype(np.int64), layout)
    find = _places_in_frames if layout.order == "frames" else _places_in_codebooks
    places = {(k, f): int(body[i]) for i, k, f in find(_codebooks(body, layout), layout.n_codebooks)}
    n_begun, n_frames = _lengths(places, layout)
    codes, bad = _filled(places, n_frames, layout)
    return Unflattened(codes, Cut(leading, n_begun - n_frames, trailing), bad)


def _trimmed(ids: Ids, layout: FlatLayout) -> tuple[Ids, int, int]:
    """The ids from the first code to the end, and how many come before and after."""
    is_code = _codebooks(ids, layout) >= 0
    leading = int(is_code.argmax()) if is_code.any() else len(ids)
    ends = np.isin(ids[leading:], [layout.end, layout.padding])
    stop = leading + int(ends.argmax()) if ends.any() else len(ids)
    return ids[leading:stop], leading, len(ids) - stop


def _codebooks(ids: Ids, layout: FlatLayout) -> Ids:
    """The codebook of each id; -1 for an id that is not a code."""
    k = (ids - layout.first) // layout.codebook_size
    return np.where((k >= 0) & (k < layout.n_codebooks), k, -1)


def _places_in_frames(books: Ids, n_codebooks: int) -> Iterator[tuple[int, int, int]]:
    """Index, codebook and frame of each id. A codebook that is not above the one before begins a frame."""
    known, frame, last = books.tolist(), -1, n_codebooks - 1
    for i, k in enumerate(known):
        if k < 0:
            k = (last + 1) % n_codebooks
            if n_codebooks > 1 and known[i + 1 : i + 2] == [k]:
                continue  # one too many: the code of this place follows
        if k <= last:
            frame += 1
        last = k
        yield i, k, frame


def _places_in_codebooks(books: Ids, n_codebooks: int) -> Iterator[tuple[int, int, int]]:
    """Likewise; an id that is not a code, or is a lower codebook's, has the place after the one before."""
    current, frame = 0, -1
    for i, k in enumerate(books.tolist()):
        if k > current:
            current, frame = k, -1
        frame += 1
        yield i, current, frame


def _lengths(places: Mapping[tuple[int, int], int], layout: FlatLayout) -> tuple[int, int]:
    """How many frames were begun, and how many of them count."""
    counts = [0] * layout.n_codebooks
    for k, f in places:
        counts[k] = max(counts[k], f + 1)
    n_begun = max(counts)
    if layout.order == "codebooks":
        return n_begun, min(counts)
    return n_begun, n_begun if counts[-1] == n_begun else n_begun - 1


def _filled(
    places: Mapping[tuple[int, int], int], n_frames: int, layout: FlatLayout
) -> tuple[Codes, tuple[Filled, ...]]:
    """Codes [K, F], with the code of the frame before where there is none; before the first one, code 0."""
    codes = np.zeros((layout.n_codebooks, n_frames), np.uint16)
    bad = []
    for f in range(n_frames):
        for k in range(layout.n_codebooks):
            found = places.get((k, f))
            code = -1 if found is None else found - layout.first - k * layout.codebook_size
            if 0 <= code < layout.codebook_size:
                codes[k, f] = code
            else:
                codes[k, f] = codes[k, f - 1] if f else 0
                bad.append(Filled(k, f, found))
    return codes, tuple(bad)
