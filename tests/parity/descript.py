"""The original `descript-audio-codec` as an oracle: its model with our random weights under its own names.

Its model needs few of the package's declared dependencies, some of which cannot be imported with today's torch. Empty
stand-ins replace them here.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from types import ModuleType

import torch
from torch import nn
from weights import random_audio, random_weights


def import_dac_class() -> type:
    """The original's `DAC`."""
    if "dac" not in sys.modules:
        audiotools, ml = ModuleType("audiotools"), ModuleType("audiotools.ml")
        audiotools.ml = ml
        audiotools.AudioSignal = type("AudioSignal", (), {})
        audiotools.STFTParams = lambda *args, **kwargs: None
        ml.BaseModel = type("BaseModel", (nn.Module,), {})
        sys.modules["audiotools"], sys.modules["audiotools.ml"] = audiotools, ml
        # Its top-level module would also import the command line; an empty one gives access to the same submodules.
        package = ModuleType("dac")
        package.__path__ = importlib.util.find_spec("dac").submodule_search_locations
        sys.modules["dac"] = package
    from dac.model.dac import DAC

    return DAC


def dac_arguments(config: Mapping) -> dict:
    """The original's arguments for a model of this shape, given under Hugging Face's names."""
    ratios = list(config["downsampling_ratios"])
    return {
        "encoder_dim": config["encoder_hidden_size"],
        "encoder_rates": ratios,
        "latent_dim": config.get("hidden_size"),
        "decoder_dim": config["decoder_hidden_size"],
        "decoder_rates": ratios[::-1],
        "n_codebooks": config["n_codebooks"],
        "codebook_size": config["codebook_size"],
        "codebook_dim": config["codebook_dim"],
        "quantizer_dropout": config.get("quantizer_dropout", 0.0),
        "sample_rate": config["sampling_rate"],
    }


def original_key(key: str, n_blocks: int) -> str:
    """The original's name of what Hugging Face calls `key` (before weight normalisation splits it)."""
    part, rest = key.split(".", 1)
    if part == "quantizer":
        return key
    top = {"encoder": "encoder.block", "decoder": "decoder.model"}[part]
    layer, rest = rest.split(".", 1)
    if layer != "block":
        position = {"conv1": 0, "snake1": n_blocks + 1, "conv2": n_blocks + 2}[layer]
        return f"{top}.{position}.{rest}"
    index, layer, rest = rest.split(".", 2)
    # The rate change comes after the units of an encoder block and before those of a decoder block.
    order = {
        "encoder": ["res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"],
        "decoder": ["snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"],
    }[part]
    name = f"{top}.{int(index) + 1}.block.{order.index(layer)}"
    if layer.startswith("res_unit"):
        inner, rest = rest.split(".", 1)
        name += f".block.{['snake1', 'conv1', 'snake2', 'conv2'].index(inner)}"
    return f"{name}.{rest}"


def hugging_face_key(key: str, n_blocks: int) -> str:
    """The inverse of `original_key`."""
    if not _INVERSE.get(n_blocks):
        units = [
            f"res_unit{i}.{layer}" for i in (1, 2, 3) for layer in ("snake1", "conv1", "snake2", "conv2")
        ]
        layers = [
            f"{part}.{layer}" for part in ("encoder", "decoder") for layer in ("conv1", "snake1", "conv2")
        ]
        for i in range(n_blocks):
            layers += [f"encoder.block.{i}.{layer}" for layer in (*units, "snake1", "conv1")]
            layers += [f"decoder.block.{i}.{layer}" for layer in (*units, "snake1", "conv_t1")]
        names = [f"{layer}.{name}" for layer in layers for name in ("weight", "bias", "alpha")]
        _INVERSE[n_blocks] = {original_key(name, n_blocks): name for name in names}
    return _INVERSE[n_blocks].get(key, key)


_INVERSE: dict[int, dict[str, str]] = {}


def original_state(weights: Mapping[str, torch.Tensor], n_blocks: int) -> dict[str, torch.Tensor]:
    """Weights under Hugging Face's names as the original's state dict, with weight normalisation split."""
    state = {}
    for key, value in weights.items():
        name = original_key(key, n_blocks)
        if name.endswith(".weight") and "codebook" not in name:
            # The length of v is free. Folded again in fp32, a quarter of the weights are off by a bit or a few.
            state[f"{name}_g"] = torch.norm_except_dim(value, 2, 0)
            state[f"{name}_v"] = 2 * value
        else:
            state[name] = value
    return state


def folded(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict with each weight_g and weight_v multiplied out in float64; other tensors as they are."""
    result = {}
    for key, value in state.items():
        if key.endswith(".weight_v"):
            g, v = state[key[:-1] + "g"].double(), value.double()
            result[key[:-2]] = g * v / v.square().sum((1, 2), keepdim=True).sqrt()
        elif not key.endswith(".weight_g"):
            result[key] = value
    return result


def build(case, dtype=torch.float32):
    """The original's model with the case's weights, weight-normalised as shipped."""
    with torch.device("meta"):
        model = import_dac_class()(**dac_arguments(case["config"]))
    n_blocks = len(case["config"]["downsampling_ratios"])
    shapes = {
        hugging_face_key(key, n_blocks): value.shape for key, value in folded(model.state_dict()).items()
    }
    state = original_state(random_weights(shapes, case["seed"]), n_blocks)
    model.load_state_dict(state, assign=True)
    return model.to(dtype).eval()


def fold(model):
    """The model with its weights folded permanently, by torch itself as before every layer call."""
    for module in model.modules():
        if hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)
    return model


def run(model, case, dtype=torch.float32):
    """Its results under the names of Hugging Face's."""
    audio = random_audio(case["seed"] + 1, case["batch"], case["samples"]).to(dtype)
    results = {}
    hook = model.encoder.register_forward_hook(lambda *call: results.update(latents=call[-1]))
    with torch.no_grad():
        quantized, codes, projected, commitment_loss, codebook_loss = model.encode(
            audio, case["n_quantizers"]
        )
        hook.remove()
        return results | {
            "loss": (0.25 * commitment_loss + codebook_loss).expand(case["batch"]),
            "quantized_representation": quantized,
            "audio_codes": codes,
            "projected_latents": projected,
            "audio_values": model.decode(quantized)[:, 0],
            "audio_values_from_codes": model.decode(model.quantizer.from_codes(codes)[0])[:, 0],
        }
