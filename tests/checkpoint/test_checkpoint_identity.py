"""The fingerprint: what it is, what changes it, what does not."""

import copy
import dataclasses
import hashlib
import struct

import pytest
import torch
from checkpoint_models import small_config, small_model

from dacodec.checkpoint import fingerprint, fingerprint_of

SHAPE = (
    '{"codebook_dim":2,"codebook_size":16,"decoder_hidden_size":4,"downsampling_ratios":[2,3],'
    '"encoder_hidden_size":2,"hidden_size":8,"n_codebooks":3,"sampling_rate":24000}'
)


def slow_fingerprint(model, shape=SHAPE):
    """As docs/format.md says, one value after the other."""
    data = b"dacodec fingerprint 1\n" + shape.encode() + b"\n"
    for name, tensor in sorted(model.state_dict().items()):
        if name.split(".")[-1] in ("bias", "alpha") or name.split(".")[-2] == "codebook":
            data += name.encode() + b"\n"
            for value in tensor.flatten().tolist():
                data += struct.pack("<f", value)
    return hashlib.sha256(data).digest()


def test_it_is_what_the_page_says():
    assert fingerprint(small_model()) == slow_fingerprint(small_model())


def test_it_is_the_same_for_ever():
    """Compressed files store it."""
    expected = "6cc5a36c7aaca001d61d43a86cedfe78b42663bd36ba7630addedf89c55ad599"
    assert fingerprint(small_model()).hex() == expected


def test_more_than_ten_codebooks():
    """Their names sort as text: 10 before 2."""
    shape = SHAPE.replace('"n_codebooks":3', '"n_codebooks":12')
    model = small_model(n_codebooks=12)
    assert fingerprint(model) == slow_fingerprint(model, shape)


def test_every_codebook_bias_and_alpha_counts_and_no_other_weight():
    tensors = small_model().state_dict()
    before = fingerprint(small_model())
    for name, tensor in tensors.items():
        changed = tensor.clone()
        last = changed.view(-1)[-1:]
        last.copy_(torch.nextafter(last, torch.tensor(9.0)))
        counts = not name.endswith(".weight") or "codebook" in name
        assert (fingerprint_of(small_config(), {**tensors, name: changed}) != before) == counts, name


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_hidden_size": 4, "hidden_size": 8},
        {"downsampling_ratios": (3, 2)},
        {"decoder_hidden_size": 8},
        {"n_codebooks": 4},
        {"codebook_size": 32},
        {"codebook_dim": 3},
        {"hidden_size": 9},
        {"sampling_rate": 16000},
    ],
)
def test_the_shape_counts(change):
    tensors = small_model().state_dict()
    assert fingerprint_of(small_config(**change), tensors) != fingerprint_of(small_config(), tensors)


def test_how_a_model_was_trained_does_not_count():
    config = small_config(quantizer_dropout=0.5, commitment_loss_weight=1.0, codebook_loss_weight=2.0)
    config = dataclasses.replace(config, extra={"transformers_version": "5"})
    assert fingerprint_of(config, small_model().state_dict()) == fingerprint(small_model())


def test_dtype_layout_order_and_copies_do_not_count():
    model = small_model()
    expected = fingerprint(model)
    assert fingerprint(copy.deepcopy(model).double()) == expected
    tensors = {
        name: t.transpose(0, -1).contiguous().transpose(0, -1) for name, t in model.state_dict().items()
    }
    assert fingerprint_of(model.config, dict(reversed(tensors.items()))) == expected
    assert fingerprint(copy.deepcopy(model).half()) != expected  # biases lost precision
