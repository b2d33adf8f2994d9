"""A small prior, codes that suit it, and files made with both."""

import io

import numpy as np

from dacodec.container import Header, Tag, Writer
from dacodec.container.prior import Source, Tree, prior_from_bytes, prior_to_bytes


def prior_bytes(width=4, n_codebooks=3, dimensions=2, seed=0):
    """A prior of random integers, mild enough that repetitive codes become shorter."""
    random = np.random.default_rng(seed)
    size = 1 << width
    trees = []
    for k in range(n_codebooks):
        sources = [Source(0, j) for j in range(k)] + [Source(1, k), Source(2, 0)][: 2 if k else 1]
        trees.append(
            Tree(
                rate=random.integers(100, 256, width),
                sources=sources,
                order=random.permutation(size),
                bias=random.integers(-200, 200, size),
                node_vectors=random.integers(-30, 30, (size, dimensions)),
                context=random.integers(-30, 30, (len(sources), size, dimensions)),
            )
        )
    return prior_to_bytes(width, bytes(range(32)), trees)


PRIOR_BYTES = prior_bytes()
PRIOR = prior_from_bytes(PRIOR_BYTES)

HEADER = Header(
    model_name="toy",
    fingerprint=bytes(range(32)),
    model_sampling_rate=100,
    hop_length=10,
    codebook_size=15,
    n_codebooks=4,  # one more than the prior's
    sampling_rate=100,
    channels=2,
    n_samples=None,
    gain=0.5,
    packet_frames=30,
    channel_coding=1,
    prior_id=PRIOR.id,
    tags=(Tag("TITLE", "Größe"), Tag("COMMENT", "two\nlines")),
    speakers=3,
)


def repetitive_codes(channels, n_codebooks, n_frames, codebook_size, seed=0):
    """Codes that mostly repeat; those of every third codebook are noise."""
    random = np.random.default_rng(seed)
    codes = random.integers(codebook_size, size=(channels, n_codebooks, n_frames))
    stays = random.random(codes.shape) < 0.85
    stays[:, 1::3] = False
    stays[:, :, 0] = False
    last = np.where(stays, 0, np.arange(n_frames))
    return np.take_along_axis(codes, np.maximum.accumulate(last, axis=2), axis=2)


def written(header, codes, n_samples=None, prior=PRIOR, index=True):
    file = io.BytesIO()
    writer = Writer(file, header, prior=prior, index=index)
    writer.write(codes)
    writer.close(n_samples)
    return file.getvalue()


CODES = repetitive_codes(2, 4, 250, 15)  # 25 s: nine packets and three entries of the index
CODED = written(HEADER, CODES, n_samples=2497)
