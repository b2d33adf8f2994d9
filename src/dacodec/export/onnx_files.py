"""A model as ONNX files.

Shapes: B batch, T samples, F frames, K codebooks in use, N codebooks, S numbers of state. B, T, F and K are dynamic.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from dacodec.export import layers
from dacodec.export.graph import Graph, described
from dacodec.export.streaming import StreamingDecoder, StreamingEncoder
from dacodec.files import new_file
from dacodec.model import DacModel

_FIRST_FRAME = described("first_frame", "int64", ["batch"], "frames pushed before")
_N_FRAMES = described(
    "n_frames", "int64", ["batch"], "frames of the whole signal; more than will come while that is unknown"
)
_MOST_BYTES = 2**31 - 1  # of a protobuf message; beyond it weights go into a file beside


def encoder(model: DacModel, half: bool) -> onnx.ModelProto:
    """Audio [B, 1, T] to codes [B, N, F]."""
    graph = Graph(half)
    latents = layers.encoder(graph, "audio", model.encoder)
    layers.codes_of_latents(graph, latents, model.quantizer, "codes")
    hop, n = model.config.hop_length, model.config.n_codebooks
    audio = described("audio", "float32", ["batch", 1, "samples"], f"-1 to 1, a multiple of {hop} samples")
    codes = described("codes", "int64", ["batch", n, "frames"], "the first K are those with K codebooks")
    return graph.model("dac_encoder", [audio], [codes])


def decoder(model: DacModel, half: bool) -> onnx.ModelProto:
    """Codes [B, K, F] to audio [B, 1, T]."""
    graph = Graph(half)
    latents = layers.latents_of_codes(graph, "codes", model.quantizer)
    graph.named("audio", "Tanh", layers.decoder(graph, latents, model.decoder))
    audio = described("audio", "float32", ["batch", 1, "samples"], "-1 to 1")
    return graph.model("dac_decoder", [_codes(model)], [audio])


def streaming_encoder(model: DacModel, half: bool) -> onnx.ModelProto:
    """The next audio [B, 1, F * hop] and the state [B, S] to codes [B, N, F] and the state after them."""
    graph, plan = Graph(half), StreamingEncoder(model)
    latents = plan.stages.emit(graph, "audio")
    layers.codes_of_latents(graph, latents, model.quantizer, "codes")
    hop, n = model.config.hop_length, model.config.n_codebooks
    audio = described("audio", "float32", ["batch", 1, "samples"], f"the next {hop} * F samples")
    codes = described("codes", "int64", ["batch", n, "frames"], f"of {plan.delay_frames} frames earlier")
    return graph.model("dac_encoder_stream", *_with_state(audio, codes, plan.state_size))


def streaming_decoder(model: DacModel, half: bool) -> onnx.ModelProto:
    """The next codes [B, K, F] and the state [B, S] to audio [B, 1, F * hop] and the state after them."""
    graph, plan = Graph(half), StreamingDecoder(model)
    latents = layers.latents_of_codes(graph, "codes", model.quantizer)
    graph.named("audio", "Tanh", plan.stages.emit(graph, latents))
    meaning = f"of {plan.delay_samples} samples earlier"
    audio = described("audio", "float32", ["batch", 1, "samples"], meaning)
    return graph.model("dac_decoder_stream", *_with_state(_codes(model), audio, plan.state_size))


OFFLINE = {"encoder": encoder, "decoder": decoder}
STREAMING = {"encoder_stream": streaming_encoder, "decoder_stream": streaming_decoder}


def write(path: Path, model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Check a model and write it, with its metadata. Over 2 GB, the weights go into a file beside it.

    Raises:
        OutputError: if it cannot be written.
    """
    onnx.helper.set_model_props(model, dict(metadata))
    if model.ByteSize() > _MOST_BYTES:
        beside = f"{path.name}.data"
        onnx.save_model(model, path, save_as_external_data=True, location=beside)
        onnx.checker.check_model(path, full_check=True)
        return
    onnx.checker.check_model(model, full_check=True)
    with new_file(path, overwrite=True) as file:
        file.write(model.SerializeToString())


def _codes(model: DacModel) -> onnx.ValueInfoProto:
    most, size = model.config.n_codebooks, model.config.codebook_size
    return described(
        "codes", "int64", ["batch", "codebooks", "frames"], f"0 to {size - 1}; 1 to {most} codebooks"
    )


def _with_state(
    given: onnx.ValueInfoProto, made: onnx.ValueInfoProto, size: int
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    state = described(
        "state", "float32", ["batch", size], "zeros at first, then next_state of the push before"
    )
    after = described("next_state", "float32", ["batch", size], "for the next push")
    return [given, state, _FIRST_FRAME, _N_FRAMES], [made, after]
