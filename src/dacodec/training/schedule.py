"""Learning rates over a run, and when the run ends."""

from __future__ import annotations

import math
import time

from dacodec.training.config import TrainConfig


def learning_rate_factor(step: int, progress: float, config: TrainConfig) -> float:
    """The factor on the learning rates; ``progress`` is the fraction of the run that is done."""
    schedule = config.schedule
    warmup = min(1.0, (step + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    if schedule.decay == "exponential":
        return float(warmup * schedule.gamma**step)
    along = schedule.begin + (schedule.end - schedule.begin) * progress
    return warmup * (
        schedule.final_share + (1 - schedule.final_share) * 0.5 * (1 + math.cos(math.pi * along))
    )


class Budget:
    """The steps and minutes that a run may take, and its progress.

    With ``steps`` the length of the run is fixed, and ``max_minutes`` limits this process. Without, ``max_minutes`` is the
    length of the run across all processes, so a killed run resumes at its learning rate with the minutes that are left.

    Args:
        begin: ``time.monotonic()`` at the start of this process.
        spent: minutes taken by earlier processes of a resumed run.
    """

    def __init__(self, config: TrainConfig, begin: float, spent: float) -> None:
        self.steps, self.max_minutes = config.steps, config.max_minutes
        self.begin = begin
        self.spent = spent if config.steps is None else 0.0

    def minutes(self) -> float:
        return self.spent + (time.monotonic() - self.begin) / 60

    def progress(self, step: int) -> float:
        """Fraction of the run that is done before ``step``, by steps or by the clock, whichever is larger."""
        by_steps = step / self.steps if self.steps else 0.0
        by_clock = self.minutes() / self.max_minutes if self.max_minutes else 0.0
        return min(1.0, max(by_steps, by_clock))

    def reason_to_stop(self, step: int) -> str:
        """The reason to stop now; empty if there is none."""
        if self.steps is not None and step >= self.steps:
            return f"{self.steps} steps done"
        if self.max_minutes is not None and self.minutes() >= self.max_minutes:
            return f"{self.max_minutes:g} minutes are over"
        return ""
