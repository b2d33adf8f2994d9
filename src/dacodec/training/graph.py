"""A step as one CUDA graph: captured once, then launched as a whole.

A step of a small model is about a thousand kernels of microseconds each. Launching them one by one from Python takes
longer than running them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dacodec.engine.recording import Device, Recording
from dacodec.training.split import Outcome, Stage

# Ordinary steps at the start of a stage, while cuDNN searches kernels and optimisers create their states.
WARM_UP = 3

Compute = Callable[[Tensor, Tensor, Stage], Outcome]


class Graphed:
    """``compute`` of a stage: the first steps directly, the rest from a recording. All of them are steps of the run."""

    def __init__(self, compute: Compute, device: Device) -> None:
        self.compute, self.device = compute, device
        self.stage: Stage | None = None
        self.n_run = 0
        self.recording: Recording[Outcome] | None = None
        self.audio = self.counts = torch.empty(0)

    def __call__(self, audio: Tensor, n_quantizers: Tensor, stage: Stage) -> Outcome:
        if stage != self.stage:
            self.stage, self.n_run, self.recording = stage, 0, None
        if self.n_run < WARM_UP:
            self.n_run += 1
            return self.device.run(lambda: self.compute(audio, n_quantizers, stage))
        if self.recording is None:
            self.audio, self.counts = audio.clone(), n_quantizers.clone()
            self.recording = self.device.record(lambda: self._step(stage))
        self.audio.copy_(audio)
        self.counts.copy_(n_quantizers)
        self.recording.replay()
        # The next replay overwrites this memory. The quantizer's result is read before then.
        report, quantized = self.recording.outcome
        return Outcome(dict(zip(report, self.table.clone().unbind(), strict=True)), quantized)

    def _step(self, stage: Stage) -> Outcome:
        """The step, with its report also in a single tensor, which takes only one copy."""
        outcome = self.compute(self.audio, self.counts, stage)
        self.table = torch.stack(list(outcome.report.values()))
        return outcome
