"""The model in pieces, as graphs of fixed shapes: the state goes in and comes out as one tensor.

Every push of F frames gives F frames' worth of output, later by a constant delay: each layer keeps its last inputs,
and gives an output once the inputs that it reads have come. Where the whole signal would have padding, before its
first step and after its last, a layer's output counts as zero, so that the result is that of the whole signal.
(``engine/pieces.py`` does the same with states that grow, which a graph cannot.)

Each stage exists twice, side by side: ``forward`` for PyTorch, ``emit`` for ONNX.

Shapes: B rows, C channels, T steps of a layer's input in one push, S numbers of state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.export import layers
from dacodec.export.graph import Graph
from dacodec.export.networks import CodesOfLatents, LatentsOfCodes
from dacodec.geometry import Layer
from dacodec.model import DacModel
from dacodec.model.layers import ResidualUnit, Snake


class Timeline(NamedTuple):
    """Where a layer's input stands in its signal, as a function of the push.

    A push from frame f on of a signal of n frames begins at step f * steps_per_frame + offset, and the signal has
    n * steps_per_frame + excess steps.
    """

    steps_per_frame: int
    offset: int = 0
    excess: int = 0


class Push(NamedTuple):
    first_frame: Tensor  # [B] int64
    n_frames: Tensor  # [B] int64, of the whole signal; more than will come while that is unknown

    def only_inside(self, x: Tensor, timeline: Timeline) -> Tensor:
        """``x`` [B, C, T] with the steps outside the signal set to zero."""
        first = self.first_frame * timeline.steps_per_frame + timeline.offset
        length = self.n_frames * timeline.steps_per_frame + timeline.excess
        step = first[:, None] + torch.arange(x.shape[-1], device=x.device)
        inside = (step >= 0) & (step < length[:, None])  # [B, T]
        return torch.where(inside[:, None], x, 0.0)


def emit_only_inside(graph: Graph, x: str, timeline: Timeline) -> str:
    """:meth:`Push.only_inside`, of the graph's inputs."""
    rate = graph.ints(timeline.steps_per_frame)
    first = graph("Add", graph("Mul", "first_frame", rate), graph.ints(timeline.offset))
    length = graph("Add", graph("Mul", "n_frames", rate), graph.ints(timeline.excess))
    n_steps = graph("Squeeze", graph("Shape", x, start=2, end=3))
    steps = graph("Range", graph.integer(0), n_steps, graph.integer(1))
    step = graph("Add", graph("Unsqueeze", first, graph.ints(1)), steps)
    inside = graph(
        "And",
        graph("GreaterOrEqual", step, graph.integer(0)),
        graph("Less", step, graph("Unsqueeze", length, graph.ints(1))),
    )
    return graph("Where", graph("Unsqueeze", inside, graph.ints(1)), x, graph.real(0))


class Stage(nn.Module):
    """A layer that keeps ``memory`` [B, channels, steps]; ``after`` is the timeline of what it gives.

    Args:
        name: of the layer in a checkpoint.
    """

    name: str
    channels: int
    steps: int
    after: Timeline

    def forward(self, x: Tensor) -> Tensor:
        """The outputs that ``x`` [B, C, steps + T], memory and push, completes."""
        raise NotImplementedError

    def emit(self, graph: Graph, x: str) -> str:
        """:meth:`forward` as nodes."""
        raise NotImplementedError


class Convolution(Stage):
    """A convolution that keeps the rate, perhaps after a Snake."""

    def __init__(self, name: str, conv: nn.Conv1d, before: Timeline, snake: tuple[str, Snake] | None = None):
        super().__init__()
        self.name, self.conv = name, conv
        self.snake_name = snake[0] if snake else ""
        self.snake = snake[1] if snake else None
        padding = int(conv.padding[0])
        self.channels, self.steps = conv.in_channels, 2 * padding
        self.after = before._replace(offset=before.offset - padding)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        x = x if self.snake is None else self.snake(x)
        return F.conv1d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation)

    def emit(self, graph: Graph, x: str) -> str:
        if self.snake is not None:
            x = layers.snake(graph, x, self.snake_name, self.snake)
        return layers.convolution(graph, x, self.name, self.conv, padding=0)


class Downsampling(Stage):
    """A Snake and a strided convolution whose kernel is twice its stride."""

    def __init__(self, name: str, snake: Snake, conv: nn.Conv1d, layer: Layer, before: Timeline) -> None:
        super().__init__()
        self.name, self.snake, self.conv = name, snake, conv
        steps_per_frame, offset, excess = before
        stride, padding = layer.stride, layer.padding
        self.channels, self.steps = conv.in_channels, (offset + padding) % stride + stride
        self.after = Timeline(
            steps_per_frame // stride, (offset + padding) // stride - 1, layer.output_length(excess)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(self.snake(x), self.conv.weight, self.conv.bias, self.conv.stride)

    def emit(self, graph: Graph, x: str) -> str:
        x = layers.snake(graph, x, f"{self.name}.snake1", self.snake)
        return layers.convolution(graph, x, f"{self.name}.conv1", self.conv, padding=0)


class Upsampling(Stage):
    """A Snake and a transposed convolution whose kernel is twice its stride: each output reads two inputs."""

    def __init__(
        self, name: str, snake: Snake, conv: nn.ConvTranspose1d, layer: Layer, before: Timeline
    ) -> None:
        super().__init__()
        self.name, self.snake, self.conv = name, snake, conv
        steps_per_frame, offset, excess = before
        self.stride = layer.stride
        self.channels, self.steps = conv.in_channels, 1
        self.after = Timeline(
            steps_per_frame * layer.stride, offset * layer.stride - layer.padding, layer.output_length(excess)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv_transpose1d(self.snake(x), self.conv.weight, self.conv.bias, self.stride)
        return y[..., self.stride : -self.stride]  # the ends lack an input on one side

    def emit(self, graph: Graph, x: str) -> str:
        x = layers.snake(graph, x, f"{self.name}.snake1", self.snake)
        return layers.transposed(graph, x, f"{self.name}.conv_t1", self.conv, padding=self.stride)


class Residual(Stage):
    """A residual unit; the skip connection waits for the convolutions."""

    def __init__(self, name: str, unit: ResidualUnit, before: Timeline) -> None:
        super().__init__()
        self.name, self.unit = name, unit
        self.padding = int(unit.conv1.padding[0])
        self.channels, self.steps = unit.conv1.in_channels, 2 * self.padding
        self.after = before._replace(offset=before.offset - self.padding)

    def forward(self, x: Tensor) -> Tensor:
        unit, conv = self.unit, self.unit.conv1
        y = F.conv1d(unit.snake1(x), conv.weight, conv.bias, 1, 0, conv.dilation)
        return x[..., self.padding : -self.padding] + unit.conv2(unit.snake2(y))

    def emit(self, graph: Graph, x: str) -> str:
        y = layers.residual(graph, x, self.name, self.unit, padding=0)
        return graph("Add", layers.part(graph, x, self.padding, -self.padding), y)


class Stages(nn.Module):
    """Stages in sequence, their memories side by side in one tensor [B, S]."""

    def __init__(self, before: Timeline, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.before = before
        self.stages: Sequence[Stage] = nn.ModuleList(stages)  # type: ignore[assignment]
        self.sizes = [stage.channels * stage.steps for stage in stages]

    @property
    def after(self) -> Timeline:
        return self.stages[-1].after

    def forward(self, x: Tensor, state: Tensor, push: Push) -> tuple[Tensor, Tensor]:
        x = push.only_inside(x, self.before)
        memories = []
        for stage, memory in zip(self.stages, torch.split(state, self.sizes, 1), strict=True):
            x = torch.cat([memory.reshape(-1, stage.channels, stage.steps), x], -1)
            memories.append(x[..., -stage.steps :].flatten(1))
            x = push.only_inside(stage(x), stage.after)
        return x, torch.cat(memories, 1)

    def emit(self, graph: Graph, x: str) -> str:
        """:meth:`forward`; the state is the graph's input ``state`` and its output ``next_state``."""
        x = emit_only_inside(graph, x, self.before)
        memories = []
        for stage, memory in zip(self.stages, graph.split("state", self.sizes), strict=True):
            memory = graph("Reshape", memory, graph.ints(0, stage.channels, stage.steps))
            x = graph("Concat", memory, x, axis=2)
            memories.append(graph("Reshape", layers.part(graph, x, -stage.steps), graph.ints(0, -1)))
            x = emit_only_inside(graph, stage.emit(graph, x), stage.after)
        graph.named("next_state", "Concat", *memories, axis=1)
        return x


class StreamingEncoder(nn.Module):
    """The next audio [B, 1, F * hop] to codes [B, N, F], which are those of ``delay_frames`` earlier."""

    def __init__(self, model: DacModel) -> None:
        super().__init__()
        encoder, start = model.encoder, Timeline(model.config.hop_length)
        stages: list[Stage] = [Convolution("encoder.conv1", encoder.conv1, start)]
        for i, block in enumerate(encoder.block):
            name = f"encoder.block.{i}"
            for j, unit in enumerate((block.res_unit1, block.res_unit2, block.res_unit3), start=1):
                stages.append(Residual(f"{name}.res_unit{j}", unit, stages[-1].after))
            stages.append(Downsampling(name, block.snake1, block.conv1, block.layer, stages[-1].after))
        snake = ("encoder.snake1", encoder.snake1)
        stages.append(Convolution("encoder.conv2", encoder.conv2, stages[-1].after, snake))
        self.stages = Stages(start, stages)
        self.search = CodesOfLatents(model.quantizer)
        self.state_size = sum(self.stages.sizes)
        self.delay_frames = -self.stages.after.offset

    def forward(
        self, audio: Tensor, state: Tensor, first_frame: Tensor, n_frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        latents, state = self.stages(audio, state, Push(first_frame, n_frames))
        return self.search(latents), state


class StreamingDecoder(nn.Module):
    """The next codes [B, K, F] to audio [B, 1, F * hop], which is that of ``delay_samples`` earlier."""

    def __init__(self, model: DacModel) -> None:
        super().__init__()
        decoder, start = model.decoder, Timeline(1)
        stages: list[Stage] = [Convolution("decoder.conv1", decoder.conv1, start)]
        for i, block in enumerate(decoder.block):
            name = f"decoder.block.{i}"
            stages.append(Upsampling(name, block.snake1, block.conv_t1, block.layer, stages[-1].after))
            for j, unit in enumerate((block.res_unit1, block.res_unit2, block.res_unit3), start=1):
                stages.append(Residual(f"{name}.res_unit{j}", unit, stages[-1].after))
        snake = ("decoder.snake1", decoder.snake1)
        stages.append(Convolution("decoder.conv2", decoder.conv2, stages[-1].after, snake))
        self.embed = LatentsOfCodes(model.quantizer)
        self.stages = Stages(start, stages)
        self.state_size = sum(self.stages.sizes)
        self.delay_samples = -self.stages.after.offset
        self.flush_frames = math.ceil(self.delay_samples / model.config.hop_length)

    def forward(
        self, codes: Tensor, state: Tensor, first_frame: Tensor, n_frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        audio, state = self.stages(self.embed(codes), state, Push(first_frame, n_frames))
        return torch.tanh(audio), state
