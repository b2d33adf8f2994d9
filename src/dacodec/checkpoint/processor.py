"""The feature extractor with files; see pretrained.py for why this is a class of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from dacodec import features as _features
from dacodec.checkpoint.beside import BesideWeights
from dacodec.checkpoint.configs import (
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    folder_to_write,
    read_json,
    read_preprocessor,
    write_json,
)
from dacodec.checkpoint.descript import read_descript
from dacodec.config import DacConfig
from dacodec.errors import CheckpointError, ConfigError

Extractor = TypeVar("Extractor", bound="DacFeatureExtractor")


class DacFeatureExtractor(BesideWeights, _features.DacFeatureExtractor):
    __doc__ = _features.DacFeatureExtractor.__doc__
    _files = (CONFIG_FILE, PREPROCESSOR_FILE)

    @classmethod
    def _from_folder(cls: type[Extractor], folder: Path) -> Extractor:
        known = cls().to_dict().keys() | set(_features.HF_BOOKKEEPING)
        try:
            return cls.from_dict(read_preprocessor(folder, known))
        except ConfigError as error:
            raise CheckpointError(f"{folder / PREPROCESSOR_FILE}: {error}") from error

    @classmethod
    def _from_descript(cls: type[Extractor], path: Path) -> Extractor:
        config, _ = read_descript(path, DacConfig)
        return cls(sampling_rate=config.sampling_rate, hop_length=config.hop_length)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write preprocessor_config.json.

        Raises:
            OutputError: if it cannot be written.
        """
        write_json(folder_to_write(folder) / PREPROCESSOR_FILE, self.to_dict())

    def to_json_file(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_json_string`.

        Raises:
            OutputError: if it cannot be written.
        """
        write_json(Path(path), self.to_dict())

    @classmethod
    def from_json_file(cls: type[Extractor], path: str | os.PathLike[str]) -> Extractor:
        """The extractor described by a file.

        Raises:
            CheckpointError: if the file cannot be read, or its values are not valid for a DAC model.
        """
        try:
            return cls.from_dict(read_json(Path(path)))
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{os.fspath(path)}: {error}") from error


# For code written for transformers, whose AutoProcessor returns DAC's feature extractor.
AutoProcessor = DacFeatureExtractor
