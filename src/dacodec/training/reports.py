"""The reports of the steps, kept on the device until they are read."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dacodec.errors import TrainingError


class Reports:
    """The reports of the steps since the last reading.

    Args:
        max_skipped: how many steps in a row may be skipped.
    """

    def __init__(self, fabric: Any, max_skipped: int) -> None:
        self.fabric = fabric
        self.max_skipped = max_skipped
        self.skipped = 0  # in total
        self._in_a_row = 0
        self._reports: list[dict[str, Tensor]] = []
        self._rates: list[float] = []

    def add(self, report: dict[str, Tensor], learning_rate_factor: float) -> None:
        self._reports.append(report)
        self._rates.append(learning_rate_factor)

    def read(self, next_step: int) -> list[dict[str, Any]]:
        """A row for each step since the last reading and before ``next_step``: the mean over all processes.

        Raises:
            TrainingError: if a value is not finite, or was not for too many steps in a row.
        """
        reports, rates, self._reports, self._rates = self._reports, self._rates, [], []
        names = list(dict.fromkeys(name for report in reports for name in report))
        nothing = torch.full((), -1.0, device=self.fabric.device)
        table = torch.stack([torch.stack([r.get(n, nothing).float() for n in names]) for r in reports])
        values = self.fabric.all_reduce(table, reduce_op="mean").tolist()  # the only wait for the device
        rows = []
        for i, (report, row) in enumerate(zip(reports, values, strict=True)):
            step = next_step - len(reports) + i
            losses = {n: v for n, v in zip(names, row, strict=True) if n in report}
            rows.append(
                {
                    "step": step,
                    **self._checked(losses, step),
                    "learning_rate_factor": rates[i],
                }
            )
        return rows

    def _checked(self, losses: dict[str, float], step: int) -> dict[str, Any]:
        """The losses that are finite, and the number of skipped steps if skipping is allowed."""
        bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if bad and not self.max_skipped:
            raise TrainingError(f"{_first(bad)} at step {step}; {_REMEDY}")
        if "skipped" not in losses:
            return losses
        skipped = bool(bad) or losses["skipped"] > 0
        self._in_a_row = self._in_a_row + 1 if skipped else 0
        self.skipped += skipped
        if self._in_a_row > self.max_skipped > 0:
            raise TrainingError(
                f"{_first(bad)} at step {step}, after {self._in_a_row - 1} skipped steps in a row; {_REMEDY}"
            )
        return {name: value for name, value in losses.items() if name not in bad} | {"skipped": self.skipped}

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skipped, self._in_a_row = state["skipped"], state["in_a_row"]


_REMEDY = "resume from the last checkpoint with a lower learning_rate or max_grad_norm, or another seed"


def _first(bad: dict[str, float]) -> str:
    name, value = next(iter(bad.items()))
    return f"{name} is {value}"
