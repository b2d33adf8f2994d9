"""The model's public interface: results, edge cases, dtypes, PyTorch features."""

import copy
import warnings

import pytest
import torch
from weights import random_audio, random_weights

from dacodec.config import DacConfig
from dacodec.errors import AudioError, CodesError, ConfigError
from dacodec.model import DacEncoderOutput, DacModel


def make_model(**changes):
    fields = dict(
        encoder_hidden_size=4,
        decoder_hidden_size=32,
        downsampling_ratios=(2, 4),
        n_codebooks=4,
        codebook_size=64,
        sampling_rate=16000,
    )
    model = DacModel(DacConfig(**(fields | changes)))
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, seed=1))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return make_model()


AUDIO = random_audio(7, 2, 160)


def test_results_by_attribute_key_and_position(model):
    out = model.encode(AUDIO)
    assert out.audio_codes is out["audio_codes"] is out[2]
    assert list(out) == ["loss", "quantized_representation", "audio_codes", "projected_latents"]
    assert len(out.to_tuple()) == 4
    assert out[:2] == out.to_tuple()[:2]
    assert dict(**out).keys() == set(out)
    assert isinstance(model.encode(AUDIO, return_dict=False), tuple)
    with pytest.raises(KeyError):
        out["audio_codes_mask"]
    assert out.loss.shape == (2,)
    assert model(AUDIO).audio_values.shape == (2, 160)
    assert len(model(AUDIO, return_dict=False)) == 5
    assert model.decode(out.quantized_representation).audio_values.shape == (2, 160)


def test_n_quantizers_is_honoured_in_every_mode(model):
    whole = model.encode(AUDIO).audio_codes
    for k in range(1, 5):
        assert torch.equal(model.encode(AUDIO, n_quantizers=k).audio_codes, whole[:, :k])
    training = make_model().train()
    assert torch.equal(training.encode(AUDIO, n_quantizers=2).audio_codes, whole[:, :2])
    for wrong in (0, -1, 5, True):
        with pytest.raises(CodesError, match="from 1 to 4"):
            model.encode(AUDIO, n_quantizers=wrong)


def test_counts_per_item(model):
    each = [model.encode(AUDIO[i : i + 1], n_quantizers=k) for i, k in enumerate((1, 3))]
    both = model.encode(AUDIO, n_quantizers=torch.tensor([1, 3]))
    for i, one in enumerate(each):
        torch.testing.assert_close(both.quantized_representation[i], one.quantized_representation[0])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_quantizer_dropout_reaches_every_batch_size(batch):
    model = make_model(quantizer_dropout=0.5)
    torch.manual_seed(0)
    draws = torch.stack([model.quantizer.draw_counts(batch, torch.device("cpu")) for _ in range(2000)])
    assert draws.min() == 1
    assert draws.max() == 4
    # Dropped with probability 1/2, then uniform over 1..4: fewer than 4 in 3/8 of the draws, for every item.
    share = (draws < 4).float().mean(0)
    assert (share - 0.375).abs().max() < 0.05
    latents = model.encoder(AUDIO[:1])
    model.train()
    used = torch.stack([model.quantizer(latents).used.sum() for _ in range(50)])
    assert len(used.unique()) > 1
    model.eval()
    assert model.quantizer(latents).used.all()


def test_codes_embeddings_and_back(model):
    out = model.encode(AUDIO)
    embedded = model.quantizer.from_codes(out.audio_codes)
    assert torch.equal(model.quantizer.codes_of(embedded.projected_latents), out.audio_codes)
    assert torch.equal(model.quantizer.codes_of(out.projected_latents), out.audio_codes)
    again = model.quantizer.from_latents(out.projected_latents)
    torch.testing.assert_close(again.quantized_representation, embedded.quantized_representation)
    torch.testing.assert_close(again.quantized_latents, embedded.projected_latents)
    torch.testing.assert_close(
        out.quantized_representation, embedded.quantized_representation, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64, torch.uint8])
def test_codes_of_every_integer_dtype(model, dtype):
    codes = model.encode(AUDIO).audio_codes
    expected = model.decode(audio_codes=codes).audio_values
    assert torch.equal(model.decode(audio_codes=codes.to(dtype)).audio_values, expected)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(1, 4, 3), "must be integers, got torch.float32"),
        (torch.zeros(4, 3, dtype=torch.long), r"got \(4, 3\)"),
        (torch.zeros(1, 5, 3, dtype=torch.long), r"1 to 4 codebooks.*got \(1, 5, 3\)"),
        (torch.tensor([[[0, 1, 64]]]), "code 64 at item 0, codebook 0, frame 2 is outside 0..63"),
        (torch.tensor([[[0, 1], [3, -2]]]), "code -2 at item 0, codebook 1, frame 1"),
    ],
)
def test_codes_that_cannot_be_decoded(model, codes, message):
    with pytest.raises(CodesError, match=message):
        model.decode(audio_codes=codes)


def test_audio_that_cannot_be_encoded(model):
    with pytest.raises(AudioError, match=r"\[batch, 1, samples\], got \(2, 160\)"):
        model.encode(AUDIO[:, 0])
    with pytest.raises(AudioError, match="3 samples are less than one frame; pad them to 8"):
        model.encode(AUDIO[..., :3])
    with pytest.raises(CodesError, match="nothing to decode"):
        model.decode()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_searches_in_float32(dtype):
    half = make_model(codebook_size=1024).to(dtype)
    quantizer = half.quantizer.quantizers[0]
    latents = torch.randn(1, 8, 4000, generator=torch.Generator().manual_seed(0)).to(dtype)
    full = copy.deepcopy(quantizer).float().search(latents.float())
    assert torch.equal(quantizer.search(latents), full)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(copy.deepcopy(quantizer).float().search(latents.float()), full)
    audio = half(AUDIO.to(dtype)).audio_values
    assert audio.dtype == dtype
    assert audio.isfinite().all()


def test_autocast_runs(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(AUDIO)
    assert out.audio_values.isfinite().all()


def test_compiles_whole(model):
    # fullgraph ensures that tracing has no graph break; generating code would take minutes.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected, got = model(AUDIO), compiled(AUDIO)
        codes = torch.compile(model.decode, fullgraph=True, backend="aot_eager")(
            audio_codes=expected.audio_codes
        )
    assert torch.equal(got.audio_codes, expected.audio_codes)
    torch.testing.assert_close(got.audio_values, expected.audio_values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(codes.audio_values, expected.audio_values, rtol=1e-4, atol=1e-5)


def test_exports(model):
    program = torch.export.export(model, (AUDIO,))
    got, expected = program.module()(AUDIO), model(AUDIO)
    assert torch.equal(got.audio_codes, expected.audio_codes)
    torch.testing.assert_close(got.audio_values, expected.audio_values)


def test_deepcopy_dtype_device(model):
    twin = copy.deepcopy(model)
    assert torch.equal(twin(AUDIO).audio_values, model(AUDIO).audio_values)
    assert twin.to(torch.float64).dtype == torch.float64
    assert model.dtype == torch.float32
    assert model.device.type == "cpu"


def test_gradients_reach_every_parameter():
    model = make_model().train()
    out = model(AUDIO)
    (out.audio_values.pow(2).mean() + out.loss.mean()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_config_round_trip_and_borders():
    config = DacConfig(downsampling_ratios=[2, 4, 5, 8], sampling_rate=24000, n_codebooks=32, hidden_size=128)
    assert DacConfig.from_dict(config.to_dict()) == config
    assert config.hop_length == 320
    assert config.upsampling_ratios == (8, 5, 4, 2)
    assert config.bitrate_kbps() == pytest.approx(24.0)
    assert DacConfig().hidden_size == 1024
    kept = DacConfig.from_dict(
        {**config.to_dict(), "transformers_version": "4.56.2", "torch_dtype": "float32"}
    )
    assert kept.to_dict()["transformers_version"] == "4.56.2"
    with pytest.raises(ConfigError, match=r"unknown keys: \['n_codebook'\]"):
        DacConfig.from_dict({"n_codebook": 3})
    for wrong in (
        dict(downsampling_ratios=[2, 0]),
        dict(downsampling_ratios=[]),
        dict(codebook_size=1000),
        dict(decoder_hidden_size=40),
        dict(sampling_rate=0),
        dict(quantizer_dropout=1.5),
        dict(n_codebooks=0),
    ):
        with pytest.raises(ConfigError):
            DacConfig(**wrong)
    with pytest.raises(ConfigError, match="hop_length 512 contradicts"):
        DacConfig.from_dict({"downsampling_ratios": [2, 4, 5, 8], "hop_length": 512})


def test_state_dict_keys_are_frozen():
    keys = set(make_model(downsampling_ratios=(2,), decoder_hidden_size=8, n_codebooks=1).state_dict())
    unit = ["snake1.alpha", "conv1.weight", "conv1.bias", "snake2.alpha", "conv2.weight", "conv2.bias"]
    units = [f"res_unit{i}.{name}" for i in (1, 2, 3) for name in unit]
    conv = lambda name: [f"{name}.weight", f"{name}.bias"]  # noqa: E731
    ends = [*conv("conv1"), "snake1.alpha", *conv("conv2")]
    encoder = [f"block.0.{k}" for k in (*units, "snake1.alpha", *conv("conv1"))]
    decoder = [f"block.0.{k}" for k in (*units, "snake1.alpha", *conv("conv_t1"))]
    quantizer = [*conv("in_proj"), *conv("out_proj"), "codebook.weight"]
    assert keys == {
        *(f"encoder.{k}" for k in (*ends, *encoder)),
        *(f"decoder.{k}" for k in (*ends, *decoder)),
        *(f"quantizer.quantizers.0.{k}" for k in quantizer),
    }


def test_output_is_a_mapping_without_its_missing_fields():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(DacEncoderOutput()) == 0
