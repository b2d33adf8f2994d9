"""The entropy coder's prior knowledge of a model's codes: a small file of integers, fitted once.

See docs/format.md, "Prior". ``scripts/prior/fit.py`` fits them; the built-in models' come with the package.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacodec.container.extensions import PRIOR_ID_BYTES
from dacodec.container.format import seal_holds, sealed
from dacodec.errors import PriorError

PRIOR_FILE = "codes.prior"
MAGIC = b"\x89DAP\r\n\x1a\n"
VERSION = 1
PREFIX = struct.Struct("<8sBBBB32s")  # magic, version, width, n_codebooks, dimensions, fingerprint
MAX_DIMENSIONS, MAX_SOURCES, MAX_LAG = 64, 32, 8

_MODELS = Path(__file__).parents[1] / "models"


class Source(NamedTuple):
    """An earlier code that helps predict the next: in codebook ``codebook``, ``lag`` frames before."""

    lag: int
    codebook: int


@dataclass(frozen=True, eq=False)
class Tree:
    """The integers for one codebook. Shapes: w bits, S sources, D dimensions.

    Args:
        rate: uint8 [w], how fast the state of a depth adapts.
        sources: S of them.
        order: uint16 [2**w], the code at each leaf.
        bias: int16 [2**w], log odds of a 1 at each node, in 1/256.
        node_vectors: int8 [2**w, D].
        context: int8 [S, 2**w, D].
    """

    rate: NDArray[np.uint8]
    sources: Sequence[Source]
    order: NDArray[np.uint16]
    bias: NDArray[np.int16]
    node_vectors: NDArray[np.int8]
    context: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Prior:
    """The trees of a model's codebooks, lowest first; the highest codebooks may have none.

    Args:
        width: bits of a code, w.
        fingerprint: of the model, 32 bytes.
        trees: one for each codebook.
        id: the first 8 bytes of the SHA-256 of the file.
    """

    width: int
    fingerprint: bytes
    trees: Sequence[Tree]
    id: bytes

    @property
    def n_codebooks(self) -> int:
        return len(self.trees)

    # The trees' arrays stacked, as entropy.py uses them.

    @cached_property
    def rate(self) -> NDArray[np.int64]:  # [K, w]
        return np.stack([tree.rate for tree in self.trees]).astype(np.int64)

    @cached_property
    def order(self) -> NDArray[np.int64]:  # [K, 2**w]
        return np.stack([tree.order for tree in self.trees]).astype(np.int64)

    @cached_property
    def leaf(self) -> NDArray[np.int64]:  # [K, 2**w], the inverse of order
        return np.argsort(self.order, axis=1)

    @cached_property
    def bias(self) -> NDArray[np.int16]:  # [K, 2**w]
        return np.stack([tree.bias for tree in self.trees])

    @cached_property
    def node_vectors(self) -> NDArray[np.int64]:  # [K * 2**w, D]
        return np.concatenate([tree.node_vectors for tree in self.trees]).astype(np.int64)

    @cached_property
    def lag(self) -> NDArray[np.int64]:  # [K, S], S the largest number of sources of a tree
        return self._padded([[source.lag for source in tree.sources] for tree in self.trees])

    @cached_property
    def source(self) -> NDArray[np.int64]:  # [K, S]
        return self._padded([[source.codebook for source in tree.sources] for tree in self.trees])

    @cached_property
    def context(
        self,
    ) -> NDArray[np.int8]:  # [K, S, 2**w + 1, D]; the last entry, "no code", contributes nothing
        n_sources = self.lag.shape[1]
        size, dimensions = self.trees[0].node_vectors.shape
        context = np.zeros((self.n_codebooks, n_sources, size + 1, dimensions), np.int8)
        for k, tree in enumerate(self.trees):
            context[k, : len(tree.sources), :size] = tree.context
        return context

    def _padded(self, rows: list[list[int]]) -> NDArray[np.int64]:
        most = max(map(len, rows))
        return np.array([row + [0] * (most - len(row)) for row in rows], np.int64).reshape(len(rows), most)


def prior_to_bytes(width: int, fingerprint: bytes, trees: Sequence[Tree]) -> bytes:
    """The file of a prior."""
    dimensions = trees[0].node_vectors.shape[1]
    parts = [PREFIX.pack(MAGIC, VERSION, width, len(trees), dimensions, fingerprint)]
    for tree in trees:
        sources = [number for source in tree.sources for number in source]
        parts += [
            tree.rate.astype("u1").tobytes(),
            bytes([len(tree.sources), *sources]),
            tree.order.astype("<u2").tobytes(),
            tree.bias.astype("<i2").tobytes(),
            tree.node_vectors.astype("i1").tobytes(),
            tree.context.astype("i1").tobytes(),
        ]
    return sealed(b"".join(parts))


def prior_from_bytes(data: bytes) -> Prior:
    """A prior from its file.

    Raises:
        PriorError: if it is not a prior, or damaged.
    """
    if len(data) < PREFIX.size or not seal_holds(data):
        raise PriorError("the prior is damaged or not a prior at all: get the model's again")
    magic, version, width, n_codebooks, dimensions, fingerprint = PREFIX.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise PriorError("not a prior, or of a version that this package does not know")
    if not (1 <= width <= 16 and n_codebooks >= 1 and 1 <= dimensions <= MAX_DIMENSIONS):
        raise PriorError("a prior whose numbers are out of bounds")
    fields = _Fields(data[:-4], PREFIX.size)
    trees = [_parse_tree(fields, width, k, dimensions) for k in range(n_codebooks)]
    if fields.position != len(fields.data):
        raise PriorError("a prior that is longer than it says")
    return Prior(width, fingerprint, trees, hashlib.sha256(data).digest()[:PRIOR_ID_BYTES])


def read_prior(path: Path) -> Prior:
    """The prior in the file ``path``; see :func:`prior_from_bytes`."""
    try:
        return prior_from_bytes(path.read_bytes())
    except OSError as error:
        raise PriorError(f"cannot read the prior {path}: {error.strerror or error}") from error


@lru_cache
def shipped_priors() -> Sequence[Prior]:
    """The priors in the package."""
    return [read_prior(path) for path in sorted(_MODELS.glob(f"*/{PRIOR_FILE}"))]


def prior_of_model(fingerprint: bytes) -> Prior | None:
    """The prior in the package that was fitted to a model, if there is one."""
    return next((prior for prior in shipped_priors() if prior.fingerprint == fingerprint), None)


def prior_with_id(id: bytes) -> Prior | None:
    """The prior in the package with this identity, if there is one."""
    return next((prior for prior in shipped_priors() if prior.id == id), None)


class _Fields:
    """Arrays one after the other in ``data``."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def take(self, dtype: str, *shape: int) -> NDArray[Any]:
        count = int(np.prod(shape))
        end = self.position + count * np.dtype(dtype).itemsize
        if end > len(self.data):
            raise PriorError("a prior that is shorter than it says")
        array = np.frombuffer(self.data, dtype, count, self.position).reshape(shape)
        self.position = end
        return array


def _parse_tree(fields: _Fields, width: int, codebook: int, dimensions: int) -> Tree:
    size = 1 << width
    rate = fields.take("u1", width)
    n_sources = int(fields.take("u1", 1)[0])
    if n_sources > MAX_SOURCES:
        raise PriorError(f"a prior of {n_sources} sources, over {MAX_SOURCES}")
    sources = [Source(int(lag), int(j)) for lag, j in fields.take("u1", n_sources, 2)]
    if not all(lag <= MAX_LAG and (j < codebook or (j == codebook and lag > 0)) for lag, j in sources):
        raise PriorError("a prior that looks ahead")
    order = fields.take("<u2", size)
    if not np.array_equal(np.sort(order), np.arange(size)):
        raise PriorError("a prior whose leaves are not its codes")
    return Tree(
        rate,
        sources,
        order,
        fields.take("<i2", size),
        fields.take("i1", size, dimensions),
        fields.take("i1", n_sources, size, dimensions),
    )
