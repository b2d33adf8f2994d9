"""Pictures of sound. Needs matplotlib: ``pip install dacodec[eval]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from dacodec.spectra import magnitudes

FLOOR_DB, CEILING_DB = -100, 0  # of full scale


def save_spectrograms(
    file: str | Path | BinaryIO, recordings: Mapping[str, NDArray[np.float32]], sampling_rate: int
) -> None:
    """Save spectrograms, stacked, on one colour scale, as a PNG.

    Args:
        recordings: title and samples [T] of each, at ``sampling_rate`` Hz.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3 * len(recordings)), layout="constrained")
    rows = figure.subplots(len(recordings), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, samples) in zip(rows, recordings.items(), strict=True):
        image = axes.imshow(
            _decibels(samples),
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=FLOOR_DB,
            vmax=CEILING_DB,
            extent=(0, len(samples) / sampling_rate, 0, sampling_rate / 2000),
        )
        axes.set_title(title)
        axes.set_ylabel("kHz")
    rows[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=rows, label="dB of full scale")
    figure.savefig(file, dpi=110, format="png")


def _decibels(samples: NDArray[np.float32], window_length: int = 1024) -> NDArray[np.float32]:
    # A full-scale sine has magnitude window_length / 4 under a Hann window.
    magnitude = magnitudes(torch.from_numpy(np.ascontiguousarray(samples)), window_length) / (
        window_length / 4
    )
    return (20 * magnitude.clamp(1e-10).log10()).numpy()
