"""The published training step of generator and discriminator, in full.

Shapes: B crops, T samples, K codebooks.

Nothing here waits for the device: losses are returned as tensors, and random numbers follow from the seed and the number
of the step. So a step can be repeated, and many can be in flight at once.

Source: arXiv 2306.06546; the order of the two updates is the original's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dacodec.model import DacModel
from dacodec.model.quantizer import Quantized
from dacodec.spectra import mel_distance
from dacodec.training.config import OptimizerConfig, TrainConfig
from dacodec.training.discriminators import Discriminator
from dacodec.training.losses import adversarial_loss, discriminator_loss, feature_loss, quantizer_losses


class Autoencoder(nn.Module):
    """The model as used in training. Convolutions may run in bfloat16, the quantizer never."""

    def __init__(self, model: DacModel, autocast: torch.autocast) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast

    def forward(self, audio: Tensor, n_quantizers: Tensor, quantize: bool = True) -> tuple[Tensor, Quantized]:
        """Audio [B, 1, T], coded with ``n_quantizers`` [B] codebooks, and the result of the quantizer.

        Without ``quantize`` the decoder gets the unquantized latents.
        """
        with self.autocast:
            latents = self.model.encoder(audio)
        quantized = self.model.quantizer(latents.float(), n_quantizers)
        heard = quantized.quantized_representation
        if not quantize:
            heard = (
                latents.float() + 0 * heard
            )  # every parameter must get a gradient when there are several processes
        with self.autocast:
            generated = self.model.decoder(heard)
        return generated.float(), quantized


class _Attempt(NamedTuple):
    """A part of a batch, reconstructed."""

    real: Tensor  # [B, 1, T]
    fake: Tensor  # [B, 1, T]
    quantized: Quantized
    real_views: list[Tensor]
    fake_views: list[Tensor]


class TrainingStep:
    """Updates both networks for one batch.

    Args:
        fabric: Lightning Fabric; averages gradients over processes.
        generator, discriminator: as returned by ``fabric.setup``, with their optimisers.
        judge: the bare discriminator, with which the generator's losses are computed without averaging gradients.
    """

    def __init__(
        self,
        fabric: Any,
        config: TrainConfig,
        generator: nn.Module,
        generator_optimizer: Any,
        sampling_rate: int,
        autocast: torch.autocast,
        discriminator: nn.Module | None = None,
        discriminator_optimizer: Any = None,
        judge: Discriminator | None = None,
    ) -> None:
        self.fabric = fabric
        self.config = config
        self.generator, self.generator_optimizer = generator, generator_optimizer
        self.discriminator, self.discriminator_optimizer = discriminator, discriminator_optimizer
        self.judge = judge
        self.sampling_rate = sampling_rate
        self.autocast = autocast
        self.quantize = True
        self.codes = None  # gradients train them
        self.parts: dict[str, Any] = {}  # it has no state
        self.quantized: list[Quantized] = []  # of the last step's parts

    @property
    def optimizers(self) -> dict[str, Any]:
        found = {"generator_optimizer": self.generator_optimizer}
        return found | ({"discriminator_optimizer": self.discriminator_optimizer} if self.judge else {})

    def __call__(
        self, audio: Tensor, n_quantizers: Tensor, number: int, progress: float = 0.0
    ) -> dict[str, Tensor]:
        """Step ``number`` on this process's ``audio`` [B, 1, T] with ``n_quantizers`` [B]; the losses by name."""
        schedule, n_parts = self.config.schedule, self.config.accumulate
        self.quantize = bool(self.config.init) or number >= self.config.codebooks.initialise_step
        learns = self.judge is not None and number >= schedule.discriminator_start_step
        listens = self.judge is not None and number >= schedule.adversarial_start_step
        parts = list(zip(audio.chunk(n_parts), n_quantizers.chunk(n_parts), strict=True))

        report: dict[str, Tensor] = {}
        attempt = None
        if learns:
            self.discriminator_optimizer.zero_grad()
            for part, last in _marked_last(parts):
                # With several parts, each is reconstructed again below, so that only one at a time is in memory.
                with torch.set_grad_enabled(n_parts == 1):
                    attempt = self._attempt(*part)
                loss = self._discriminator_loss(attempt)
                with self.fabric.no_backward_sync(self.discriminator, enabled=not last):
                    self.fabric.backward(loss / n_parts)
                _add(report, {"discriminator": loss}, n_parts)
            report["discriminator_norm"] = self._update(
                self.discriminator,
                self.discriminator_optimizer,
                self.config.discriminator_optimizer.max_grad_norm,
            )

        self.generator_optimizer.zero_grad()
        self.quantized = []
        for part, last in _marked_last(parts):
            if attempt is None or n_parts > 1:
                attempt = self._attempt(*part)
            losses = self._generator_losses(attempt, listens)
            with self.fabric.no_backward_sync(self.generator, enabled=not last):
                self.fabric.backward(self.config.losses.total(losses) / n_parts)
            self.quantized.append(attempt.quantized)
            _add(report, losses, n_parts)
        report["norm"] = self._update(
            self.generator, self.generator_optimizer, self.config.generator_optimizer.max_grad_norm
        )
        return report

    def _attempt(self, audio: Tensor, n_quantizers: Tensor) -> _Attempt:
        fake, quantized = self.generator(audio, n_quantizers, self.quantize)
        real = audio[..., : fake.shape[-1]]  # odd strides lose samples
        if self.judge is None:
            return _Attempt(real, fake, quantized, [], [])
        with torch.no_grad():
            real_views = self.judge.views(real)
        return _Attempt(real, fake, quantized, real_views, self.judge.views(fake))

    def _discriminator_loss(self, attempt: _Attempt) -> Tensor:
        assert self.discriminator is not None
        # Real and generated audio as one batch: half as many operations, each larger.
        both = [
            torch.cat([r, f.detach()]) for r, f in zip(attempt.real_views, attempt.fake_views, strict=True)
        ]
        with torch.enable_grad(), self.autocast:
            outputs = self.discriminator(both)
        with torch.enable_grad():
            halves = [[x.chunk(2) for x in part] for part in outputs]
            return discriminator_loss(
                [[real for real, _ in part] for part in halves],
                [[fake for _, fake in part] for part in halves],
            )

    def _generator_losses(self, attempt: _Attempt, listens: bool) -> dict[str, Tensor]:
        losses = {"mel": mel_distance(attempt.fake[:, 0], attempt.real[:, 0], self.sampling_rate)}
        losses |= quantizer_losses(attempt.quantized)
        if not listens:
            return losses
        assert self.judge is not None
        self.judge.requires_grad_(False)  # saves the gradients of its weights, a third of its backward pass
        with self.autocast:
            with torch.no_grad():
                on_real = self.judge(attempt.real_views)
            on_fake = self.judge(attempt.fake_views)
        self.judge.requires_grad_(True)
        losses["adversarial"] = adversarial_loss(on_fake)
        losses["feature"] = feature_loss(on_real, on_fake)
        return losses

    def _update(self, network: nn.Module | None, optimizer: Any, max_norm: float) -> Tensor:
        norm = self.fabric.clip_gradients(network, optimizer, max_norm=max_norm, error_if_nonfinite=False)
        optimizer.step()
        return norm  # type: ignore[no-any-return]


def published_step(
    fabric: Any, config: TrainConfig, model: DacModel, judge: Discriminator | None, autocast: torch.autocast
) -> TrainingStep:
    """The step for these networks, which must be weight-normalised and on the device; creates the optimisers."""
    generator = Autoencoder(model, autocast)
    optimizer = _optimizer(generator, config.generator_optimizer, fabric.device)
    generator, optimizer = fabric.setup(generator, optimizer)
    judged: dict[str, Any] = {}
    if judge is not None:
        its_optimizer = _optimizer(judge, config.discriminator_optimizer, fabric.device)
        discriminator, its_optimizer = fabric.setup(judge, its_optimizer)
        judged = {
            "discriminator": discriminator,
            "discriminator_optimizer": its_optimizer,
            "judge": judge,
        }
    return TrainingStep(fabric, config, generator, optimizer, model.config.sampling_rate, autocast, **judged)


def _optimizer(network: nn.Module, config: OptimizerConfig, device: torch.device) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        network.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=device.type == "cuda",
    )


def draw_codebooks(
    number: int, seed: int, batch_size: int, n_codebooks: int, dropout: float, rank: int, world_size: int
) -> Tensor:
    """Quantizer dropout of step ``number``: how many codebooks each crop of this process uses.

    Drawn for the whole batch, so that the result does not depend on the number of processes.
    """
    random = torch.Generator().manual_seed(seed * 1_000_003 + number)
    drops = torch.rand(batch_size, generator=random) < dropout
    drawn = torch.randint(1, n_codebooks + 1, (batch_size,), generator=random)
    counts = torch.where(drops, drawn, n_codebooks)
    own = batch_size // world_size
    return counts[rank * own : (rank + 1) * own]


def _marked_last(parts: list[Any]) -> Iterator[tuple[Any, bool]]:
    for i, part in enumerate(parts):
        yield part, i == len(parts) - 1


def _add(report: dict[str, Tensor], losses: dict[str, Tensor], n_parts: int) -> None:
    for name, loss in losses.items():
        report[name] = report.get(name, 0) + loss.detach() / n_parts
