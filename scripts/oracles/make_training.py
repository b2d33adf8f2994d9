"""Stores the original's results for fixed signals: losses, discriminators, metrics. For tests/training.

    python -m venv .venv-audiotools
    .venv-audiotools/bin/python -m pip install -c constraints.txt torch numpy scipy soundfile rich tqdm safetensors \
        matplotlib pyloudnorm pystoi einops julius librosa flatten-dict ffmpy argbind markdown2 randomname importlib_resources
    .venv-audiotools/bin/python -m pip install --no-deps descript-audiotools==0.7.2 descript-audio-codec==1.0.0
    PYTHONPATH=tests:tests/training .venv-audiotools/bin/python scripts/oracles/make_training.py

Their code runs unchanged; only modules that it imports but does not use here (torchaudio, IPython,
tensorboard) are replaced by empty stand-ins. Writes tests/training/original.json and original.safetensors.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parents[2] / "tests" / "training"
RATE = 44100


class StandIns:
    """Finds modules that are not installed; anything in them is an empty class."""

    NAMES = ("torchaudio", "IPython", "tensorboard", "torch_stoi", "gradio")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.NAMES or name == "torch.utils.tensorboard":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = ModuleType(spec.name)
        module.__getattr__ = lambda name: type(name, (), {})
        return module

    def exec_module(self, module):
        pass


def main() -> None:
    sys.meta_path.insert(0, StandIns())
    import audiotools
    from dac.model.discriminator import Discriminator
    from dac.nn.loss import GANLoss, L1Loss, MelSpectrogramLoss, MultiScaleSTFTLoss, SISDRLoss
    from training_signals import DISCRIMINATOR, discriminator_weights, signals

    signal = audiotools.AudioSignal
    real, fake = signals()
    stored, tensors = {}, {}

    def audio(x):
        return signal(x.clone(), RATE)

    mel_loss = MelSpectrogramLoss(
        n_mels=[5, 10, 20, 40, 80, 160, 320],
        window_lengths=[32, 64, 128, 256, 512, 1024, 2048],
        mel_fmin=[0] * 7,
        mel_fmax=[None] * 7,
        pow=1.0,
        clamp_eps=1e-5,
        mag_weight=0.0,
    )
    leaf = fake.clone().requires_grad_()
    mel = mel_loss(signal(leaf, RATE), audio(real))
    (tensors["mel_gradient"],) = torch.autograd.grad(mel, leaf)
    stored["mel"] = float(mel)
    stored["stft"] = float(MultiScaleSTFTLoss(window_lengths=[2048, 512])(audio(fake), audio(real)))
    stored["waveform"] = float(L1Loss()(audio(fake), audio(real)))
    # The original's loss is lower for better audio: the metric is its negative.
    stored["si_sdr_loss"] = float(SISDRLoss()(audio(real), audio(fake)))

    shape = dict(DISCRIMINATOR)
    edges = shape.pop("band_edges")
    discriminator = Discriminator(
        periods=list(shape["periods"]),
        fft_sizes=list(shape["fft_sizes"]),
        bands=list(pairwise(edges)),
    )
    names = {
        name.removesuffix("_v").replace(".0.weight", ".weight").replace(".0.bias", ".bias"): name
        for name, _ in discriminator.named_parameters()
        if not name.endswith("weight_g")
    }
    parameters = dict(discriminator.named_parameters())
    weights = discriminator_weights({ours: parameters[theirs].shape for ours, theirs in names.items()})
    with torch.no_grad():
        for ours, theirs in names.items():
            parameters[theirs].copy_(weights[ours])
            if theirs.endswith("weight_v"):
                norm = torch.norm_except_dim(weights[ours], 2, 0)
                parameters[theirs[:-1] + "g"].copy_(norm)
    gan = GANLoss(discriminator)
    stored["discriminator"] = float(gan.discriminator_loss(audio(fake), audio(real)))
    leaf = fake.clone().requires_grad_()
    adversarial, feature = gan.generator_loss(signal(leaf, RATE), audio(real))
    (tensors["gan_gradient"],) = torch.autograd.grad(adversarial + 2 * feature, leaf)
    stored["adversarial"], stored["feature"] = float(adversarial), float(feature)
    maps = discriminator(real)
    stored["maps"] = [
        [
            {"shape": list(m.shape), "mean": float(m.mean()), "rms": float(m.square().mean().sqrt())}
            for m in part
        ]
        for part in maps
    ]
    for i, part in enumerate(maps):
        for j, m in enumerate(part):
            tensors[f"map_{i}_{j}"] = m.detach().flatten()[:: max(1, m.numel() // 50)][:50]

    stored["origin"] = {
        name: importlib.metadata.version(name)
        for name in ("descript-audio-codec", "descript-audiotools", "librosa", "torch")
    }
    save_file({k: v.float().contiguous() for k, v in tensors.items()}, HERE / "original.safetensors")
    (HERE / "original.json").write_text(json.dumps(stored, indent=1) + "\n")
    print({k: v for k, v in stored.items() if k != "maps"})


if __name__ == "__main__":
    main()
