"""Names of models, where they are looked up, and the errors if there is none. Nothing here uses the network."""

import socket
from pathlib import Path
from types import MappingProxyType

import huggingface_hub
import pytest
import torch
from checkpoint_models import assert_same_model, small_model
from huggingface_hub import constants
from huggingface_hub.utils import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dacodec import AutoProcessor, DacConfig, DacModel
from dacodec.checkpoint import BUILTIN, download, load_model, sources
from dacodec.errors import CheckpointError

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a test tried to use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # as it was when it was imported
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def cache(tmp_path):
    """A hub cache with two revisions of org/toy: NEW is the main branch, OLD the tag v1."""
    repo = tmp_path / "hub" / "models--org--toy"
    small_model(seed=1).save_pretrained(repo / "snapshots" / OLD)
    small_model(seed=2).save_pretrained(repo / "snapshots" / NEW)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(NEW)
    (repo / "refs" / "v1").write_text(OLD)
    return tmp_path / "hub"


@pytest.fixture
def builtin(tmp_path, monkeypatch):
    small_model().save_pretrained(tmp_path / "models" / BUILTIN)
    small_model(seed=3).save_pretrained(tmp_path / "models" / "older-1")
    monkeypatch.setattr(sources, "BUILTIN_FOLDER", tmp_path / "models")


# Built-in models


def test_builtin_has_a_name_of_its_own(builtin):
    by_alias, by_name = load_model("builtin"), load_model(BUILTIN)
    assert by_alias.name == by_name.name == BUILTIN != "builtin"
    assert by_alias.fingerprint == by_name.fingerprint
    assert_same_model(by_alias.model, small_model())
    assert load_model("older-1").name == "older-1"


def test_a_folder_with_a_builtins_name_needs_its_path(builtin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_model(seed=2).save_pretrained(BUILTIN)
    assert_same_model(DacModel.from_pretrained(BUILTIN), small_model())
    assert_same_model(DacModel.from_pretrained(f"./{BUILTIN}"), small_model(seed=2))
    assert_same_model(DacModel.from_pretrained(Path(BUILTIN)), small_model(seed=2))


def test_an_installation_without_models(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BUILTIN_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match=f"lacks its built-in model {BUILTIN}"):
        load_model("builtin")


# Folders


def test_names_of_folders(tmp_path, monkeypatch):
    small_model().save_pretrained(tmp_path / "runs" / "best")
    for source in (tmp_path / "runs" / "best", f"{tmp_path}/runs/best/", f"{tmp_path}/runs/../runs/./best"):
        assert load_model(source).name == "best"
    monkeypatch.chdir(tmp_path / "runs" / "best")
    assert load_model(".").name == "best"
    monkeypatch.chdir(tmp_path)
    assert load_model("runs/best").name == "best"  # looks like a hub id, but exists here
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_model("~/runs/best").name == "best"


def test_no_model_is_called_builtin(tmp_path):
    small_model().save_pretrained(tmp_path / "mine" / "builtin")
    assert load_model(tmp_path / "mine" / "builtin").name == "mine/builtin"


@pytest.mark.parametrize(
    "source", ["nothing", "./org/toy", "../toy", "a/b/c", "/no/where", "x/weights.pth", "", "a b/c"]
)
def test_a_path_that_is_not_there(source, builtin):
    with pytest.raises(CheckpointError, match=rf"no model '{source}'.*older-1, {BUILTIN}"):
        load_model(source)


def test_a_path_object_is_never_a_hub_id(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    with pytest.raises(CheckpointError, match="neither a folder"):
        load_model(Path("org/toy"))


# The hub


def test_the_cache_is_used(cache):
    loaded = load_model("org/toy", cache_dir=cache)
    assert loaded.name == "org/toy"
    assert_same_model(loaded.model, small_model(seed=2))


def test_local_files_only_without_the_switch(cache, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert_same_model(
        DacModel.from_pretrained("org/toy", cache_dir=cache, local_files_only=True), small_model(seed=2)
    )


@pytest.mark.parametrize(("revision", "seed"), [("main", 2), (NEW, 2), ("v1", 1), (OLD, 1)])
def test_revisions(cache, revision, seed):
    model = DacModel.from_pretrained("org/toy", cache_dir=cache, revision=revision)
    assert_same_model(model, small_model(seed=seed))


def test_the_environment_is_read_when_a_model_is_loaded(cache, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("HF_HOME", str(cache.parent))
    assert load_model("org/toy").name == "org/toy"
    monkeypatch.setenv("HF_HUB_CACHE", str(elsewhere))  # takes precedence over HF_HOME
    with pytest.raises(CheckpointError):
        load_model("org/toy")
    monkeypatch.setenv("HF_HOME", str(elsewhere))
    monkeypatch.setenv("HF_HUB_CACHE", "~/hub")
    monkeypatch.setenv("HOME", str(cache.parent))
    assert load_model("org/toy").name == "org/toy"
    monkeypatch.setenv("HF_HUB_CACHE", str(elsewhere))
    assert load_model("org/toy", cache_dir=cache).name == "org/toy"  # an argument comes first


def test_config_and_extractor_from_the_cache(cache):
    assert DacConfig.from_pretrained("org/toy", cache_dir=cache) == small_model().config
    assert AutoProcessor.from_pretrained("org/toy", cache_dir=cache).hop_length == 6


def test_only_pytorch_model_bin(cache):
    folder = cache / "models--org--toy" / "snapshots" / NEW
    torch.save(small_model(seed=2).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_same_model(DacModel.from_pretrained("org/toy", cache_dir=cache), small_model(seed=2))


@pytest.mark.parametrize(
    ("repo_id", "revision", "missing"),
    [("org/other", None, None), ("org/toy", "v2", None), ("org/toy", None, "model.safetensors")],
)
def test_a_miss_says_what_where_and_what_to_do(cache, repo_id, revision, missing):
    if missing:
        (cache / "models--org--toy" / "snapshots" / NEW / missing).unlink()
    with pytest.raises(CheckpointError) as caught:
        load_model(repo_id, revision=revision, cache_dir=cache)
    message = str(caught.value)
    assert repr(repo_id) in message
    assert revision is None or repr(revision) in message
    assert str(cache) in message
    assert f"`dacodec download {repo_id}`" in message
    assert "HF_HUB_OFFLINE" in message
    assert "local folder" in message
    assert "\n" not in message


class Reply:
    """Enough of an HTTP response for the hub's errors."""

    status_code = 404
    headers = MappingProxyType({})
    request = None


def hub_error(kind, *args):
    error = kind.__new__(kind)  # constructor arguments differ between versions
    Exception.__init__(error, *args)
    error.response = Reply()
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_error(RepositoryNotFoundError, "404"), "no model 'org/toy', revision 'v9', on the hub"),
        (hub_error(GatedRepoError, "403"), "gated"),
        (hub_error(RevisionNotFoundError, "404"), "no revision 'v9'"),
        (LocalEntryNotFoundError("no route\nmore"), r"could not be fetched \(no route\)"),
        (RuntimeError(), r"could not be fetched \(RuntimeError\)"),
    ],
)
def test_errors_of_the_hub(cache, monkeypatch, error, message):
    def fail(*args, **kwargs):
        assert not kwargs["local_files_only"]
        raise error

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=message) as caught:
        download("org/toy", revision="v9", cache_dir=cache)
    assert "local folder" in str(caught.value)


def test_what_is_fetched(cache, monkeypatch):
    calls = []

    def snapshot(repo_id, **kwargs):
        calls.append((repo_id, kwargs))
        return str(cache / "models--org--toy" / "snapshots" / NEW)

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    folder = download("org/toy", revision="v1", cache_dir=cache, token="secret")
    assert folder.name == NEW
    DacConfig.from_pretrained("org/toy")
    (name, first), (_, second) = calls
    assert name == "org/toy"
    assert (first["revision"], first["token"], first["cache_dir"]) == ("v1", "secret", cache)
    assert first["allow_patterns"] == ["model.safetensors", "config.json", "preprocessor_config.json"]
    assert second["allow_patterns"] == ["config.json"]


def test_a_repository_that_is_no_model(cache, monkeypatch):
    empty = cache / "models--org--toy" / "snapshots" / ("c" * 40)
    empty.mkdir()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: str(empty))
    with pytest.raises(
        CheckpointError, match=r"'org/toy' lacks model\.safetensors or config\.json on the hub"
    ):
        download("org/toy")


# Publishing


class FakeApi:
    upload = None

    def __init__(self, token=None):
        self.token = token

    def create_repo(self, repo_id, **kwargs):
        assert kwargs == {"private": True, "exist_ok": True}
        return huggingface_hub.RepoUrl(f"https://huggingface.co/me/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, **kwargs):
        if self.token != "secret":
            raise OSError("401")
        assert_same_model(DacModel.from_pretrained(folder_path), small_model())
        FakeApi.upload = repo_id, kwargs["revision"], sorted(p.name for p in Path(folder_path).iterdir())
        return "https://huggingface.co/me/toy/commit/1"


def test_push_to_hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    address = small_model().push_to_hub("toy", private=True, token="secret", revision="dev")
    assert address.endswith("/commit/1")
    files = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert FakeApi.upload == ("me/toy", "dev", files)
    with pytest.raises(CheckpointError, match="cannot publish 'me/toy': 401"):
        small_model().push_to_hub("toy", private=True)
