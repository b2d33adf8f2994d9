"""Balances the losses by their gradients at the generated audio, where they all meet.

Shapes: B crops, T samples.

The gradient of each loss with respect to the audio is scaled to the same norm, item by item, and the results are mixed by
shares. So losses of any scale combine without weights to tune, and no loud crop drowns the others. A gradient that is
smaller than usual stays small: a crop that already sounds right is left alone.

Source: EnCodec (arXiv 2210.13438, section 3.4), which balances whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dacodec.errors import ConfigError

LOSSES = ("mel", "loud", "wave", "judge")
NORM = 250.0  # of an item's mixed gradient: large enough to make AdamW's epsilon negligible
MEMORY = 0.02  # weight of a step in the moving average of the usual norm
OUTLIER = 3.0  # a step counts as at most this multiple of the usual norm


@dataclass(frozen=True)
class BalanceConfig:
    """Shares of the losses in the gradient that reaches the audio.

    Args:
        shares: rows of progress (0 to 1), mel, loud and wave, interpolated linearly. Early in a run the loud bins and
            the waveform dominate, later the plain mel distance, which is the metric.
        judge: share of the discriminators, taken from the other losses.
        judge_rise: fraction of the run over which the discriminators' share rises; starting at once, they undo what
            was learnt.
    """

    shares: list[list[float]] = field(
        default_factory=lambda: [
            [0.15, 0.3, 0.35, 0.35],
            [0.23, 0.42, 0.33, 0.25],
            [0.55, 0.42, 0.33, 0.25],
            [0.9, 0.69, 0.17, 0.14],
        ]
    )
    judge: float = 0.4
    judge_rise: float = 0.08

    def __post_init__(self) -> None:
        rows = self.shares
        if not rows or any(len(row) != 4 or min(row) < 0 or not sum(row[1:]) for row in rows):
            raise ConfigError(f"balance.shares must be rows of progress, mel, loud and wave, got {rows}")
        if sorted(row[0] for row in rows) != [row[0] for row in rows]:
            raise ConfigError("the rows of balance.shares must be in order of progress")
        if not 0 <= self.judge < 1:
            raise ConfigError(f"balance.judge must be from 0 to less than 1, got {self.judge}")

    def at(self, progress: float, heard: float = 0.0) -> list[float]:
        """Shares of ``LOSSES``, adding up to 1; ``heard`` is the fraction of the run since the discriminators came in."""
        row = _between(self.shares, progress)
        judge = self.judge * min(1.0, heard / self.judge_rise if self.judge_rise else float(heard > 0))
        return [*(share * (1 - judge) / sum(row) for share in row), judge]


def _between(rows: list[list[float]], progress: float) -> list[float]:
    before = [row for row in rows if row[0] <= progress] or rows[:1]
    after = [row for row in rows if row[0] > progress] or rows[-1:]
    (a, *left), (b, *right) = before[-1], after[0]
    t = min(1.0, max(0.0, (progress - a) / (b - a))) if b > a else 0.0
    return [x + t * (y - x) for x, y in zip(left, right, strict=True)]


class Balancer:
    """Mixes gradients, with a moving average of each one's norm.

    Args:
        mean: averages a tensor over all processes.
    """

    def __init__(self, device: torch.device, mean: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        self.usual = torch.zeros(len(LOSSES), device=device)
        self.mean = mean

    @torch.no_grad()
    def __call__(self, gradients: Mapping[str, Tensor], shares: Tensor) -> Tensor:
        """The mixed gradient [B, 1, T] of the batch's mean loss.

        Args:
            gradients: by the names in ``LOSSES``, each [B, 1, T], of the batch's mean loss.
            shares: [len(LOSSES)], on the device.
        """
        batch = len(next(iter(gradients.values())))
        norms = {
            name: g.flatten(1).norm(dim=1) * batch for name, g in gradients.items()
        }  # [B], of an item's loss
        means = self.mean(torch.stack([norm.mean() for norm in norms.values()]))
        total = torch.zeros_like(next(iter(gradients.values())))
        for (name, norm), mean in zip(norms.items(), means, strict=True):
            i = LOSSES.index(name)
            usual = _followed(self.usual[i], mean)
            self.usual[i] = usual
            factor = shares[i] * NORM / torch.maximum(norm, usual).clamp(min=1e-12)  # [B]
            total += factor[:, None, None] * gradients[name]
        return total

    def state_dict(self) -> dict[str, Tensor]:
        return {"usual": self.usual}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.usual.copy_(state["usual"])


def _followed(usual: Tensor, now: Tensor) -> Tensor:
    """The moving average ``usual`` after ``now``; 0 means none yet, and values that are not finite are ignored."""
    now = torch.where(now.isfinite(), now, usual)
    later = usual + MEMORY * (torch.minimum(now, OUTLIER * usual) - usual)
    return torch.where(usual > 0, later, now)
