"""A model as ``torch.export`` files (.pt2), with the shapes and names of the ONNX files."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from dacodec.export.networks import Decoder, Encoder
from dacodec.export.streaming import StreamingDecoder, StreamingEncoder
from dacodec.files import new_file
from dacodec.model import DacModel

_EXAMPLE_FRAMES = 16


def encoder(model: DacModel) -> torch.export.ExportedProgram:
    """Audio [B, 1, T] to codes [B, N, F]."""
    return _exported(Encoder(model), audio=(_audio(model), _audio_axes(model)))


def decoder(model: DacModel) -> torch.export.ExportedProgram:
    """Codes [B, K, F] to audio [B, 1, T]."""
    return _exported(Decoder(model), codes=(_codes(model), _codes_axes(model)))


def streaming_encoder(model: DacModel) -> torch.export.ExportedProgram:
    """The next audio and the state to codes and the state after them."""
    module = StreamingEncoder(model)
    return _exported(module, audio=(_audio(model), _audio_axes(model)), **_position(module.state_size))


def streaming_decoder(model: DacModel) -> torch.export.ExportedProgram:
    """The next codes and the state to audio and the state after them."""
    module = StreamingDecoder(model)
    return _exported(module, codes=(_codes(model), _codes_axes(model)), **_position(module.state_size))


OFFLINE = {"encoder": encoder, "decoder": decoder}
STREAMING = {"encoder_stream": streaming_encoder, "decoder_stream": streaming_decoder}


def write(path: Path, program: torch.export.ExportedProgram, metadata: Mapping[str, str]) -> None:
    """Write a program; the metadata is its extra file ``metadata.json``.

    Raises:
        OutputError: if it cannot be written.
    """
    data = io.BytesIO()
    torch.export.save(program, data, extra_files={"metadata.json": json.dumps(dict(metadata))})
    with new_file(path, overwrite=True) as file:
        file.write(data.getbuffer())


def _exported(module: nn.Module, **inputs: tuple[torch.Tensor, dict[int, Any]]) -> Any:
    values = {name: value for name, (value, _) in inputs.items()}
    axes = {name: some for name, (_, some) in inputs.items()}
    with torch.no_grad():
        return torch.export.export(module.eval(), tuple(values.values()), dynamic_shapes=axes)


def _audio(model: DacModel) -> torch.Tensor:
    return torch.zeros(2, 1, _EXAMPLE_FRAMES * model.config.hop_length)


def _audio_axes(model: DacModel) -> dict[int, Any]:
    return {0: Dim("batch"), 2: model.config.hop_length * Dim("frames")}


def _codes(model: DacModel) -> torch.Tensor:
    return torch.zeros(2, model.config.n_codebooks, _EXAMPLE_FRAMES, dtype=torch.int64)


def _codes_axes(model: DacModel) -> dict[int, Any]:
    n = model.config.n_codebooks
    axes: dict[int, Any] = {0: Dim("batch"), 2: Dim("frames")}
    return axes if n == 1 else {**axes, 1: Dim("codebooks", max=n)}


def _position(state_size: int) -> dict[str, tuple[torch.Tensor, dict[int, Any]]]:
    batch = {0: Dim("batch")}
    frames = torch.zeros(2, dtype=torch.int64)
    return {
        "state": (torch.zeros(2, state_size), batch),
        "first_frame": (frames, batch),
        "n_frames": (frames + _EXAMPLE_FRAMES, batch),
    }
