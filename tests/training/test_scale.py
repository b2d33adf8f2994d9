"""Scaled initialisation against variances measured afterwards."""

import pytest
import torch
from torch import nn
from weights import random_audio

from dacodec.config import DacConfig
from dacodec.model import DacModel
from dacodec.model.layers import ResidualUnit
from dacodec.training.scale import BRANCH, start_in_scale

SHAPE = DacConfig(8, (4, 4, 4, 4), 64, n_codebooks=4, codebook_size=256, sampling_rate=16000)


def deviations(model, audio):
    """The deviation of every convolution's output, by name."""
    found, hooks = {}, []
    for part, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        for name, module in network.named_modules():
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
                key = f"{part}.{name}"
                hooks.append(
                    module.register_forward_hook(lambda m, i, o, key=key: found.update({key: o.std().item()}))
                )
    with torch.no_grad():
        model.decoder(model.encoder(audio))
    for hook in hooks:
        hook.remove()
    return found


def test_every_layer_starts_in_scale():
    torch.manual_seed(0)
    model = DacModel(SHAPE)
    audio = 0.2 * random_audio(1, 4, 8192)
    before = deviations(model, audio)
    assert before["encoder.conv2"] < 0.1  # the problem that scaling solves
    start_in_scale(model, audio)
    branches = {f"{name}.conv2" for name, module in model.named_modules() if isinstance(module, ResidualUnit)}
    assert len(branches) == 24
    for name, deviation in deviations(model, audio).items():
        wanted = BRANCH if name in branches else audio.std().item() if name == "decoder.conv2" else 1.0
        assert deviation == pytest.approx(wanted, rel=1e-3), name
    assert not any(m._forward_hooks for m in model.modules())


def test_directions_and_the_quantizer_stay():
    torch.manual_seed(0)
    model = DacModel(SHAPE)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    start_in_scale(model, 0.2 * random_audio(1, 4, 8192))
    for name, x in model.state_dict().items():
        if name.startswith("quantizer.") or name.endswith("alpha"):
            assert torch.equal(x, before[name]), name
        elif name.endswith("bias"):
            assert not x.any(), name
        else:
            cosine = torch.cosine_similarity(x.flatten(), before[name].flatten(), dim=0)
            assert cosine.item() == pytest.approx(1, abs=1e-5), name
