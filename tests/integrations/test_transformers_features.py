"""The feature extractors, ours with transformers' interface and the plain one, against transformers' own."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
import transformers
from integration_models import HOP, audio, save_small

import dacodec
from dacodec.errors import AudioError, ConfigError
from dacodec.integrations.transformers import DacFeatureExtractor, DacModel

CLIPS = [np.linspace(-1, 1, n) for n in (7, 12, 3)]
KINDS = [DacFeatureExtractor, dacodec.DacFeatureExtractor]


def assert_equal(ours, theirs):
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert type(ours[name]) is type(expected)
        if isinstance(expected, list):
            assert len(ours[name]) == len(expected)
            assert all(np.array_equal(a, b) for a, b in zip(ours[name], expected, strict=True))
        else:
            assert ours[name].dtype == expected.dtype
            assert np.array_equal(ours[name], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "keywords",
    [
        dict(),
        dict(padding=True, return_tensors="pt"),
        dict(padding="max_length", max_length=20, return_tensors="np"),
        dict(truncation=True, max_length=5, return_tensors="pt"),
        dict(padding=False),
    ],
)
def test_calls(kind, keywords):
    ours = kind(hop_length=HOP)(CLIPS, sampling_rate=16000, **keywords)
    theirs = transformers.DacFeatureExtractor(hop_length=HOP)(CLIPS, sampling_rate=16000, **keywords)
    assert_equal(ours, theirs)
    assert isinstance(ours, transformers.BatchFeature) == (kind is DacFeatureExtractor)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize(
    "keywords",
    [
        dict(),
        dict(padding="longest", pad_to_multiple_of=8),
        dict(padding="max_length", max_length=20, return_tensors="np"),
        dict(padding="max_length", max_length=5, truncation=True, return_tensors="pt"),
        dict(padding="max_length", max_length=5, truncation=True, pad_to_multiple_of=4),
        dict(return_attention_mask=False),
    ],
)
def test_pad(kind, as_list, tensors, keywords):
    clips = [torch.from_numpy(clip) for clip in CLIPS] if tensors else CLIPS
    masks = [np.ones(len(clip), np.int32) for clip in CLIPS]

    def batch():
        if as_list:
            return [{"input_values": clip, "id": np.int64(i)} for i, clip in enumerate(clips)]
        return {"input_values": list(clips), "attention_mask": list(masks)}

    if as_list or keywords.get("return_attention_mask", True):
        assert_equal(
            kind(hop_length=HOP).pad(batch(), **keywords),
            transformers.DacFeatureExtractor(hop_length=HOP).pad(batch(), **keywords),
        )


@pytest.mark.parametrize(
    ("batch", "keywords", "message"),
    [
        ({"audio": CLIPS}, {}, "input_values"),
        ({"input_values": CLIPS}, {"padding": False}, "differ in length"),
        ({"input_values": CLIPS}, {"padding": "max_length"}, "max_length"),
        ({"input_values": CLIPS}, {"truncation": True}, "max_length"),
        ({"input_values": [np.zeros((2, 3))]}, {}, r"\[T\]"),
        ({"input_values": CLIPS}, {"return_tensors": "tf"}, "'pt' or 'np'"),
    ],
)
def test_pad_refuses(batch, keywords, message):
    with pytest.raises(AudioError, match=message):
        dacodec.DacFeatureExtractor().pad(batch, **keywords)


@pytest.mark.parametrize("kind", KINDS)
def test_json(kind, tmp_path):
    ours, theirs = kind(hop_length=HOP), transformers.DacFeatureExtractor(hop_length=HOP)
    assert ours.model_input_names == theirs.model_input_names
    assert json.loads(ours.to_json_string()) == json.loads(theirs.to_json_string())
    assert ours.to_json_string() == theirs.to_json_string()
    ours.to_json_file(tmp_path / "f.json")
    assert kind.from_json_file(tmp_path / "f.json").to_dict() == ours.to_dict()
    again = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    assert again.to_dict() == ours.to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused(kind):
    extractor = kind(hop_length=HOP)
    for bad in (np.zeros(5, np.int16), np.array([np.nan]), np.zeros(0), np.zeros((2, 5))):
        with pytest.raises(AudioError):
            extractor(bad, sampling_rate=16000)
    with pytest.raises(ValueError, match="this model needs 16000"):
        extractor(CLIPS, sampling_rate=8000)
    with pytest.raises(ConfigError, match="feature_size"):
        kind(feature_size=2)
    with pytest.raises(ConfigError, match="padding_side"):
        kind(padding_side="left")


def test_a_batch_goes_into_the_model(tmp_path):
    model = DacModel.from_pretrained(save_small(tmp_path))
    extractor = DacFeatureExtractor.from_pretrained(tmp_path)
    clips = [audio(frames=n)[0, 0] for n in (10, 4)]
    batch = extractor(clips, sampling_rate=24000, return_tensors="pt").to("cpu")
    with torch.no_grad():
        together, alone = model(**batch), model(clips[1][None, None])
    assert torch.equal(together.audio_codes[1:, :, :4], alone.audio_codes)


def test_files(tmp_path):
    save_small(tmp_path)
    extractor = DacFeatureExtractor.from_pretrained(tmp_path, padding_value=0.5)
    assert (extractor.hop_length, extractor.sampling_rate, extractor.padding_value) == (HOP, 24000, 0.5)
    extractor.save_pretrained(tmp_path / "sub" / "again")
    assert (
        DacFeatureExtractor.from_pretrained(tmp_path / "sub", subfolder="again").to_dict()
        == extractor.to_dict()
    )
    assert (
        DacFeatureExtractor.from_pretrained("builtin").hop_length
        == dacodec.DacConfig.from_pretrained("builtin").hop_length
    )
