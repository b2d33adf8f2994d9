"""The parts of a model that the library runs: chains of layers and a quantizer.

Shapes: D latent dimension, F frames, K codebooks in use, N codebooks, d codebook dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.engine.base import State
from dacodec.engine.native.layers import LayerPlan, bias, padded, with_bias
from dacodec.engine.native.library import Held, LayerWeights, Library, QuantizerWeights
from dacodec.model.quantizer import ResidualVectorQuantizer


class Network:
    """A chain of layers over rows [time steps, width], pushed piece by piece.

    Widths are channels padded with zeros to a multiple of 16; audio has width 1.
    """

    def __init__(self, library: Library, layers: Sequence[LayerPlan], threads: int) -> None:
        self._library = library
        self.in_width, self.out_width = layers[0].in_width, layers[-1].out_width
        held = Held()
        plans = (LayerWeights * len(layers))(*(layer.as_c(held) for layer in layers))
        self._handle = library.network(plans, len(layers), threads)
        if not self._handle:
            raise library.fail()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.network_free(self._handle)

    def states(self, n_rows: int, before: State = None) -> Tensor:
        """States [B, bytes] for :meth:`push` to write to: initial ones, or a copy of ``before``."""
        if before is not None:
            # By NumPy, in this thread: PyTorch would use its own threads, which spin for milliseconds after
            # their work and would keep the cores from the team's.
            return torch.from_numpy(before.numpy().copy())
        states = torch.empty(n_rows, self._library.state_bytes(self._handle), dtype=torch.uint8)
        for state in states:
            self._library.state_init(self._handle, state.data_ptr())
        return states

    def push(self, rows: Tensor, state: Tensor, most_rows: int, threads: int, end: bool = False) -> Tensor:
        """The chain's output for the next ``rows``, at most ``most_rows``. Updates ``state`` [bytes].

        Args:
            end: these are the signal's last rows; the convolutions' zero padding is pushed after them.
        """
        rows = rows.contiguous()
        out = torch.empty(most_rows, self.out_width)
        made = self._library.push(
            self._handle,
            state.data_ptr(),
            rows.data_ptr(),
            len(rows),
            out.data_ptr(),
            most_rows,
            end,
            threads,
        )
        if made < 0:
            raise self._library.fail()
        return out[:made]

    def run(self, rows: Tensor, most_rows: int, threads: int) -> Tensor:
        """The chain's output for a whole signal."""
        return self.push(rows, self.states(1)[0], most_rows, threads, end=True)


class Quantizer:
    """Searches the codebooks, with the residual kept in their low-dimensional space (native/quantizer.h)."""

    def __init__(self, library: Library, quantizer: ResidualVectorQuantizer) -> None:
        self._library = library
        held = Held()
        books = quantizer.quantizers
        codebooks = torch.stack([q.codebook.weight for q in books])  # [N, size, d]
        n, size, d = codebooks.shape
        in_proj = torch.cat([q.in_proj.weight[:, :, 0] for q in books])  # [N * d, D]
        outs = torch.stack([with_bias(q.out_proj) for q in books])  # [N, D, d + 1]
        feedback = (in_proj.double() @ outs).transpose(1, 2)  # [N, d + 1, N * d]
        hidden_size = in_proj.shape[1]
        weights = QuantizerWeights(
            n,
            size,
            d,
            hidden_size,
            padded(hidden_size),
            held.floats(in_proj),
            held.floats(torch.cat([bias(q.in_proj) for q in books])),
            held.floats(codebooks),
            held.floats(F.normalize(codebooks, dim=-1)),
            held.floats(feedback),
        )
        self._handle = library.quantizer(weights)
        if not self._handle:
            raise library.fail()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.quantizer_free(self._handle)

    def quantize(self, latents: Tensor, n_quantizers: int, threads: int) -> Tensor:
        """Codes [K, F] of ``latents`` [F, padded D]."""
        codes = torch.empty(n_quantizers, len(latents), dtype=torch.int64)
        if self._library.quantize(
            self._handle, latents.data_ptr(), len(latents), n_quantizers, codes.data_ptr(), threads
        ):
            raise self._library.fail()
        return codes
