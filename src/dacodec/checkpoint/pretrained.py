"""The config and the model with files: loading, saving, publishing.

``dacodec.DacConfig`` and ``dacodec.DacModel`` are the classes here: those of ``dacodec.config`` and
``dacodec.model``, which know nothing of files, plus the file methods of Hugging Face's classes. They are
subclasses because the alternatives are worse: methods patched onto the lower classes would exist only
depending on what was imported, and be unknown to type checkers; methods written there would call upwards. The
subclasses add no state, so a model of either class has the same state dict and copies and exports in the same
way, and code inside the package may use the lower class for both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dacodec import config as _config
from dacodec import model as _model
from dacodec.checkpoint.beside import BesideWeights
from dacodec.checkpoint.configs import (
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    folder_to_write,
    lenient_config,
    read_config,
    read_json,
    write_config,
    write_preprocessor_of,
)
from dacodec.checkpoint.descript import read_descript
from dacodec.checkpoint.hub import MODEL_FILES
from dacodec.checkpoint.identity import fingerprint_of
from dacodec.checkpoint.processor import DacFeatureExtractor
from dacodec.checkpoint.sources import locate
from dacodec.checkpoint.weights import (
    check_weights,
    fold_weight_norm,
    read_weights,
    write_weights,
)
from dacodec.errors import CheckpointError, EngineError, OutputError
from dacodec.files import new_file

Config = TypeVar("Config", bound="DacConfig")
Model = TypeVar("Model", bound="DacModel")


class DacConfig(BesideWeights, _config.DacConfig):
    __doc__ = _config.DacConfig.__doc__
    _files = (CONFIG_FILE,)

    @classmethod
    def _from_folder(cls: type[Config], folder: Path) -> Config:
        return read_config(folder, cls)

    @classmethod
    def _from_descript(cls: type[Config], path: Path) -> Config:
        return read_descript(path, cls)[0]

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json.

        Raises:
            OutputError: if it cannot be written.
        """
        write_config(folder_to_write(folder), self)

    def to_json_file(self, path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write :meth:`to_json_string`.

        Raises:
            OutputError: if it cannot be written.
        """
        with new_file(Path(path), overwrite=True) as file:
            file.write(self.to_json_string(use_diff).encode())

    @classmethod
    def from_json_file(cls: type[Config], path: str | os.PathLike[str]) -> Config:
        """The config in a file, read as leniently as by :meth:`from_pretrained`.

        Raises:
            CheckpointError: if the file is missing or damaged, or not a valid DAC config.
        """
        return lenient_config(read_json(Path(path)), cls, Path(path))


class DacModel(_model.DacModel):
    __doc__ = _model.DacModel.__doc__

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """The number of parameters; ``exclude_embeddings`` leaves the codebooks out."""
        left_out = {q.codebook.weight for q in self.quantizer.quantizers} if exclude_embeddings else set()
        parameters = [p for p in self.parameters() if p not in left_out]
        return sum(p.numel() for p in parameters if p.requires_grad or not only_trainable)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Train with less memory but more time, with the same result: see
        :class:`~dacodec.model.layers.Block`.

        Args:
            gradient_checkpointing_kwargs: for ``torch.utils.checkpoint.checkpoint``.
        """
        function = partial(
            checkpoint, **({"use_reentrant": False} | dict(gradient_checkpointing_kwargs or {}))
        )
        for block in (*self.encoder.block, *self.decoder.block):
            block.gradient_checkpointing = True
            block._gradient_checkpointing_func = function

    def gradient_checkpointing_disable(self) -> None:
        for block in (*self.encoder.block, *self.decoder.block):
            block.gradient_checkpointing = False

    @property
    def is_gradient_checkpointing(self) -> bool:
        return any(block.gradient_checkpointing for block in (*self.encoder.block, *self.decoder.block))

    @classmethod
    def from_pretrained(
        cls: type[Model],
        source: str | os.PathLike[str],
        *,
        config: _config.DacConfig | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
    ) -> Model:
        """A model with stored weights, in eval mode.

        Args:
            source: ``"builtin"``, a built-in model's name, a folder in Hugging Face's layout, a hub id such as
                ``"descript/dac_44khz"``, or a weights file (``.pth``) of Descript's package.
            config: replaces the stored one, for a different dropout or loss weights.
            revision: branch, tag or commit of a model on the hub.
            cache_dir: instead of HF_HUB_CACHE, or the folder ``hub`` of HF_HOME.
            local_files_only: stay off the network, as HF_HUB_OFFLINE does.
            token: for private models on the hub.
            device: where to put the model; by default the CPU.
            dtype: by default float32, whatever is stored; ``"auto"`` for the stored one.
            torch_dtype: another name for ``dtype``.

        Raises:
            CheckpointError: if the weights cannot be found or read, or do not fit their config.
        """
        stored = _read(
            source,
            DacConfig,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        )
        if config is not None:
            check_weights(stored.tensors, config, str(source))
        return _build(cls, config or stored.config, stored.tensors, device, _one_dtype(dtype, torch_dtype))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write model.safetensors, config.json and preprocessor_config.json, which ``transformers`` reads too.

        Weights keep their dtype; weight normalisation is folded. In an existing preprocessor_config.json only
        the rate and the hop are changed.

        Raises:
            CheckpointError: if the model's tensors do not fit its config.
            OutputError: if a file cannot be written.
        """
        tensors = fold_weight_norm(self.state_dict())
        check_weights(tensors, self.config, "this model")
        folder = folder_to_write(folder)
        write_weights(folder, tensors)
        write_config(folder, self.config, dtype=str(self.dtype).removeprefix("torch."))
        write_preprocessor_of(folder, self.config, DacFeatureExtractor().to_dict())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload DacModel",
        create_pr: bool = False,
    ) -> str:
        """Publish what :meth:`save_pretrained` writes; the repository is created if needed.

        Returns:
            The URL of the commit.

        Raises:
            CheckpointError: if the hub refuses or cannot be reached.
        """
        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            try:
                api = HfApi(token=token)
                repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                commit = api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    revision=revision,
                    commit_message=commit_message,
                    create_pr=create_pr,
                )
            except Exception as error:  # the hub's own errors, and those of the HTTP package of its version
                raise CheckpointError(
                    f"cannot publish {repo_id!r}: {error}. Check the name, and that the token may write to it"
                ) from error
        return str(commit)


@dataclass(frozen=True)
class LoadedModel:
    """A model and its identity.

    Args:
        model: in eval mode.
        name: a hub id, a built-in model's own name, or the name of a folder or file; never "builtin".
        fingerprint: 32 bytes; see :func:`~dacodec.checkpoint.fingerprint_of`. It is that of the stored
            values, so the same for every dtype the model may be loaded as.
    """

    model: DacModel
    name: str
    fingerprint: bytes


def load_model(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
) -> LoadedModel:
    """A model with stored weights, its name and its fingerprint; see :meth:`DacModel.from_pretrained`."""
    stored = _read(
        source,
        DacConfig,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
    )
    model = _build(DacModel, stored.config, stored.tensors, device, _one_dtype(dtype, None))
    return LoadedModel(model, stored.name, fingerprint_of(stored.config, stored.tensors))


def import_weights(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Turn a weights file (``.pth``) of Descript's package into a folder in Hugging Face's layout.

    Raises:
        CheckpointError: if the file is missing or of another kind.
        OutputError: if the folder holds a model already and ``overwrite`` is False, or cannot be written.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no file {os.fspath(path)}; give a .pth file of descript-audio-codec")
    if not overwrite and any((Path(folder) / name).exists() for name in (*MODEL_FILES, PREPROCESSOR_FILE)):
        raise OutputError(f"{os.fspath(folder)} holds a model already; give another folder")
    DacModel.from_pretrained(Path(path)).save_pretrained(folder)


@dataclass(frozen=True)
class _Stored:
    """A checkpoint, read and checked: its tensors fit its config."""

    name: str
    config: DacConfig
    tensors: dict[str, Tensor]


def _read(source: str | os.PathLike[str], kind: type[DacConfig], **hub: Any) -> _Stored:
    location = locate(source, MODEL_FILES, **hub)
    if location.path.is_file():
        if location.path.suffix == ".safetensors":
            raise CheckpointError(
                f"{location.path} does not say its config; give the folder with its {CONFIG_FILE}"
            )
        config, tensors = read_descript(location.path, kind)
    else:
        config = read_config(location.path, kind)
        tensors = fold_weight_norm(read_weights(location.path))
    check_weights(tensors, config, str(location.path))
    return _Stored(location.name, config, tensors)


def _build(
    cls: type[Model],
    config: _config.DacConfig,
    tensors: dict[str, Tensor],
    device: str | torch.device | None,
    dtype: torch.dtype | str | None,
) -> Model:
    if dtype == "auto":
        dtype = tensors["encoder.conv1.bias"].dtype  # as DacModel.dtype
    kind = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise CheckpointError(f"dtype must be a floating point type such as torch.float16, got {dtype!r}")
    with torch.device("meta"):  # skip the initial weights, which are not needed
        model = cls(config)
    _check_device(device)
    model.load_state_dict({name: t.to(device, kind) for name, t in tensors.items()}, assign=True)
    return model.eval()


def _check_device(device: str | torch.device | None) -> None:
    """Raise EngineError for a device that PyTorch does not have here."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise EngineError(
            f"device {str(device)!r} cannot be used here ({reason}); give device='cpu'"
        ) from error


def _one_dtype(
    dtype: torch.dtype | str | None, torch_dtype: torch.dtype | str | None
) -> torch.dtype | str | None:
    if dtype is not None and torch_dtype is not None and dtype != torch_dtype:
        raise CheckpointError(f"dtype {dtype} and torch_dtype {torch_dtype} differ; give one of them")
    return dtype if dtype is not None else torch_dtype
