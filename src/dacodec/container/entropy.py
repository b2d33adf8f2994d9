"""Codes to coded segments and back: adaptive binary trees under a prior, in integers only.

docs/format.md, "Entropy coding", is the reference. It is fast because all packets and all codebooks are coded
at once, as lanes of NumPy arrays. While codebook 0 codes symbol ``step``, codebook k codes symbol ``step -
k``, whose sources are known by then.

Shapes: K codebooks, up to the highest that is coded, P packets, N symbols (frames x channels), D as in the
prior.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.container.prior import Prior
from dacodec.container.rangecoder import RangeDecoder, encode

Integers = NDArray[np.int64]

# 65536 / (1 + exp(8 - i / 2)), rounded
SQUASH = np.array(
    [
        22,
        36,
        60,
        98,
        162,
        267,
        439,
        720,
        1179,
        1921,
        3108,
        4971,
        7812,
        11955,
        17625,
        24743,
        32768,
        40793,
        47911,
        53581,
        57724,
        60565,
        62428,
        63615,
        64357,
        64816,
        65097,
        65269,
        65374,
        65438,
        65476,
        65500,
        65514,
    ]
)
LIMIT = 2047  # of z, in 1/256 of log odds


def _squash_table() -> Integers:
    """Probability of a 1, in 1/65536, for z + LIMIT."""
    z = np.arange(-LIMIT, LIMIT + 1) + 2048
    i, j = z >> 7, z & 127
    return SQUASH[i] * (128 - j) + SQUASH[i + 1] * j >> 7


PROBABILITY = _squash_table()


class _Trees:
    """The adaptive trees of K codebooks of P packets, each with its own state."""

    def __init__(self, prior: Prior, n_codebooks: int, n_packets: int, channels: int, n_symbols: int) -> None:
        self.prior = prior
        self._shape = (n_codebooks, n_packets)
        self._channels = channels
        bias = prior.bias[:n_codebooks, None].astype(np.int64)
        self._state = np.repeat(bias, n_packets, axis=1).reshape(-1)
        self._state_row = np.arange(n_codebooks * n_packets).reshape(self._shape) << prior.width
        self._vector_row = np.arange(n_codebooks)[:, None] << prior.width
        # The symbols, preceded by the code that contributes nothing, for those before the packet.
        self._before = int(prior.lag.max(initial=0)) * channels
        nothing = 1 << prior.width
        self._symbols = np.full((n_codebooks, n_packets, self._before + n_symbols), nothing, np.int64)

    def set(self, codebooks: Integers, symbols: Integers, codes: Integers) -> None:
        self._symbols[codebooks, :, self._before + symbols] = codes

    def context(self, codebooks: Integers, symbols: Integers) -> Integers:
        """The sum of the sources' vectors, [k, P, D], for one symbol in each of the codebooks [k]."""
        lag, source = self.prior.lag[codebooks], self.prior.source[codebooks]  # [k, S]
        where = self._before + symbols[:, None] - lag * self._channels
        codes = self._symbols[source, :, where]  # [k, S, P]
        table = np.arange(lag.shape[1])[:, None]
        vectors = self.prior.context[codebooks[:, None, None], table, codes]  # [k, S, P, D]
        return vectors.sum(axis=1, dtype=np.int64)

    def predict(self, lanes: slice, node: Integers, context: Integers) -> tuple[Integers, Integers]:
        """Indices into the state [k, P], and the probabilities of a 1 [k, P]."""
        place = self._state_row[lanes] + node
        vectors = self.prior.node_vectors[self._vector_row[lanes] + node]
        z = self._state[place] + (np.einsum("kpd,kpd->kp", vectors, context) >> 3)
        return place, PROBABILITY[np.clip(z, -LIMIT, LIMIT) + LIMIT]

    def update(
        self, lanes: slice, depth: int, place: Integers, p: Integers, bit: NDArray[np.bool_] | Integers
    ) -> None:
        error = (bit.astype(np.int64) << 16) - p
        self._state[place] += error * self.prior.rate[lanes, depth, None] + 32768 >> 16


def _steps(n_codebooks: int, n_symbols: int) -> Iterator[tuple[slice, Integers, Integers]]:
    """For each step, the codebooks at work, as a slice and as numbers, and the symbol each works on."""
    for step in range(n_symbols + n_codebooks - 1):
        lanes = slice(max(0, step - n_symbols + 1), min(n_codebooks, step + 1))
        codebooks = np.arange(lanes.start, lanes.stop)
        yield lanes, codebooks, step - codebooks


def encode_segments(prior: Prior, codes: NDArray[Any], channels: int) -> list[list[bytes]]:
    """Coded segments [K][P] of symbols [K, P, N], frame by frame and channel by channel within a frame."""
    bits, p = decisions(prior, codes, channels)
    return [
        [encode(b.tolist(), q.tolist()) for b, q in zip(*lanes, strict=True)]
        for lanes in zip(bits, p, strict=True)
    ]


def decisions(
    prior: Prior, codes: NDArray[Any], channels: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """The bits that spell symbols [K, P, N], and the probability of a 1 for each: two arrays [K, P, N * w]."""
    n_codebooks, n_packets, n_symbols = codes.shape
    trees = _Trees(prior, n_codebooks, n_packets, channels, n_symbols)
    leaves = np.take_along_axis(prior.leaf[:n_codebooks, None], codes.astype(np.int64), axis=2)
    bits = np.empty((n_codebooks, n_packets, n_symbols, prior.width), np.uint8)
    p = np.empty(bits.shape, np.uint16)
    for lanes, codebooks, symbols in _steps(n_codebooks, n_symbols):
        context = trees.context(codebooks, symbols)
        leaf = leaves[codebooks, :, symbols] + (1 << prior.width)  # [k, P], numbered as a node
        for depth in range(prior.width):
            below = prior.width - depth
            place, p_one = trees.predict(lanes, leaf >> below, context)
            bit = leaf >> below - 1 & 1
            trees.update(lanes, depth, place, p_one, bit)
            bits[codebooks, :, symbols, depth] = bit
            p[codebooks, :, symbols, depth] = p_one
        trees.set(codebooks, symbols, codes[codebooks, :, symbols])
    return bits.reshape(n_codebooks, n_packets, -1), p.reshape(n_codebooks, n_packets, -1)


def decode_segments(
    prior: Prior, segments: list[list[bytes | None]], codes: NDArray[Any], channels: int
) -> None:
    """Decode ``segments`` [K][P] into ``codes`` [K, P, N], the inverse of :func:`encode_segments`.

    A segment of None was raw: its codes are already in ``codes``.
    """
    n_codebooks, n_packets, n_symbols = codes.shape
    trees = _Trees(prior, n_codebooks, n_packets, channels, n_symbols)
    decoder = RangeDecoder(segments)
    known = np.array([[segment is None for segment in packets] for packets in segments])
    for lanes, codebooks, symbols in _steps(n_codebooks, n_symbols):
        context = trees.context(codebooks, symbols)
        node = np.ones((len(codebooks), n_packets), np.int64)
        for depth in range(prior.width):
            place, p = trees.predict(lanes, node, context)
            bit = decoder.decode(lanes, p)
            trees.update(lanes, depth, place, p, bit)
            node = node << 1 | bit
        decoded = prior.order[codebooks[:, None], node - (1 << prior.width)]
        decoded = np.where(known[lanes], codes[codebooks, :, symbols], decoded)
        codes[codebooks, :, symbols] = decoded
        trees.set(codebooks, symbols, decoded)
