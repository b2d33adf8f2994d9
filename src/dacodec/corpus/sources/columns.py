"""The column that holds the audio, and the names that other columns get in the tokens."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

# The columns of a row of tokens that are not passed through.
OWN_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "codes": pa.list_(pa.list_(pa.uint16())),
    "n_samples": pa.int64(),
    "sampling_rate": pa.int32(),
    "channels": pa.int32(),
    "n_codebooks": pa.int32(),
    "duration": pa.float64(),
    "start_seconds": pa.float64(),
    "gain": pa.float64(),
    "mid_side": pa.bool_(),
    "model": pa.string(),
    "fingerprint": pa.string(),
}

# What paths to audio are called: in Hugging Face's data sets, NeMo's and ESPnet's manifests, CommonVoice.
PATH_COLUMNS = (
    "audio",
    "path",
    "file",
    "file_name",
    "audio_path",
    "audio_filepath",
    "filename",
    "wav",
    "audio_file",
)


def passed(name: str) -> str:
    """The name of a column when it is passed through: ``source_NAME`` if rows have one of that name."""
    return f"source_{name}" if name in OWN_COLUMNS else name


def path_column(names: Iterable[str]) -> str | None:
    """The first of :data:`PATH_COLUMNS` that is among ``names``."""
    there = set(names)
    return next((name for name in PATH_COLUMNS if name in there), None)
