"""The layers of DAC as ONNX nodes. The names of weights are those of Hugging Face's checkpoints.

Shapes: B batch, C channels, T steps, D latent dimension, F frames, K codebooks in use, N codebooks, d codebook dimension.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dacodec.export.graph import END, Graph
from dacodec.model.dac import Decoder, Encoder
from dacodec.model.layers import ResidualUnit, Snake
from dacodec.model.quantizer import ResidualVectorQuantizer, VectorQuantizer


def snake(graph: Graph, x: str, name: str, layer: Snake) -> str:
    alpha = layer.alpha.detach()[0]  # [C, 1]
    sine = graph("Sin", graph("Mul", x, graph.weight(f"{name}.alpha", alpha)))
    inverse = graph.weight(f"{name}.inverse_alpha", (alpha + 1e-9).reciprocal())
    return graph("Add", x, graph("Mul", graph("Mul", sine, sine), inverse))


def convolution(graph: Graph, x: str, name: str, conv: nn.Conv1d, padding: int | None = None) -> str:
    """``padding`` is the layer's own by default."""
    pad = int(conv.padding[0]) if padding is None else padding
    return graph(
        "Conv",
        x,
        graph.kernel(f"{name}.weight", conv.weight),
        graph.weight(f"{name}.bias", bias(conv)),
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        dilations=list(conv.dilation),
        pads=[pad, pad],
    )


def transposed(graph: Graph, x: str, name: str, conv: nn.ConvTranspose1d, padding: int | None = None) -> str:
    pad = int(conv.padding[0]) if padding is None else padding
    return graph(
        "ConvTranspose",
        x,
        graph.kernel(f"{name}.weight", conv.weight),
        graph.weight(f"{name}.bias", bias(conv)),
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=[pad, pad],
    )


def bias(conv: nn.Conv1d | nn.ConvTranspose1d) -> torch.Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias


def residual(graph: Graph, x: str, name: str, unit: ResidualUnit, padding: int | None = None) -> str:
    """The unit without its skip connection."""
    y = snake(graph, x, f"{name}.snake1", unit.snake1)
    y = convolution(graph, y, f"{name}.conv1", unit.conv1, padding)
    y = snake(graph, y, f"{name}.snake2", unit.snake2)
    return convolution(graph, y, f"{name}.conv2", unit.conv2)


def encoder(graph: Graph, audio: str, network: Encoder) -> str:
    """Audio [B, 1, T] to latents [B, D, F]."""
    x = convolution(graph, audio, "encoder.conv1", network.conv1)
    for i, block in enumerate(network.block):
        name = f"encoder.block.{i}"
        x = _units(graph, x, name, [block.res_unit1, block.res_unit2, block.res_unit3])
        x = snake(graph, x, f"{name}.snake1", block.snake1)
        x = convolution(graph, x, f"{name}.conv1", block.conv1)
    x = snake(graph, x, "encoder.snake1", network.snake1)
    return convolution(graph, x, "encoder.conv2", network.conv2)


def decoder(graph: Graph, latents: str, network: Decoder) -> str:
    """Latents [B, D, F] to what the last tanh takes, [B, 1, T]."""
    x = convolution(graph, latents, "decoder.conv1", network.conv1)
    for i, block in enumerate(network.block):
        name = f"decoder.block.{i}"
        x = snake(graph, x, f"{name}.snake1", block.snake1)
        x = transposed(graph, x, f"{name}.conv_t1", block.conv_t1)
        x = _units(graph, x, name, [block.res_unit1, block.res_unit2, block.res_unit3])
    x = snake(graph, x, "decoder.snake1", network.snake1)
    return convolution(graph, x, "decoder.conv2", network.conv2)


def _units(graph: Graph, x: str, block: str, units: list[ResidualUnit]) -> str:
    for i, unit in enumerate(units, start=1):
        x = graph("Add", x, residual(graph, x, f"{block}.res_unit{i}", unit))
    return x


def codes_of_latents(graph: Graph, latents: str, quantizer: ResidualVectorQuantizer, output: str) -> str:
    """Latents [B, D, F] to codes [B, N, F]."""
    codes, rest = [], latents
    for i, each in enumerate(quantizer.quantizers):
        name = f"quantizer.quantizers.{i}"
        projected = _pointwise(graph, rest, f"{name}.in_proj", each.in_proj)
        codes.append(_nearest(graph, projected, name, each))  # [B, 1, F]
        if i + 1 < quantizer.n_codebooks:
            vectors = graph(
                "Gather", graph.weight(f"{name}.codebook.weight", each.codebook.weight), codes[-1]
            )
            vectors = graph("Squeeze", graph("Transpose", vectors, perm=[0, 1, 3, 2]), graph.ints(1))
            rest = graph("Sub", rest, _pointwise(graph, vectors, f"{name}.out_proj", each.out_proj))
    return graph.named(output, "Concat", *codes, axis=1)


def _pointwise(graph: Graph, x: str, name: str, conv: nn.Conv1d) -> str:
    """A convolution of kernel 1 that stays in float32."""
    weights = graph.weight(f"{name}.weight", conv.weight), graph.weight(f"{name}.bias", bias(conv))
    return graph("Conv", x, *weights, kernel_shape=[1])


def _nearest(graph: Graph, x: str, name: str, quantizer: VectorQuantizer) -> str:
    """Index [B, 1, F] of the codebook vector nearest in direction to ``x`` [B, d, F]; see ``quantizer.nearest``."""
    codebook = F.normalize(quantizer.codebook.weight.detach().float(), dim=-1)
    length = graph("ReduceL2", x, graph.ints(1))
    direction = graph("Div", x, graph("Max", length, graph.real(1e-12)))
    products = graph("MatMul", graph.weight(f"{name}.minus_twice_directions", -2 * codebook), direction)
    squares = graph.weight(f"{name}.squares", codebook.pow(2).sum(1)[:, None])
    return graph("ArgMin", graph("Add", products, squares), axis=1)


def latents_of_codes(graph: Graph, codes: str, quantizer: ResidualVectorQuantizer) -> str:
    """Codes [B, K, F] to latents [B, D, F], K a dynamic axis: one gather and one product for all codebooks."""
    each = list(quantizer.quantizers)
    count = graph("Shape", codes, start=1, end=2)
    rows = quantizer.codebook_size * np.arange(len(each))[:, None]
    rows_of = graph("Add", codes, _first(graph, graph.table("quantizer.first_rows", rows), count))
    table = graph.weight("quantizer.codebooks", torch.cat([q.codebook.weight for q in each]))
    vectors = graph("Transpose", graph("Gather", table, rows_of), perm=[0, 2, 1, 3])  # [B, F, K, d]
    projections = torch.cat([q.out_proj.weight[:, :, 0].T for q in each])
    projection = _first(
        graph,
        graph.weight("quantizer.projections", projections),
        graph("Mul", count, graph.ints(quantizer.codebook_dim)),
    )
    biases = graph.weight("quantizer.biases", torch.stack([bias(q.out_proj) for q in each]))
    latents = graph("MatMul", graph("Reshape", vectors, graph.ints(0, 0, -1)), projection)
    latents = graph("Add", latents, graph("ReduceSum", _first(graph, biases, count), graph.ints(0)))
    return graph("Transpose", latents, perm=[0, 2, 1])


def _first(graph: Graph, x: str, count: str) -> str:
    """The first rows of ``x``."""
    return graph("Slice", x, graph.ints(0), count, graph.ints(0))


def part(graph: Graph, x: str, start: int, end: int = END) -> str:
    """Steps of ``x`` [B, C, T]."""
    return graph("Slice", x, graph.ints(start), graph.ints(end), graph.ints(2))
