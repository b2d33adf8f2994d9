"""Folders in Hugging Face's layout: the round trip, and every way in which one can be wrong."""

import json
import shutil
import warnings

import pytest
import torch
from checkpoint_models import DATA, assert_same_model, change_json, change_tensors, small_config, small_model
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.utils.parametrizations import weight_norm

from dacodec import DacConfig, DacFeatureExtractor, DacModel
from dacodec.checkpoint import fingerprint, load_model
from dacodec.errors import CheckpointError, OutputError


@pytest.fixture
def folder(tmp_path):
    small_model().save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Round trips


def test_save_then_load_is_the_same_model(folder, no_warnings):
    model = small_model()
    loaded = load_model(folder)
    assert_same_model(loaded.model, model)
    assert loaded.model.config == model.config
    assert loaded.name == "toy"
    assert loaded.fingerprint == fingerprint(model) == fingerprint(loaded.model)
    assert not loaded.model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in loaded.model.parameters())


def test_saving_again_writes_the_same_bytes(folder, tmp_path):
    DacModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_saving_to_a_folder_leaves_models_loaded_from_it_alone(folder):
    """Loaded tensors are mapped from the old file; writing into it would change them."""
    model = DacModel.from_pretrained(folder)
    small_model(seed=2).save_pretrained(folder)
    assert_same_model(DacModel.from_pretrained(folder), small_model(seed=2))
    assert_same_model(model, small_model())
    model.save_pretrained(folder)
    assert_same_model(DacModel.from_pretrained(folder), small_model())


@pytest.mark.parametrize("name", ["hf4", "hf5", "hf4_weight_norm", "hf5_weight_norm"])
def test_folders_that_transformers_saved(name, no_warnings):
    expected = load_file(DATA / f"{name[:3]}_expected.safetensors")
    model = DacModel.from_pretrained(DATA / name)
    with torch.no_grad():
        output = model(expected["audio"])
    assert torch.equal(output.audio_codes, expected["audio_codes"].long())
    torch.testing.assert_close(output.audio_values, expected["audio_values"], rtol=0, atol=1e-6)
    assert fingerprint(model) == fingerprint(small_model())


@pytest.mark.parametrize("name", ["hf4", "hf5"])
def test_what_transformers_saved_is_written_back_as_it_was(name, tmp_path, no_warnings):
    DacModel.from_pretrained(DATA / name).save_pretrained(tmp_path)
    for file in ("config.json", "preprocessor_config.json"):
        assert json.loads((tmp_path / file).read_text()) == json.loads((DATA / name / file).read_text())
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(DATA / name / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_json_is_laid_out_as_transformers_does(tmp_path):
    DacModel.from_pretrained(DATA / "hf5").save_pretrained(tmp_path)
    for file in ("config.json", "preprocessor_config.json"):
        assert (tmp_path / file).read_text() == (DATA / "hf5" / file).read_text()


def test_a_weight_normalised_model_is_saved_folded(tmp_path):
    model = small_model()
    for module in (
        model.encoder.conv1,
        model.decoder.block[0].conv_t1,
        model.quantizer.quantizers[0].in_proj,
    ):
        weight_norm(module)
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path).fingerprint == fingerprint(small_model())
    loaded = DacModel.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.state_dict(), small_model().state_dict(), rtol=0, atol=1e-6)


def test_the_old_weight_norm_hook_is_folded(folder):
    def split(tensors):
        weight = tensors.pop("decoder.block.0.conv_t1.weight")
        tensors["decoder.block.0.conv_t1.weight_g"] = weight.square().sum((1, 2), keepdim=True).sqrt()
        tensors["decoder.block.0.conv_t1.weight_v"] = 2 * weight
        return tensors

    change_tensors(folder / "model.safetensors", split)
    torch.testing.assert_close(
        DacModel.from_pretrained(folder).state_dict(), small_model().state_dict(), rtol=0, atol=1e-6
    )


def test_pytorch_model_bin(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_same_model(DacModel.from_pretrained(folder), small_model())


# Dtypes


def test_half_precision_is_loaded_as_float32_unless_asked(tmp_path):
    small_model().half().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    assert DacModel.from_pretrained(tmp_path).dtype == torch.float32
    for dtype in (torch.float16, "float16", "auto"):
        assert DacModel.from_pretrained(tmp_path, dtype=dtype).dtype == torch.float16
        assert DacModel.from_pretrained(tmp_path, torch_dtype=dtype).dtype == torch.float16
    assert_same_model(DacModel.from_pretrained(tmp_path, dtype="auto"), small_model().half())


def test_the_fingerprint_does_not_depend_on_the_dtype_loaded(folder):
    expected = fingerprint(small_model())
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert load_model(folder, dtype=dtype).fingerprint == expected
        assert load_model(folder, dtype=dtype).model.dtype == dtype


def test_half_precision_weights_keep_the_fingerprint(folder):
    """Stored like the built-in model: weights in half precision, the hashed tensors in single."""

    def halve(tensors):
        hashed = (".codebook.weight", ".bias", ".alpha")
        return {k: v if k.endswith(hashed) else v.half() for k, v in tensors.items()}

    change_tensors(folder / "model.safetensors", halve)
    loaded = load_model(folder)
    assert loaded.fingerprint == fingerprint(small_model())
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


def test_the_stored_dtype_is_renewed_under_the_name_that_it_had(folder):
    change_json(folder / "config.json", dtype=None, torch_dtype="float32")
    DacModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text())
    assert values["torch_dtype"] == "bfloat16"
    assert "dtype" not in values


@pytest.mark.parametrize("dtype", ["int8", torch.int8, "small", "nn"])
def test_a_dtype_that_is_none(folder, dtype):
    with pytest.raises(CheckpointError, match="floating point"):
        DacModel.from_pretrained(folder, dtype=dtype)


def test_two_dtypes_that_differ(folder):
    with pytest.raises(CheckpointError, match="give one"):
        DacModel.from_pretrained(folder, dtype=torch.float16, torch_dtype=torch.float32)


def test_device(folder):
    assert DacModel.from_pretrained(folder, device="cpu").device == torch.device("cpu")
    assert DacModel.from_pretrained(folder, device=torch.device("meta")).device.type == "meta"


# Configs


def test_config_there_and_back(tmp_path):
    config = small_config(hidden_size=5, quantizer_dropout=0.5)
    config.save_pretrained(tmp_path)
    assert DacConfig.from_pretrained(tmp_path) == config
    assert type(DacConfig.from_pretrained(tmp_path)) is DacConfig


def test_the_configs_of_the_released_24_khz_model_are_mended(tmp_path):
    """Their content: hop_length and upsampling_ratios of the default ratios."""
    values = {
        "architectures": ["DacModel"],
        "codebook_dim": 8,
        "codebook_loss_weight": 1.0,
        "codebook_size": 1024,
        "commitment_loss_weight": 0.25,
        "decoder_hidden_size": 1536,
        "downsampling_ratios": [2, 4, 5, 8],
        "encoder_hidden_size": 64,
        "hidden_size": 1024,
        "hop_length": 512,
        "model_type": "dac",
        "n_codebooks": 32,
        "quantizer_dropout": 0.0,
        "sampling_rate": 24000,
        "torch_dtype": "float32",
        "transformers_version": "4.45.0.dev0",
        "upsampling_ratios": [8, 5, 4, 2],
    }
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.warns(UserWarning, match="hop_length 512 contradicts .*using 320"):
        config = DacConfig.from_pretrained(tmp_path)
    assert config.hop_length == 320
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {**values, "hop_length": 320}


def test_upsampling_ratios_that_contradict_are_mended(folder):
    change_json(folder / "config.json", upsampling_ratios=[2, 3])
    with pytest.warns(UserWarning, match="upsampling_ratios"):
        assert DacConfig.from_pretrained(folder).upsampling_ratios == (3, 2)


def test_unknown_keys_of_a_file_warn_and_are_left_out(folder):
    change_json(folder / "config.json", flux=1)
    with pytest.warns(UserWarning, match=r"unknown keys \['flux'\]"):
        config = DacConfig.from_pretrained(folder)
    assert "flux" not in config.to_dict()


def test_bookkeeping_keys_are_kept(folder):
    change_json(folder / "config.json", transformers_version="4.40.0", _name_or_path="a/b")
    DacModel.from_pretrained(folder).save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text())
    assert values["transformers_version"] == "4.40.0"
    assert values["_name_or_path"] == "a/b"


def test_another_config_for_training(folder):
    config = small_config(quantizer_dropout=0.5, commitment_loss_weight=0.1)
    model = DacModel.from_pretrained(folder, config=config)
    assert model.config is config
    assert model.quantizer.quantizer_dropout == 0.5
    with pytest.raises(CheckpointError, match="wrong shape"):
        DacModel.from_pretrained(folder, config=small_config(codebook_size=32))


# Feature extractors


def test_the_extractor_of_a_saved_model(folder, no_warnings):
    extractor = DacFeatureExtractor.from_pretrained(folder)
    assert (extractor.sampling_rate, extractor.hop_length) == (24000, 6)


def test_the_extractor_follows_the_config(folder):
    change_json(folder / "preprocessor_config.json", hop_length=512, padding_value=0.5)
    with pytest.warns(
        UserWarning, match=r"preprocessor_config.json: hop_length 512 contradicts config.json; using 6"
    ):
        extractor = DacFeatureExtractor.from_pretrained(folder)
    assert extractor.hop_length == 6
    assert extractor.padding_value == 0.5
    (folder / "config.json").unlink()
    assert DacFeatureExtractor.from_pretrained(folder).hop_length == 512


def test_a_config_alone_is_enough_for_an_extractor(folder):
    (folder / "preprocessor_config.json").unlink()
    extractor = DacFeatureExtractor.from_pretrained(folder)
    assert (extractor.sampling_rate, extractor.hop_length) == (24000, 6)


def test_an_extractor_there_and_back(tmp_path):
    DacFeatureExtractor(sampling_rate=24000, hop_length=6).save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").read_text() == (
        DATA / "hf5" / "preprocessor_config.json"
    ).read_text()
    assert type(DacFeatureExtractor.from_pretrained(tmp_path)) is DacFeatureExtractor


def test_saving_a_model_changes_the_rate_and_hop_of_an_extractor_and_no_more(folder):
    change_json(folder / "preprocessor_config.json", padding_value=0.5, sampling_rate=1, processor_class="X")
    small_model(sampling_rate=8000).save_pretrained(folder)
    values = json.loads((folder / "preprocessor_config.json").read_text())
    assert (values["padding_value"], values["sampling_rate"], values["processor_class"]) == (0.5, 8000, "X")


# Wrong folders


def test_missing_unexpected_and_misshaped_tensors_are_listed(folder):
    def damage(tensors):
        del tensors["encoder.conv1.bias"]
        tensors["encoder.conv3.weight"] = torch.zeros(1)
        tensors["decoder.conv2.weight"] = torch.zeros(1, 2, 7)
        tensors["decoder.conv2.bias"] = torch.zeros(1, dtype=torch.int32)
        return tensors

    change_tensors(folder / "model.safetensors", damage)
    with pytest.raises(CheckpointError) as caught:
        DacModel.from_pretrained(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "1 missing: encoder.conv1.bias;" in message
    assert "1 unexpected: encoder.conv3.weight;" in message
    assert "1 of the wrong shape: decoder.conv2.weight [1, 2, 7] instead of [1, 1, 7];" in message
    assert "1 not floating point: decoder.conv2.bias." in message
    assert "Use the config" in message


def test_long_lists_are_cut(folder):
    change_json(folder / "config.json", n_codebooks=9, downsampling_ratios=[2, 3])
    with pytest.raises(CheckpointError, match=r"30 missing: (quantizer\S+, ){3}\S+ and 26 more") as caught:
        DacModel.from_pretrained(folder)
    assert len(str(caught.value)) < 500 + len(str(folder))


@pytest.mark.parametrize("half", ["weight_g", "parametrizations.weight.original1"])
def test_half_of_a_weight_norm_is_reported(folder, half):
    def change(tensors):
        tensors[f"encoder.conv1.{half}"] = tensors.pop("encoder.conv1.weight")
        return tensors

    change_tensors(folder / "model.safetensors", change)
    with pytest.raises(
        CheckpointError, match=rf"1 missing: encoder.conv1.weight; 1 unexpected: encoder.conv1.{half}"
    ):
        DacModel.from_pretrained(folder)


def test_weight_norm_that_does_not_fit_is_reported(folder):
    def change(tensors):
        tensors["encoder.conv1.weight_v"] = tensors.pop("encoder.conv1.weight")
        tensors["encoder.conv1.weight_g"] = torch.ones(3, 1, 1)
        return tensors

    change_tensors(folder / "model.safetensors", change)
    with pytest.raises(
        CheckpointError, match=r"2 unexpected: encoder\.conv1\.weight_g, encoder\.conv1\.weight_v"
    ):
        DacModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "holds no config.json"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b"[]", "not a JSON object"),
        ("config.json", b"\xff", "cannot be read"),
        ("config.json", b'{"model_type": "encodec"}', "'encodec' model"),
        ("config.json", b'{"codebook_size": 1000}', r"config.json: codebook_size must be a power of two"),
        ("config.json", b'{"downsampling_ratios": 5}', "config.json: downsampling_ratios"),
        ("config.json", b'{"quantizer_dropout": "no"}', "config.json: "),
        ("model.safetensors", None, "holds no model.safetensors"),
        ("model.safetensors", b"\x00" * 7, "damaged"),
        ("model.safetensors", b"\xff" * 100, "damaged"),
    ],
)
def test_damaged_folders(folder, file, content, message):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        DacModel.from_pretrained(folder)


def test_a_cut_weights_file(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-4])
    with pytest.raises(CheckpointError, match="damaged"):
        DacModel.from_pretrained(folder)


def test_weights_in_several_files(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="several files"):
        DacModel.from_pretrained(folder)


def test_a_model_with_more_tensors_than_its_config_says_is_not_saved(tmp_path):
    model = small_model()
    model.encoder.extra = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=r"this model .*2 unexpected: encoder.extra"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_saving_where_a_file_is(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        small_model().save_pretrained(tmp_path / "file")


def test_audio_of_a_loaded_model_needs_no_file(folder):
    """The weights stay readable when the folder goes away, as temporary folders do."""
    model = DacModel.from_pretrained(folder)
    shutil.rmtree(folder)
    assert_same_model(model, small_model())
