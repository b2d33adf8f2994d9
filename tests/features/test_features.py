"""The extractor's own promises: correct masks, batches that a model takes, helpful errors."""

import copy
import pickle

import numpy as np
import pytest
import torch

from dacodec.config import DacConfig
from dacodec.errors import AudioError, ConfigError, DacodecError
from dacodec.features import DacFeatureExtractor
from dacodec.model import DacModel

HOP = 6
EXTRACTOR = DacFeatureExtractor(sampling_rate=24000, hop_length=HOP, padding_value=0.5)


def extract(raw_audio, **options):
    return EXTRACTOR(raw_audio, sampling_rate=24000, **options)


def ramp(length):
    return np.linspace(-1, 1, length)


@pytest.mark.parametrize("padding", [{}, {"padding": "max_length"}, {"truncation": True}])
@pytest.mark.parametrize("max_length", [1, 5, 6, 20, 100])
def test_masks_tell_what_is_real(padding, max_length):
    items = [ramp(n) for n in (1, 5, 6, 7, 20)]
    features = extract(items, max_length=max_length, **padding)
    for item, values, mask in zip(items, features.input_values, features.padding_mask, strict=True):
        n = int(mask.sum())
        assert mask.tolist() == [1] * n + [0] * (len(mask) - n)
        np.testing.assert_array_equal(values[0, :n], item[:n].astype(np.float32))
        assert (values[0, n:] == 0.5).all()
        whole = -(-max_length // HOP) * HOP
        assert n == (min(len(item), whole) if padding.get("truncation") else len(item))


@pytest.mark.parametrize(
    "item",
    [
        [0.25, -1],
        np.array([0.25, -1]),
        np.array([[0.25, -1]], np.float16),
        torch.tensor([0.25, -1], requires_grad=True),
        torch.tensor([[0.25, -1]], dtype=torch.bfloat16),
    ],
)
def test_items_of_any_kind(item):
    for raw_audio in (item, [item]):
        values = extract(raw_audio, return_tensors="np")["input_values"]
        assert values.dtype == np.float32
        assert values.tolist() == [[[0.25, -1, 0.5, 0.5, 0.5, 0.5]]]


def test_a_model_takes_the_batch_and_each_item_is_coded_as_alone():
    torch.manual_seed(1)
    model = (
        DacModel(
            DacConfig(
                encoder_hidden_size=4,
                decoder_hidden_size=8,
                downsampling_ratios=(2, 3),
                n_codebooks=2,
                codebook_size=16,
                codebook_dim=4,
                sampling_rate=24000,
            )
        )
        .double()
        .eval()
    )
    items = [np.random.default_rng(n).uniform(-1, 1, n) for n in (100, 61, 7)]
    with torch.no_grad():
        together = model(**extract(items, return_tensors="pt").to(torch.float64))
        for i, item in enumerate(items):
            alone = model(**extract(item, return_tensors="pt").to(torch.float64))
            frames = alone.audio_codes.shape[-1]
            assert together.audio_codes_mask[i].sum() == frames
            assert torch.equal(together.audio_codes[i, :, :frames], alone.audio_codes[0])


def test_access_and_conversion():
    features = extract(ramp(5), return_tensors="pt")
    assert set(features) == {"input_values", "padding_mask"}
    assert features.input_values is features["input_values"]
    assert features.input_values.shape == (1, 1, 6)
    assert features.padding_mask.shape == (1, 6)
    with pytest.raises(AttributeError, match="no 'attention_mask', only"):
        features.attention_mask  # noqa: B018
    converted = features.to("cpu", torch.float16)
    assert converted is features
    assert features.input_values.dtype == torch.float16
    assert features.padding_mask.dtype == torch.int32
    assert features.to(torch.float64).input_values.dtype == torch.float64
    assert extract(ramp(5)).to("cpu").padding_mask.dtype == np.int32  # arrays stay arrays
    for copied in (copy.deepcopy(features), pickle.loads(pickle.dumps(features))):
        assert torch.equal(copied.padding_mask, features.padding_mask)


@pytest.mark.parametrize(
    ("raw_audio", "options", "message"),
    [
        (
            ramp(5),
            {"sampling_rate": 44100},
            "got 44100 Hz, this model needs 24000; use dacodec.audio.resample",
        ),
        (ramp(5), {"padding": True, "truncation": True}, "not both"),
        (ramp(5), {"padding": "left"}, "got 'left'"),
        (ramp(5), {"padding": "max_length"}, "max_length must be at least 1 sample, got None"),
        (ramp(5), {"truncation": True}, "max_length must be at least 1 sample, got None"),
        (ramp(5), {"truncation": True, "max_length": 0}, "got 0"),
        (ramp(5), {"return_tensors": "tf"}, "got 'tf'"),
        ([ramp(5), ramp(6)], {"padding": False, "return_tensors": "np"}, "pass padding=True"),
        ([], {}, "no audio"),
        ([ramp(5), []], {}, "item 1 has no samples"),
        (np.zeros((2, 5)), {}, r"item 0 has the shape \(2, 5\), but must be mono"),
        (np.zeros((1, 1, 5)), {}, r"item 0 has the shape \(1, 1, 5\)"),
        (0.5, {}, r"item 0 has the shape \(\)"),
        ([ramp(5), [0.0, float("nan")]], {}, "item 1 has NaN or infinity"),
        (np.array([1e300]), {}, "item 0 has NaN or infinity"),
        (np.zeros(5, np.int16), {}, "item 0 is int16, not float; dacodec.audio.as_float"),
        (torch.zeros(5, dtype=torch.int16), {}, "item 0 is int16"),
        ("text", {}, "item 0 is <U4"),
        ([[0.0, [1.0]]], {}, "item 0 is not an array"),
    ],
)
def test_refuses(raw_audio, options, message):
    with pytest.raises(AudioError, match=message) as caught:
        EXTRACTOR(raw_audio, **{"sampling_rate": 24000, **options})
    assert isinstance(caught.value, ValueError)


def test_warns_if_the_rate_is_not_given(recwarn):
    with pytest.warns(UserWarning, match="taken to be at 24000 Hz") as caught:
        EXTRACTOR(ramp(5))
    assert caught[0].filename == __file__
    extract(ramp(5))
    assert not recwarn.list


def test_keeps_bookkeeping_and_refuses_the_unknown():
    values = {**EXTRACTOR.to_dict(), "processor_class": "X", "return_attention_mask": False}
    assert DacFeatureExtractor.from_dict(values).to_dict() == values
    with pytest.raises(ConfigError, match=r"unknown keys: \['overlap'\]"):
        DacFeatureExtractor(overlap=0.1)


@pytest.mark.parametrize(
    "values",
    [
        {"feature_size": 2},
        {"sampling_rate": 0},
        {"hop_length": 0},
        {"hop_length": 1.5},
        {"padding_side": "left"},
    ],
)
def test_refuses_what_no_model_has(values):
    with pytest.raises(DacodecError, match=next(iter(values))):
        DacFeatureExtractor(**values)
