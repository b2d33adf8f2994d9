"""A training step whose backward pass is cut at the generated audio and at the latents.

At the audio the gradients of the losses are balanced; at the latents the pulls of commitment and variance are added, each
relative to the gradient there. A step never waits for the device, and Python branches only on the stage, so a stage can
be one CUDA graph.

Shapes: B crops, T samples, D latent dimension, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dacodec.model import DacModel
from dacodec.model.quantizer import Quantized
from dacodec.training.balance import LOSSES, Balancer
from dacodec.training.config import OptimizerConfig, TrainConfig
from dacodec.training.discriminators import Discriminator
from dacodec.training.judging import judge
from dacodec.training.latents import pulled
from dacodec.training.losses import mel_losses, quantizer_losses, wave_loss
from dacodec.training.moving import MovingCodes
from dacodec.training.usual import UsualNorm


class Stage(NamedTuple):
    """What a step does at this point of the run."""

    quantizes: bool  # if not, the decoder gets the unquantized latents
    judges: bool  # the discriminators learn
    listens: bool  # the generator learns from them


class Outcome(NamedTuple):
    """The result of a step."""

    report: dict[str, Tensor]
    quantized: Quantized | None


class Trained:
    """A network, its optimiser and the usual norm of its gradients."""

    def __init__(self, fabric: Any, network: nn.Module, config: OptimizerConfig) -> None:
        self.fabric = fabric
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.max_norm = config.max_grad_norm
        self.norm = UsualNorm(fabric.device, config.usual_norms or torch.inf)
        self.rate = torch.tensor(
            config.learning_rate, device=fabric.device
        )  # a tensor, so that a graph reads the current value
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
            capturable=fabric.device.type == "cuda",
        )
        self.optimizer.register_load_state_dict_post_hook(self._keep_rate)

    def _keep_rate(self, optimizer: Any) -> None:
        """Restore the learning-rate tensor, which loading a state replaces by a value on the CPU."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """One update, skipped if a gradient is not finite. Returns the norm of the gradients, and whether they were finite."""
        gradients = average(self.fabric, gradients)
        norm, finite = self.norm.clip(gradients, self.max_norm)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        # The fused optimiser reads this on the device, so nothing has to wait for it.
        self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        return norm, finite


def average(fabric: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients averaged over all processes."""
    if fabric.world_size == 1:
        return list(gradients)
    mean = fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
    parts = mean.split([g.numel() for g in gradients])
    return [part.view_as(g) for part, g in zip(parts, gradients, strict=True)]


class SplitStep:
    """Updates both networks for one batch.

    Args:
        fabric: Lightning Fabric, launched but with nothing set up.
        model: on the device, weight-normalised or not.
    """

    def __init__(
        self,
        fabric: Any,
        config: TrainConfig,
        model: DacModel,
        discriminator: Discriminator | None,
        autocast: torch.autocast,
    ) -> None:
        self.config, self.model, self.discriminator, self.autocast = config, model, discriminator, autocast
        device, mean = fabric.device, partial(fabric.all_reduce, reduce_op="mean")
        self.mean = mean
        if not config.codebooks.trained:
            model.quantizer.requires_grad_(False)
        self.generator = Trained(fabric, model, config.generator_optimizer)
        self.judge = Trained(fabric, discriminator, config.discriminator_optimizer) if discriminator else None
        self.balancer = Balancer(device, mean) if config.balance else None
        self.codes = MovingCodes(model.quantizer, partial(fabric.all_reduce, reduce_op="sum"))
        self.shares = torch.zeros(len(LOSSES), device=device)
        self.pace = torch.zeros((), device=device)
        self.progress = -1.0
        self.quantized: list[Quantized] = []  # of the last step
        self.run: Callable[[Tensor, Tensor, Stage], Outcome] = self.compute  # or as a graph

    @property
    def optimizers(self) -> dict[str, torch.optim.AdamW]:
        found = {"generator_optimizer": self.generator.optimizer}
        return found | ({"discriminator_optimizer": self.judge.optimizer} if self.judge else {})

    @property
    def parts(self) -> dict[str, Any]:
        """The stateful parts of a step, by name, each with ``state_dict`` and ``load_state_dict``."""
        found = {"codes": self.codes, "generator_norm": self.generator.norm}
        found |= {"balancer": self.balancer} if self.balancer else {}
        return found | ({"discriminator_norm": self.judge.norm} if self.judge else {})

    def __call__(
        self, audio: Tensor, n_quantizers: Tensor, number: int, progress: float
    ) -> dict[str, Tensor]:
        """Step ``number`` on this process's ``audio`` [B, 1, T] with ``n_quantizers`` [B]; the losses by name."""
        self._set_progress(progress)
        outcome = self.run(audio, n_quantizers, self.stage(number, progress))
        self.quantized = [outcome.quantized] if outcome.quantized else []
        return outcome.report

    def stage(self, number: int, progress: float) -> Stage:
        schedule = self.config.schedule
        known = bool(self.config.init) or number >= self.config.codebooks.initialise_step
        judges = number >= schedule.discriminator_start_step and progress >= schedule.discriminator_start
        listens = number >= schedule.adversarial_start_step and progress >= schedule.adversarial_start
        return Stage(known, bool(self.judge) and judges, bool(self.judge) and judges and listens)

    def _set_progress(self, progress: float) -> None:
        """Write the values that change over a run to the device."""
        if progress == self.progress:
            return
        self.progress = progress
        codebooks, balance = self.config.codebooks, self.config.balance
        rests, still = codebooks.rest
        self.pace.fill_(codebooks.pace * min(1.0, max(0.0, (still - progress) / max(1e-9, still - rests))))
        if balance:
            heard = max(0.0, progress - self.config.schedule.adversarial_start) if self.judge else 0.0
            self.shares.copy_(torch.tensor(balance.at(progress, heard)))

    def compute(self, audio: Tensor, n_quantizers: Tensor, stage: Stage) -> Outcome:
        """The step itself."""
        with self.autocast:
            latents = self.model.encoder(audio)
        latents = latents.float()
        z = latents.detach().requires_grad_()  # [B, D, F]
        quantized = self.model.quantizer(z, n_quantizers) if stage.quantizes else None
        heard = quantized.quantized_representation if quantized else z
        h = heard.detach().requires_grad_()
        with self.autocast:
            fake = self.model.decoder(h)
        fake = fake.float()
        real = audio[..., : fake.shape[-1]]  # odd strides lose samples

        for parameter in self.generator.parameters:
            parameter.grad = None
        gradient, report = self._at_the_audio(real, fake, stage)
        fake.backward(gradient)
        gradient, its = self._at_the_latents(z, h, heard, quantized, n_quantizers)
        latents.backward(gradient)
        report |= its
        report["norm"], finite = self.generator.update([_gradient(p) for p in self.generator.parameters])
        if quantized and self.config.codebooks.pace:
            self.codes.follow(quantized, torch.where(finite, self.pace, 0.0))
        report["skipped"] = 1.0 - finite.float() * report.pop("judge_updated", finite.float())
        report = {name: x.detach() for name, x in report.items()}
        return Outcome(report, Quantized(*(x.detach() for x in quantized)) if quantized else None)

    def _at_the_audio(self, real: Tensor, fake: Tensor, stage: Stage) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient with respect to the generated audio [B, 1, T]; the discriminators are updated along the way."""
        leaf = fake.detach().requires_grad_()
        losses = mel_losses(leaf[:, 0], real[:, 0], self.model.config.sampling_rate)
        losses["wave"] = wave_loss(leaf[:, 0], real[:, 0])
        report = dict(losses)
        gradients = {}
        for name, loss in losses.items():
            # Mel and loud share their spectra.
            [gradients[name]] = torch.autograd.grad(loss, leaf, retain_graph=name == "mel")
        if stage.judges:
            gradient, its = self._judged(real, leaf, stage.listens)
            gradients |= {} if gradient is None else {"judge": gradient}
            report |= its
        if self.balancer:
            return self.balancer(gradients, self.shares), report
        weights = self.config.losses
        by_name = {"mel": weights.mel, "loud": weights.loud, "wave": weights.wave, "judge": 1.0}
        return torch.stack([by_name[name] * g for name, g in gradients.items()]).sum(0), report

    def _judged(self, real: Tensor, leaf: Tensor, listens: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Update the discriminators. Returns the gradient of the audio from them, if the generator learns from it."""
        assert self.judge is not None
        assert self.discriminator is not None
        one_pass = self.config.one_pass
        verdict = judge(
            self.discriminator, real, leaf if listens and one_pass else leaf.detach(), self.autocast
        )
        report = {"discriminator": verdict.loss}
        its = torch.autograd.grad(verdict.loss, self.judge.parameters, retain_graph=listens and one_pass)
        gradient = None
        if listens and one_pass:
            gradient = self._listened(verdict.generator_losses(), leaf, report)
        report["discriminator_norm"], finite = self.judge.update(its)
        report["judge_updated"] = finite.float()
        if listens and not one_pass:
            verdict = judge(self.discriminator, real, leaf, self.autocast)
            gradient = self._listened(verdict.generator_losses(), leaf, report)
        return gradient, report

    def _listened(self, losses: dict[str, Tensor], leaf: Tensor, report: dict[str, Tensor]) -> Tensor:
        report |= losses
        return torch.autograd.grad(self.config.losses.total(losses), leaf)[0]

    def _at_the_latents(
        self, z: Tensor, h: Tensor, heard: Tensor, quantized: Quantized | None, n_quantizers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient with respect to the latents [B, D, F]."""
        config = self.config
        gradient = _gradient(h)
        report: dict[str, Tensor] = {}
        if quantized:
            roots, given = [heard], [gradient]
            if config.codebooks.trained:
                report = quantizer_losses(quantized)
                roots, given = [heard, config.losses.total(report)], [gradient, torch.ones_like(z[0, 0, 0])]
            torch.autograd.backward(roots, given)
            gradient = _gradient(z)
        result, its = pulled(
            gradient,
            z.detach(),
            heard.detach() if quantized else None,
            n_quantizers == self.model.config.n_codebooks,
            config.latents.commitment,
            config.latents.variance,
            self.mean,
        )
        return result, report | its


def _gradient(x: Tensor) -> Tensor:
    """The gradient of ``x``, or zeros: a trained quantizer has none while latents are not quantized."""
    return torch.zeros_like(x) if x.grad is None else x.grad
