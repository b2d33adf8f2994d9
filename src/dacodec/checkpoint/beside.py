"""Files that accompany a model's weights, loaded from wherever those are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, TypeVar

from dacodec.checkpoint.sources import locate

T = TypeVar("T", bound="BesideWeights")


class BesideWeights:
    """The base of the config and the feature extractor."""

    _files: ClassVar[tuple[str, ...]]  # read from these; the first is required

    @classmethod
    def from_pretrained(
        cls: type[T],
        source: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> T:
        """The one of a model; arguments as for ``DacModel.from_pretrained``.

        If a model's files contradict each other, as in some released models, config.json wins, with a
        warning.

        Raises:
            CheckpointError: if there is no such model, or its files do not describe a DAC model.
        """
        path = locate(
            source,
            cls._files,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        ).path
        return cls._from_descript(path) if path.is_file() else cls._from_folder(path)

    @classmethod
    def _from_folder(cls: type[T], folder: Path) -> T:
        raise NotImplementedError

    @classmethod
    def _from_descript(cls: type[T], path: Path) -> T:
        raise NotImplementedError
