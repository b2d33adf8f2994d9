"""Fit the entropy coder's prior to a model's codes: docs/format.md, "Entropy coding".

    python scripts/prior/fit.py train_*.tar [--model MODEL] [--seconds 12000] [--split train] [--codes CODES.npz]

Audio is named as for training (dacodec.training.sources): folders, patterns, tars. Each recording is coded at its own
level, because that is how files are coded; all its channels' mean. MODEL is a built-in model's name or a folder; the
prior is written beside its weights. Codes are kept in CODES.npz, if given, and not made again where that exists; with
--codes-only nothing else is done, for scripts/prior/report.py.

Each codebook's tree is a logistic regression: the log odds of a decision are a bias of its node, plus the product of
a vector of the node and the sum of vectors of the codes around. Fitted by gradient descent on the code length, then
rounded to the file's integers.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dacodec import Codec
from dacodec.audio import read
from dacodec.checkpoint.sources import builtin_folder
from dacodec.container.prior import PRIOR_FILE, Source, Tree, prior_to_bytes
from dacodec.errors import AudioError
from dacodec.training.sources import find_units

PACKET_FRAMES = 88  # in a packet of about a second: no code's context crosses its edge
DIMENSIONS = 16
RATE = 16  # of adaptation, in 1/256 of a unit of log odds; scripts/prior/report.py shows what others give
EPOCHS = 8
BATCH = 8192  # codes
LEARNING_RATE = 0.02
DECAY = 1e-5
BIAS_UNIT, NODE_UNIT, CONTEXT_UNIT = 256, 64, 32  # 256 = NODE_UNIT * CONTEXT_UNIT >> 3


class Codes(NamedTuple):
    """Codes of many clips, one after the other."""

    codes: NDArray[np.uint16]  # [K, F]
    lengths: NDArray[np.int64]  # frames of each clip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("audio", nargs="*")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--seconds", type=float, default=12000, help="of audio to take, drawn at random")
    parser.add_argument("--split", default="train")
    parser.add_argument("--codes", type=Path)
    parser.add_argument("--codes-only", action="store_true")
    parser.add_argument("--out", type=Path, help="left out: beside the weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = builtin_folder(args.model) or Path(args.model)
    codec = Codec.from_pretrained(folder)
    if args.codes is not None and args.codes.exists():
        stored = np.load(args.codes)
        codes = Codes(stored["codes"], stored["lengths"])
    else:
        codes = coded(codec, args.audio, args.split, args.seconds)
        if args.codes is not None:
            np.savez(args.codes, codes=codes.codes, lengths=codes.lengths)
    if args.codes_only:
        return
    width = (codec.model.codebook_size - 1).bit_length()
    trees = [fit(codes, k, codebook, width) for k, codebook in enumerate(codebooks_of(codec))]
    out = args.out or folder / PRIOR_FILE
    out.write_bytes(prior_to_bytes(width, codec.model.fingerprint, trees))
    print(out, out.stat().st_size, "bytes")


def coded(codec: Codec, sources: list[str], split: str, seconds: float) -> Codes:
    """The codes of about ``seconds`` of recordings, drawn at random."""
    recordings = [r for unit in find_units(sources, split) for r in unit.recordings]
    codes, lengths, taken = [], [], 0.0
    for i in np.random.default_rng(0).permutation(len(recordings)):
        if taken >= seconds:
            break
        try:
            audio = read(io.BytesIO(recordings[i].content()))
        except AudioError as error:
            print(f"{recordings[i].name}: {error}")
            continue
        codes.append(codec.encode(audio.samples.mean(0), audio.sampling_rate).codes[0])
        lengths.append(codes[-1].shape[1])
        taken += audio.samples.shape[1] / audio.sampling_rate
    print(f"{len(codes)} recordings, {taken:.0f} s", flush=True)
    return Codes(np.concatenate(codes, axis=1), np.array(lengths))


def codebooks_of(codec: Codec) -> list[NDArray[np.float32]]:
    """The vectors [codebook_size, codebook_dim] of each codebook."""
    return [q.codebook.weight.detach().numpy() for q in codec.engine.model.quantizer.quantizers]


def sources_of(codebook: int) -> list[Source]:
    """The context of a code: the two codes before it, those below it, those before the three below it."""
    own = [Source(1, codebook), Source(2, codebook)]
    below = [Source(0, j) for j in range(codebook)]
    return own + below + [Source(1, j) for j in range(max(0, codebook - 3), codebook)]


def order_of(codebook: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    """Order the codes so that similar directions are adjacent: split along the main axis, recursively."""
    vectors = codebook / np.linalg.norm(codebook, axis=1, keepdims=True)

    def halved(codes: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(codes) == 1:
            return codes
        deviations = vectors[codes] - vectors[codes].mean(0)
        main_axis = np.linalg.svd(deviations, full_matrices=False)[2][0]
        codes = codes[np.argsort(deviations @ main_axis, kind="stable")]
        half = (len(codes) + 1) // 2
        return np.concatenate([halved(codes[:half]), halved(codes[half:])])

    order = halved(np.arange(len(vectors)))
    return np.concatenate([order, np.arange(len(vectors), 2**width)])  # codes that no codebook has


def context_codes(codes: Codes, sources: list[Source], none: int) -> Tensor:
    """The codes [F, S] that the sources name for each frame; ``none`` where they lie before packet or clip."""
    n_frames = codes.codes.shape[1]
    in_clip = np.concatenate([np.arange(length) for length in codes.lengths])
    rows = np.full((n_frames, len(sources)), none)
    for s, (lag, j) in enumerate(sources):
        frames = np.flatnonzero(in_clip % PACKET_FRAMES >= lag)
        rows[frames, s] = codes.codes[j, frames - lag]
    return torch.from_numpy(rows)


def fit(codes: Codes, codebook: int, vectors: NDArray[np.float32], width: int) -> Tree:
    """The tree of a codebook, and a line about it."""
    torch.manual_seed(codebook)
    size, sources = 2**width, sources_of(codebook)
    order = order_of(vectors, width)
    leaves = torch.from_numpy(np.argsort(order)[codes.codes[codebook]])
    context = context_codes(codes, sources, size)
    bias = torch.nn.Parameter(order_0(leaves, width))
    nodes = torch.nn.Parameter(torch.randn(size, DIMENSIONS) * 0.3)
    tables = torch.nn.Parameter(torch.randn(len(sources), size + 1, DIMENSIONS) * 0.1)
    parameters = [bias, nodes, tables]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.98))
    n_steps = EPOCHS * math.ceil(len(leaves) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.1
    )
    total = 0.0
    for _epoch in range(EPOCHS):
        total = 0.0
        for batch in shuffled(len(leaves)):
            with torch.no_grad():
                tables[:, size] = 0  # what is not there contributes nothing
            bits = code_length(leaves[batch], context[batch], bias, nodes, tables, width)
            loss = bits / len(batch) + DECAY * (nodes.square().sum() + tables.square().sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += bits.item() / math.log(2)
    print(f"codebook {codebook}: {total / len(leaves):.3f} bits a code on what it was fitted to", flush=True)
    return Tree(
        rate=np.full(width, RATE, np.uint8),
        sources=sources,
        order=order.astype(np.uint16),
        bias=rounded(bias, BIAS_UNIT, np.int16),
        node_vectors=rounded(nodes, NODE_UNIT, np.int8),
        context=rounded(tables[:, :size], CONTEXT_UNIT, np.int8),
    )


def shuffled(n: int) -> Iterator[Tensor]:
    yield from torch.randperm(n).split(BATCH)


def order_0(leaves: Tensor, width: int) -> Tensor:
    """Log odds [2^w] of a 1 at each node, by how often each leaf was reached."""
    size = 2**width
    counts = torch.zeros(2 * size, dtype=torch.float64)
    counts[size:] = torch.bincount(leaves, minlength=size) + 0.3
    for node in range(size - 1, 0, -1):
        counts[node] = counts[2 * node] + counts[2 * node + 1]
    ones, zeros = counts[3::2], counts[2::2]
    return torch.cat([torch.zeros(1), (ones.log() - zeros.log()).float()])


def code_length(
    leaves: Tensor, context: Tensor, bias: Tensor, nodes: Tensor, tables: Tensor, width: int
) -> Tensor:
    """Nats that leaves [N] take, given the codes around them [N, S]."""
    below = torch.arange(width, 0, -1)
    path = (leaves[:, None] + 2**width) >> below  # nodes, [N, w]
    bits = ((leaves[:, None] >> (below - 1)) & 1).float()
    sums = tables[torch.arange(tables.shape[0]), context].sum(1)  # [N, D]
    log_odds = bias[path] + torch.einsum("nwd,nd->nw", nodes[path], sums)
    return F.binary_cross_entropy_with_logits(log_odds, bits, reduction="sum")


def rounded(values: Tensor, unit: int, dtype: type) -> NDArray[np.generic]:
    limits = np.iinfo(dtype)
    return (values.detach() * unit).round().clamp(limits.min, limits.max).numpy().astype(dtype)


if __name__ == "__main__":
    main()
