"""Models on the Hugging Face hub: fetching a model's few files into the cache that all its packages share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dacodec.checkpoint.configs import CONFIG_FILE, PREPROCESSOR_FILE
from dacodec.checkpoint.weights import PICKLED_WEIGHTS_FILE, WEIGHTS_FILE
from dacodec.errors import CheckpointError

MODEL_FILES = (WEIGHTS_FILE, CONFIG_FILE, PREPROCESSOR_FILE)

_TRUE = ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads its switches


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> Path:
    """Fetch a model into the cache, for later use offline.

    Args:
        repo_id: such as ``"descript/dac_44khz"``.
        revision: a branch, tag or commit; by default the main branch.
        cache_dir: instead of HF_HUB_CACHE, or the folder ``hub`` of HF_HOME.
        token: for private models; by default the one stored by ``hf auth login``.

    Returns:
        The folder with the files.

    Raises:
        CheckpointError: if there is no such model, or the hub cannot be reached.
    """
    return fetch(repo_id, MODEL_FILES, revision=revision, cache_dir=cache_dir, token=token)


def fetch(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """A folder with a model's ``files``, of which the first is required; from the cache if offline."""
    offline = local_files_only or is_offline()

    def snapshot(files: Sequence[str], revision: str | None) -> Path:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                repo_id,
                revision=revision,
                cache_dir=cache_folder(cache_dir),
                token=token,
                local_files_only=offline,
                allow_patterns=list(files),
            )
        )

    try:
        folder = snapshot(files, revision)
        if files[0] == WEIGHTS_FILE and not (folder / WEIGHTS_FILE).exists():
            files = (PICKLED_WEIGHTS_FILE, *files[1:])
            folder = snapshot(files, folder.name)  # the same commit
    except Exception as error:  # the hub's own errors, and those of the HTTP package of its version
        raise _miss(repo_id, revision, cache_dir, offline, error) from error
    if not (folder / files[0]).exists():
        raise _miss(repo_id, revision, cache_dir, offline, None)
    return folder


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The cache: ``cache_dir``, or what the environment says now.

    (huggingface_hub reads the environment once, when it is imported.)
    """
    from huggingface_hub import constants

    home = os.environ.get("HF_HOME")
    chosen = (
        cache_dir
        or os.environ.get("HF_HUB_CACHE")
        or os.environ.get("HUGGINGFACE_HUB_CACHE")
        or (home and Path(home) / "hub")
        or constants.HF_HUB_CACHE
    )
    return Path(os.path.expandvars(chosen)).expanduser()


def is_offline() -> bool:
    """Whether the environment says, now or when huggingface_hub was imported, to stay off the network."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def _miss(
    repo_id: str,
    revision: str | None,
    cache_dir: str | os.PathLike[str] | None,
    offline: bool,
    error: Exception | None,
) -> CheckpointError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    what = repr(repo_id) + (f", revision {revision!r}," if revision else "")
    elsewhere = "or give a local folder"
    if offline:
        return CheckpointError(
            f"model {what} is not in the cache {cache_folder(cache_dir)}, and the network may not be used "
            f"(local_files_only or HF_HUB_OFFLINE). Run `dacodec download {repo_id}` with the network on, {elsewhere}"
        )
    if isinstance(error, RevisionNotFoundError):
        return CheckpointError(
            f"model {repo_id!r} has no revision {revision!r} on the hub; leave it out, {elsewhere}"
        )
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            f"model {what} is gated: ask for access on its page and give a token, {elsewhere}"
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"there is no model {what} on the hub, or it is private: check the name, give a token, {elsewhere}"
        )
    if error is None:
        return CheckpointError(
            f"model {what} lacks {WEIGHTS_FILE} or {CONFIG_FILE} on the hub, or in the cache "
            f"{cache_folder(cache_dir)} while the hub cannot be reached. Check the name and the network, {elsewhere}"
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"model {what} is not in the cache {cache_folder(cache_dir)} and could not be fetched ({reason}). Run "
        f"`dacodec download {repo_id}` where there is a network and copy the cache, {elsewhere}"
    )
