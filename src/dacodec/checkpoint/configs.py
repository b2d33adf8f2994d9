"""config.json and preprocessor_config.json, as Hugging Face's package reads and writes them.

In code, an unknown key is an error. In a file from elsewhere it is a warning: newer versions add keys, and
the configs of some released models contradict themselves.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from dacodec.config import HF_BOOKKEEPING, Config, DacConfig
from dacodec.errors import CheckpointError, ConfigError, OutputError
from dacodec.files import new_file

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"

_DERIVED = ("hop_length", "upsampling_ratios")


def read_config(folder: Path, kind: type[Config]) -> Config:
    """The config of type ``kind`` in a folder's config.json.

    Raises:
        CheckpointError: if the file is missing or damaged, or is of another kind of model.
    """
    return lenient_config(read_json(folder / CONFIG_FILE), kind, folder / CONFIG_FILE)


def lenient_config(values: Mapping[str, Any], kind: type[Config], path: Path) -> Config:
    """The config of type ``kind`` that the ``values`` of the file ``path`` describe.

    Warns of unknown keys, which are ignored, and of derived values that contradict the ratios, which are
    corrected: the released 24 kHz model says hop_length 512 where its ratios make 320.

    Raises:
        CheckpointError: if the values are not a valid DAC config.
    """
    if values.get("model_type", "dac") != "dac":
        raise CheckpointError(f"{path} is of a {values['model_type']!r} model, not of a 'dac' model")
    own = {f.name for f in fields(kind)} - {"extra"}
    values = _known(values, own | HF_BOOKKEEPING | set(_DERIVED), path)
    derived = {name: values.pop(name) for name in _DERIVED if name in values}
    try:
        config = kind.from_dict(values)
    except (ConfigError, TypeError) as error:  # TypeError: a comparison of a value of the wrong type
        raise CheckpointError(f"{path}: {error}") from error
    right = {name: config.to_dict()[name] for name in derived}
    mend(derived, right, path, f"the downsampling_ratios {list(config.downsampling_ratios)}")
    return config


def write_config(folder: Path, config: DacConfig, dtype: str | None = None) -> None:
    """Write config.json; ``dtype`` is that of the weights beside it, if they are written too."""
    values = config.to_dict()
    if dtype is not None:
        # Newer transformers loads weights as what it finds here; what an older one wrote may be stale.
        values["torch_dtype" if "torch_dtype" in values else "dtype"] = dtype
    write_json(folder / CONFIG_FILE, values)


def read_preprocessor(folder: Path, known: Collection[str]) -> dict[str, Any]:
    """The values of a folder's preprocessor_config.json that are ``known``.

    config.json alone is enough. If the two files disagree on the model's rate or hop, config.json wins, with
    a warning (the preprocessor configs of the released 16 and 24 kHz models had a wrong hop_length).

    Raises:
        CheckpointError: if both are missing, or one is damaged.
    """
    path = folder / PREPROCESSOR_FILE
    if not path.is_file():
        return _preprocessing(read_config(folder, DacConfig))
    values = _known(read_json(path), known, path)
    if (folder / CONFIG_FILE).is_file():
        right = _preprocessing(read_config(folder, DacConfig))
        mend(values, right, path, CONFIG_FILE)
        values |= right
    return values


def write_preprocessor_of(folder: Path, config: DacConfig, default: Mapping[str, Any]) -> None:
    """Write the preprocessor_config.json that fits ``config``, keeping other values of an existing one."""
    path = folder / PREPROCESSOR_FILE
    values = read_json(path) if path.is_file() else dict(default)
    write_json(path, {**values, **_preprocessing(config)})


def read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} holds no {path.name}; give a folder that a model was saved to"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """As Hugging Face writes it: keys sorted, two spaces, a line feed at the end."""
    with new_file(path, overwrite=True) as file:
        file.write((json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def folder_to_write(folder: str | os.PathLike[str]) -> Path:
    """``folder``, created if needed."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    return folder


def _preprocessing(config: DacConfig) -> dict[str, Any]:
    return {"sampling_rate": config.sampling_rate, "hop_length": config.hop_length}


def _known(values: Mapping[str, Any], known: Collection[str], path: Path) -> dict[str, Any]:
    unknown = sorted(set(values) - set(known))
    if unknown:
        warnings.warn(f"{path}: ignoring unknown keys {unknown}", stacklevel=2)
    return {name: value for name, value in values.items() if name in known}


def mend(stored: Mapping[str, Any], right: Mapping[str, Any], path: Path, source: str) -> None:
    """Warn of values ``stored`` in ``path`` that differ from the ``right`` ones, which ``source`` implies."""
    for name, value in right.items():
        if stored.get(name, value) != value:
            warnings.warn(f"{path}: {name} {stored[name]} contradicts {source}; using {value}", stacklevel=2)
