"""The extractor's results are those of transformers', bit for bit, except where that crashes."""

import json
from pathlib import Path

import pytest
from make_features_hf import EXTRACTORS, cases, key, outcome

from dacodec.features import DacFeatureExtractor

STORED = json.loads(Path(__file__).with_name("features_hf.json").read_text())


@pytest.mark.parametrize("name", EXTRACTORS)
def test_same_batches(name):
    extractor = DacFeatureExtractor(**EXTRACTORS[name])
    compared = 0
    for case in cases():
        expected = STORED["outcomes"][key(*case)]
        if case[0] == name and not str(expected).startswith("bug"):
            assert outcome(extractor, *case[1:]) == expected, case
            compared += 1
    assert compared > 70


def test_ragged_batches_where_transformers_crashes():
    """``padding="do_not_pad"``, or ``"max_length"`` with longer items: lists, or an error that says why."""
    crashes = [case for case in cases() if str(STORED["outcomes"][key(*case)]).startswith("bug")]
    assert crashes
    for name, *case in crashes:
        result = outcome(DacFeatureExtractor(**EXTRACTORS[name]), *case)
        if case[-1]["return_tensors"] is None:
            values, masks = result["input_values"][2], result["padding_mask"][2]
            assert [[1, *shape] for shape in masks] == values
        else:
            assert result == "ValueError"


@pytest.mark.parametrize("name", EXTRACTORS)
def test_same_dictionary(name):
    extractor = DacFeatureExtractor(**EXTRACTORS[name])
    assert extractor.to_dict() == STORED["to_dict"][name]
    assert DacFeatureExtractor.from_dict(STORED["to_dict"][name]).to_dict() == extractor.to_dict()
