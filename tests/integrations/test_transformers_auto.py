"""register(): what the Auto classes return, and what they leave alone. Needs transformers."""

import importlib.util
import json
import subprocess
import sys
import types

import pytest
import torch
import transformers
from integration_models import HOP, audio, save_small
from models import save_model

from dacodec.errors import ConfigError, EngineError
from dacodec.integrations.transformers import DacConfig, DacFeatureExtractor, DacModel, register

MODELS = ("AutoModel", "AutoModelForAudioTokenization")
EXTRACTORS = ("AutoFeatureExtractor", "AutoProcessor")


@pytest.fixture
def folder(tmp_path):
    return save_small(tmp_path / "toy")


def change_json(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def test_ours_are_theirs():
    for name, ours in (
        ("DacConfig", DacConfig),
        ("DacModel", DacModel),
        ("DacFeatureExtractor", DacFeatureExtractor),
    ):
        assert issubclass(ours, getattr(transformers, name))
        assert ours.__name__ == name


def test_importing_registers_nothing():
    code = """
import transformers, dacodec.integrations.transformers as ours
ours.DacModel, ours.DacConfig, ours.DacFeatureExtractor
assert type(transformers.AutoConfig.for_model("dac")) is transformers.DacConfig
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registering_leaves_the_module_in_place():
    code = """
import sys, transformers
from dacodec.integrations.transformers import register
register()
assert sys.modules["transformers"] is transformers
transformers.AutoProcessor, transformers.ProcessorMixin
assert sys.modules["transformers"] is transformers
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_config(registered, folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    assert type(config) is DacConfig
    assert (config.hop_length, config.hidden_size) == (HOP, 16)
    assert type(transformers.AutoConfig.for_model("dac", n_codebooks=4)) is DacConfig
    config, rest = transformers.AutoConfig.from_pretrained(
        folder, quantizer_dropout=0.25, colour="red", return_unused_kwargs=True
    )
    assert config.quantizer_dropout == 0.25
    assert rest["colour"] == "red"


@pytest.mark.parametrize("auto", MODELS)
def test_auto_model(registered, folder, auto):
    model = getattr(transformers, auto).from_pretrained(folder)
    assert type(model) is DacModel
    assert not model.training
    assert type(getattr(transformers, auto).from_config(model.config)) is DacModel


def test_auto_model_with_arguments(registered, folder):
    model = transformers.AutoModel.from_pretrained(str(folder), dtype=torch.float16, quantizer_dropout=0.25)
    assert model.dtype == torch.float16
    assert model.config.quantizer_dropout == 0.25
    model = transformers.AutoModel.from_pretrained(
        folder, torch_dtype=torch.bfloat16, trust_remote_code=False, attn_implementation="sdpa"
    )
    assert model.dtype == torch.bfloat16
    assert transformers.AutoModel.from_config(model.config, dtype=torch.float16).dtype == torch.float16


def test_auto_model_from_the_cache(registered, tmp_path):
    repo = tmp_path / "models--org--toy"
    save_small(repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    where = dict(cache_dir=tmp_path, local_files_only=True)
    assert type(transformers.AutoModel.from_pretrained("org/toy", **where)) is DacModel
    assert type(transformers.AutoFeatureExtractor.from_pretrained("org/toy", **where)) is DacFeatureExtractor


@pytest.mark.parametrize("auto", EXTRACTORS)
@pytest.mark.parametrize("typed", [True, False])
def test_auto_feature_extractor(registered, folder, auto, typed):
    if not typed:
        change_json(folder / "preprocessor_config.json", feature_extractor_type=None)
    extractor = getattr(transformers, auto).from_pretrained(folder)
    assert type(extractor) is DacFeatureExtractor
    assert (extractor.sampling_rate, extractor.hop_length) == (24000, HOP)


def test_what_an_extractor_has_no_use_for(registered, folder):
    extractor, rest = transformers.AutoFeatureExtractor.from_pretrained(
        folder, colour="red", return_unused_kwargs=True
    )
    assert type(extractor) is DacFeatureExtractor
    assert rest["colour"] == "red"


def test_a_wrong_hop_length_is_mended(registered, folder):
    change_json(folder / "config.json", hop_length=512)
    change_json(folder / "preprocessor_config.json", hop_length=512)
    with pytest.warns(UserWarning, match="hop_length 512 contradicts"):
        assert transformers.AutoModel.from_pretrained(folder).config.hop_length == HOP
    with pytest.warns(UserWarning, match="hop_length 512 contradicts"):
        assert transformers.AutoFeatureExtractor.from_pretrained(folder).hop_length == HOP


def test_registering_again(registered, folder):
    registered("torch")
    model = transformers.AutoModel.from_pretrained(folder)
    assert model.engine == "torch"
    registered()
    assert model.engine == "auto"
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    assert type(extractor) is DacFeatureExtractor


def test_an_unknown_engine(registered):
    with pytest.raises(EngineError, match="auto, native, torch"):
        register("fastest")


def test_other_models_are_as_before(registered):
    assert type(transformers.AutoConfig.for_model("encodec")) is transformers.EncodecConfig


# Models that contain parts of a DAC: https://huggingface.co/docs/transformers/model_doc/xcodec

PARTS = dict(
    encoder_hidden_size=4,
    decoder_hidden_size=16,
    downsampling_ratios=[4, 2],
    upsampling_ratios=[4, 2],
    hidden_size=8,
)


def other_model(kind):
    """A tiny model of that kind, whose acoustic part is built as in its published configs."""
    semantic = dict(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(4, 2),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    config = model_class(kind).config_class(
        acoustic_model_config=dict(PARTS),
        semantic_model_config=dict(semantic, model_type="hubert"),
        codebook_size=16,
        codebook_dim=24,
        strides=[1, 1],
        channel_ratios=[1, 1],
    )
    torch.manual_seed(0)
    return model_class(kind)(config)


def model_class(kind):
    # Higgs Audio's resamples with torchaudio, which is not installed and not needed to create and load a model.
    missing = "torchaudio" not in sys.modules and importlib.util.find_spec("torchaudio") is None
    name = {"Xcodec": "xcodec", "HiggsAudioV2Tokenizer": "higgs_audio_v2_tokenizer"}[kind]
    with pytest.MonkeyPatch.context() as patch:
        if missing:
            patch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
        module = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    return getattr(module, f"{kind}Model")


KINDS = (
    ["Xcodec", "HiggsAudioV2Tokenizer"] if hasattr(transformers, "HiggsAudioV2TokenizerModel") else ["Xcodec"]
)


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_hold_a_dac_are_as_before(kind, registered, tmp_path):
    model = other_model(kind)
    assert type(model.config.acoustic_model_config) is transformers.DacConfig
    assert type(model.acoustic_decoder).__module__.startswith("transformers.")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert type(again.acoustic_encoder) is type(model.acoustic_encoder)
    assert model.state_dict().keys() == again.state_dict().keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auto", EXTRACTORS)
def test_their_feature_extractors_are_as_before(kind, auto, registered, tmp_path):
    transformers.DacFeatureExtractor(hop_length=8).save_pretrained(tmp_path)
    other_model(kind).config.save_pretrained(tmp_path)
    assert type(getattr(transformers, auto).from_pretrained(tmp_path)) is transformers.DacFeatureExtractor


def test_no_dac_of_other_ratios():
    foreign = transformers.DacConfig(downsampling_ratios=[4, 2], upsampling_ratios=[4, 2])
    with pytest.raises(ConfigError, match="reversed"):
        DacModel(foreign)


def test_an_extractor_without_a_model(registered, tmp_path):
    DacFeatureExtractor(hop_length=8).save_pretrained(tmp_path)
    assert type(transformers.AutoFeatureExtractor.from_pretrained(tmp_path)) is DacFeatureExtractor


def test_a_symmetric_dac_is_ours(registered, tmp_path):
    save_model(tmp_path, downsampling_ratios=(2, 4, 4, 2))
    model = transformers.AutoModel.from_pretrained(tmp_path)
    assert type(model) is DacModel
    with torch.no_grad():
        assert model(audio()[..., :64].repeat(1, 1, 2)[..., :64]).audio_values.shape == (1, 64)
