"""Weights files of the original package: all their forms, and files that are not one."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from checkpoint_models import AUDIO, assert_same_model, small_model
from safetensors.torch import load_file

from dacodec import AutoProcessor, DacConfig, DacModel
from dacodec.checkpoint import fingerprint, import_weights, load_model
from dacodec.checkpoint.descript import layer_names
from dacodec.errors import CheckpointError, OutputError

GOLDEN = Path(__file__).parents[1] / "golden"

KWARGS = {
    "encoder_dim": 2,
    "encoder_rates": [2, 3],
    "latent_dim": 8,
    "decoder_dim": 4,
    "decoder_rates": [3, 2],
    "n_codebooks": 3,
    "codebook_size": 16,
    "codebook_dim": 2,
    "quantizer_dropout": 0.5,
    "sample_rate": 24000,
}

# Written out by hand from the original's modules, for two strides.
ORIGINAL_NAMES = {
    "encoder.block.0": "encoder.conv1",
    "encoder.block.1.block.0.block.0": "encoder.block.0.res_unit1.snake1",
    "encoder.block.1.block.0.block.1": "encoder.block.0.res_unit1.conv1",
    "encoder.block.1.block.0.block.2": "encoder.block.0.res_unit1.snake2",
    "encoder.block.1.block.0.block.3": "encoder.block.0.res_unit1.conv2",
    "encoder.block.2.block.2.block.3": "encoder.block.1.res_unit3.conv2",
    "encoder.block.2.block.3": "encoder.block.1.snake1",
    "encoder.block.2.block.4": "encoder.block.1.conv1",
    "encoder.block.3": "encoder.snake1",
    "encoder.block.4": "encoder.conv2",
    "decoder.model.0": "decoder.conv1",
    "decoder.model.1.block.0": "decoder.block.0.snake1",
    "decoder.model.1.block.1": "decoder.block.0.conv_t1",
    "decoder.model.2.block.2.block.0": "decoder.block.1.res_unit1.snake1",
    "decoder.model.2.block.4.block.3": "decoder.block.1.res_unit3.conv2",
    "decoder.model.3": "decoder.snake1",
    "decoder.model.4": "decoder.conv2",
}


def original_state(model, form):
    """The state dict of a model under the original's names."""
    original = {ours: theirs for theirs, ours in layer_names(len(model.config.downsampling_ratios)).items()}
    state = {}
    for key, value in model.state_dict().items():
        layer, _, name = key.rpartition(".")
        layer = original.get(layer, layer)
        if name != "weight" or "codebook" in layer or form == "folded":
            state[f"{layer}.{name}"] = value
            continue
        g = value.double().square().sum((1, 2), keepdim=True).sqrt().float()
        names = {
            "hook": ("weight_g", "weight_v"),
            "parametrization": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
        }[form]
        state |= {f"{layer}.{names[0]}": g, f"{layer}.{names[1]}": 2 * value}
    return state


def save_original(path, model=None, form="hook", **changes):
    kwargs = {key: value for key, value in (KWARGS | changes).items() if value != "absent"}
    state = original_state(model or small_model(), form)
    torch.save({"state_dict": state, "metadata": {"kwargs": kwargs, "logs": [1]}}, path)
    return path


def test_names_of_layers():
    names = layer_names(2)
    assert ORIGINAL_NAMES.items() <= names.items()
    assert len(names) == 2 * (3 + 2 * (2 + 3 * 4)) == len(set(names.values()))


@pytest.mark.parametrize("ratios", [(2,), (2, 3), (2, 4, 8, 8), (2, 2, 2, 2, 2)])
def test_every_layer_has_a_name_for_any_number_of_blocks(ratios):
    config = DacConfig(
        encoder_hidden_size=1, decoder_hidden_size=32, downsampling_ratios=ratios, n_codebooks=1
    )
    layers = {
        key.rpartition(".")[0] for key in DacModel(config).state_dict() if not key.startswith("quantizer.")
    }
    assert set(layer_names(len(ratios)).values()) == layers


def test_the_original_packages_own_state_and_results(tmp_path):
    """A complete small model of descript-audio-codec 1.0.0 and its outputs for some audio; see scripts/oracles."""
    from weights import random_audio

    golden = {
        key.removeprefix("one_hop/"): value
        for key, value in load_file(GOLDEN / "descript.safetensors").items()
        if key.startswith("one_hop/")
    }
    (case,) = (
        case
        for case in json.loads((GOLDEN / "descript.json").read_text())["cases"]
        if case["name"] == "one_hop"
    )
    state = {key.removeprefix("state."): value for key, value in golden.items() if key.startswith("state.")}
    assert "encoder.block.0.weight_g" in state
    config = case["config"]
    kwargs = {
        "encoder_dim": config["encoder_hidden_size"],
        "encoder_rates": config["downsampling_ratios"],
        "decoder_dim": config["decoder_hidden_size"],
        "decoder_rates": config["downsampling_ratios"][::-1],
        "n_codebooks": config["n_codebooks"],
        "codebook_size": config["codebook_size"],
        "codebook_dim": config["codebook_dim"],
        "sample_rate": config["sampling_rate"],
    }
    torch.save({"state_dict": state, "metadata": {"kwargs": kwargs}}, tmp_path / "weights.pth")
    model = DacModel.from_pretrained(tmp_path / "weights.pth")
    audio = random_audio(case["seed"] + 1, case["batch"], case["samples"])
    with torch.no_grad():
        output = model(audio)
    assert torch.equal(output.audio_codes, golden["audio_codes"].long())
    torch.testing.assert_close(output.audio_values, golden["audio_values"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["hook", "parametrization", "folded"])
def test_all_forms_of_weight_normalisation(tmp_path, form):
    loaded = load_model(save_original(tmp_path / "weights.pth", form=form))
    torch.testing.assert_close(loaded.model.state_dict(), small_model().state_dict(), rtol=0, atol=1e-6)
    assert loaded.fingerprint == fingerprint(small_model())
    assert loaded.name == "weights.pth"
    assert loaded.model.config == small_model(quantizer_dropout=0.5).config
    assert loaded.model.quantizer.quantizer_dropout == 0.5


@pytest.mark.parametrize("latent_dim", [None, "absent"])
def test_a_latent_dim_that_is_left_out_is_derived(tmp_path, latent_dim):
    assert (
        DacConfig.from_pretrained(save_original(tmp_path / "w.pth", latent_dim=latent_dim)).hidden_size == 8
    )


def test_a_latent_dim_of_its_own(tmp_path):
    """Like the released 44 kHz model at 16 kbit/s."""
    model = small_model(hidden_size=5)
    path = save_original(tmp_path / "w.pth", model, latent_dim=5)
    assert_same_model(DacModel.from_pretrained(path).half().float(), model.half().float())


def test_arguments_left_out_have_the_originals_defaults(tmp_path):
    torch.save({"state_dict": {}, "metadata": {"kwargs": {}}}, tmp_path / "w.pth")
    config = DacConfig.from_pretrained(tmp_path / "w.pth")
    assert config == DacConfig(sampling_rate=44100)


def test_the_originals_spellings(tmp_path):
    path = save_original(
        tmp_path / "w.pth", quantizer_dropout=False, codebook_dim=[2, 2, 2], encoder_rates=(2, 3)
    )
    config = DacConfig.from_pretrained(path)
    assert config == small_model().config
    assert config.codebook_dim == 2


def test_the_extractor_of_a_weights_file(tmp_path):
    extractor = AutoProcessor.from_pretrained(save_original(tmp_path / "w.pth"))
    assert (extractor.sampling_rate, extractor.hop_length) == (24000, 6)


def test_unknown_arguments_warn(tmp_path):
    with pytest.warns(UserWarning, match=r"unknown arguments \['causal'\]"):
        DacModel.from_pretrained(save_original(tmp_path / "w.pth", causal=False))


# Importing


def test_import_weights(tmp_path):
    path = save_original(tmp_path / "weights.pth")
    import_weights(path, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    imported, direct = load_model(tmp_path / "model"), load_model(path)
    assert_same_model(imported.model, direct.model)
    assert imported.fingerprint == direct.fingerprint
    assert imported.model.config == direct.model.config
    assert AutoProcessor.from_pretrained(tmp_path / "model").sampling_rate == 24000


def test_import_weights_keeps_a_model_that_is_there(tmp_path):
    path = save_original(tmp_path / "weights.pth")
    small_model(seed=2).save_pretrained(tmp_path / "model")
    with pytest.raises(OutputError, match="holds a model already"):
        import_weights(path, tmp_path / "model")
    assert_same_model(DacModel.from_pretrained(tmp_path / "model"), small_model(seed=2))
    import_weights(path, tmp_path / "model", overwrite=True)
    assert load_model(tmp_path / "model").fingerprint == fingerprint(small_model())


def test_import_weights_of_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        import_weights(tmp_path / "no.pth", tmp_path / "model")
    assert not (tmp_path / "model").exists()


# Other files


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["weights.pth", "pytorch_model.bin"])
@pytest.mark.parametrize("force", [False, True])
def test_a_pickle_that_runs_code_does_not_run(tmp_path, monkeypatch, name, force):
    if force:  # an environment that tells PyTorch to trust files by default
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    mark = tmp_path / "ran"
    state = original_state(small_model(), "hook")
    content = {"state_dict": state, "metadata": {"kwargs": KWARGS, "logs": Bomb(mark)}}
    folder = tmp_path / "toy"
    small_model().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / name)
    with pytest.raises(CheckpointError, match="could run code, so it was not loaded") as caught:
        DacModel.from_pretrained(folder / name if name == "weights.pth" else folder)
    assert "weights_only" not in str(caught.value)
    assert not mark.exists()
    torch.load(folder / name, weights_only=False)
    assert mark.exists()  # the bomb is real


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps({"a": 1}, protocol=2),
        {"state_dict": {}},
        {"metadata": {"kwargs": KWARGS}},
        {"state_dict": {}, "metadata": {}},
        {"state_dict": {}, "metadata": None},
        {"state_dict": [1], "metadata": {"kwargs": KWARGS}},
        {"state_dict": {"a": 1}, "metadata": {"kwargs": KWARGS}},
        {"state_dict": {}, "metadata": {"kwargs": KWARGS}},
        {"encoder.block.0.bias": torch.zeros(2)},
        [1, 2],
        torch.zeros(3),
    ],
    ids=str,
)
def test_other_files(tmp_path, content):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        DacModel.from_pretrained(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_rates": [2, 3]}, "not encoder_rates .* reversed"),
        ({"codebook_dim": [2, 2, 4]}, "codebook_dim"),
        ({"codebook_size": 1000}, "power of two"),
        ({"n_codebooks": "3"}, "n_codebooks"),
        ({"encoder_rates": None}, "downsampling_ratios"),
        ({"quantizer_dropout": "often"}, "w.pth"),
        ({"decoder_rates": 5}, "w.pth"),
        ({"n_codebooks": 2}, r"unexpected: quantizer.quantizers.2.codebook.weight"),
        (
            {"encoder_rates": [2, 3, 2], "decoder_rates": [2, 3, 2], "decoder_dim": 8, "latent_dim": 8},
            "missing",
        ),
    ],
)
def test_arguments_that_no_model_or_not_this_one_has(tmp_path, changes, message):
    path = save_original(tmp_path / "w.pth", **changes)
    with pytest.raises(CheckpointError, match=message):
        DacModel.from_pretrained(path)


def test_other_tensors_are_reported_under_the_names_in_the_file(tmp_path):
    path = save_original(tmp_path / "w.pth")
    content = torch.load(path)
    content["state_dict"]["encoder.block.9.alpha"] = torch.zeros(1)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"1 unexpected: encoder\.block\.9\.alpha"):
        DacModel.from_pretrained(path)


def test_safetensors_alone(tmp_path):
    small_model().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="give the folder"):
        DacModel.from_pretrained(tmp_path / "model.safetensors")


def test_audio_has_the_rate_of_the_file(tmp_path):
    with torch.no_grad():
        model = DacModel.from_pretrained(save_original(tmp_path / "w.pth"))
        assert model.config.sampling_rate == 24000
        assert model(AUDIO).audio_codes.shape == (1, 3, 10)
