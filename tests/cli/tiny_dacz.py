"""A small .dacz file."""

import io
from dataclasses import replace

import numpy as np

from dacodec.container import Header, Writer

HEADER = Header("toy", bytes(32), 100, 10, 16, 3, 100, 1, 300, packet_frames=8)
CODES = np.random.default_rng(0).integers(16, size=(1, 3, 30))


def written(n_codebooks):
    file = io.BytesIO()
    with Writer(file, replace(HEADER, n_codebooks=n_codebooks), index=True) as writer:
        writer.write(CODES[:, :n_codebooks])
    return file.getvalue()
