"""The weights and the audio of the parity tests: always the same, and suitable."""

from __future__ import annotations

import zlib

import pytest
import running
import torch
from cases import RELEASED, narrow
from weights import random_audio, random_weights

from dacodec.config import DacConfig
from dacodec.model import DacModel

SHAPES = {
    "downsampling 2, 4": narrow([2, 4], 9),
    "primes": narrow([2, 3, 5, 7], 12),
    "five blocks": narrow([2, 2, 2, 2, 3], 4),
    "16 kHz, less wide": {**RELEASED["16khz"], "encoder_hidden_size": 16, "decoder_hidden_size": 256},
    "44 kHz, less wide": {**RELEASED["44khz"], "encoder_hidden_size": 16, "decoder_hidden_size": 256},
    "16 kbit/s, less wide": {
        **RELEASED["44khz-16kbps"],
        "encoder_hidden_size": 8,
        "decoder_hidden_size": 128,
    },
}


def checksum(tensor):
    return zlib.crc32(tensor.contiguous().numpy().tobytes())


def test_the_same_numbers_for_ever():
    with torch.device("meta"):
        shapes = {
            k: v.shape for k, v in DacModel(DacConfig(**narrow([3, 5], 2, size=16))).state_dict().items()
        }
    weights = random_weights(shapes, seed=7)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert {key: value.shape for key, value in weights.items()} == shapes
    everything = torch.cat([weights[key].flatten() for key in sorted(weights)])
    assert checksum(everything) == 2585538599
    assert checksum(random_audio(7, 2, 20_000)) == 4157267418


def test_a_tensor_does_not_depend_on_the_others_order_or_the_others():
    shapes = {
        "encoder.conv1.weight": (4, 1, 7),
        "quantizer.quantizers.0.codebook.weight": (16, 8),
        "quantizer.quantizers.0.in_proj.weight": (8, 16, 1),
    }
    one = random_weights(shapes, 1)
    other = random_weights({**dict(reversed(shapes.items())), "decoder.conv1.bias": (4,)}, 1)
    assert all(torch.equal(other[key], value) for key, value in one.items())
    assert not torch.equal(random_weights(shapes, 2)["encoder.conv1.weight"], one["encoder.conv1.weight"])


def test_only_parameters_of_dac_get_weights():
    with pytest.raises(ValueError, match="not a parameter of a DAC model: mystery"):
        random_weights({"quantizer.quantizers.0.in_proj.weight": (8, 16, 1), "mystery": (1,)}, 1)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_signals_neither_die_out_nor_blow_up(config):
    case = {"config": config, "seed": 3, "mode": "eval"}
    model = running.ours(case)
    means = {}

    def remember(name):
        def hook(module, args, output):
            means[name] = output.square().mean().sqrt().item()

        return hook

    for name, module in model.named_modules():
        # The outputs of the blocks, and of the layers beside them.
        if name.split(".")[0] in ("encoder", "decoder") and name.count(".") == (
            2 if ".block." in name else 1
        ):
            module.register_forward_hook(remember(name))
    hop = DacConfig(**config).hop_length
    with torch.no_grad():
        output = model(random_audio(4, 1, 100 * hop))
    # block is a list of blocks, which has no output of its own.
    last = means.pop("decoder.conv2")
    outside = {name: rms for name, rms in means.items() if not 0.3 < rms < 2.5}
    assert not outside
    assert 0.05 < last < 0.4
    assert output.audio_values.abs().max() < 0.95

    projected = output.projected_latents.unflatten(1, (config["n_codebooks"], -1))
    sizes = projected.square().mean((0, 2, 3)).sqrt()
    third = -(-len(sizes) // 3)
    assert sizes[-third:].mean() < 0.8 * sizes[:third].mean(), sizes
    # Many different codes: at least a quarter of the number of frames.
    assert all(codes.unique().numel() >= 25 for codes in output.audio_codes[0])
