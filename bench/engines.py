"""The codecs to time. To add one, write a function here and a row in ROWS.

A function takes a folder (config.json and model.safetensors in Hugging Face's layout) and returns `encode`,
from audio [1, T] to codes [1, K, F], and `decode`, back. It imports its package itself: each row runs in a
process and an environment of its own.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"

# glibc returns big blocks to the system after every layer and faults them in again, page by page, for the
# next.
MALLOC_TUNED = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Row:
    """One way to run a model: an environment (None: the one that bench/run.py runs in) and a loader in it."""

    environment: str | None
    loader: str
    argument: str = ""
    variables: dict[str, str] = field(default_factory=dict)


ROWS = {
    "dacodec": Row(None, "dacodec", "native fast"),
    "dacodec, exact": Row(None, "dacodec", "native exact"),
    "dacodec, PyTorch": Row(None, "dacodec", "torch"),
    "dacodec, PyTorch, malloc tuned": Row(None, "dacodec", "torch", MALLOC_TUNED),
    "dacodec, torch.compile": Row(None, "dacodec", "torch-compile"),
    "dacodec, torch.compile, frozen": Row(None, "frozen"),
    "ONNX Runtime": Row(".venv-onnx", "onnxruntime"),
    "transformers 4": Row(".venv-hf4", "transformers"),
    "transformers 4, malloc tuned": Row(".venv-hf4", "transformers", "", MALLOC_TUNED),
    "transformers 5": Row(".venv-hf5", "transformers"),
    "transformers 4, with dacodec's classes": Row(".venv-hf4", "drop-in"),
    "transformers 5, with dacodec's classes": Row(".venv-hf5", "drop-in"),
    "transformers 5, malloc tuned": Row(".venv-hf5", "transformers", "", MALLOC_TUNED),
    "descript-audio-codec": Row(".venv-descript", "descript"),
    "descript-audio-codec, malloc tuned": Row(".venv-descript", "descript", "", MALLOC_TUNED),
}
DEFAULT_ROWS = (
    "dacodec",
    "dacodec, exact",
    "dacodec, PyTorch",
    "dacodec, torch.compile, frozen",
    "ONNX Runtime",
    "transformers 4",
    "transformers 4, malloc tuned",
    "transformers 5",
    "transformers 5, with dacodec's classes",
    "descript-audio-codec",
    "descript-audio-codec, malloc tuned",
)


def load_dacodec(folder, engine):
    from dacodec import DacModel
    from dacodec.engine import make_engine

    engine = make_engine(DacModel.from_pretrained(folder), *engine.split())
    return engine.encode, engine.decode


def load_frozen(folder, _):
    """PyTorch's own best: compiled, with the weights as constants."""
    import torch
    import torch._inductor.config

    from dacodec import DacModel

    torch._inductor.config.freezing = True
    model = DacModel.from_pretrained(folder).eval()
    encoder, decoder = torch.compile(model.encoder), torch.compile(model.decoder)

    def encode(audio):
        return model.quantizer(encoder(audio[:, None])).audio_codes

    def decode(codes):
        return decoder(model.quantizer.from_codes(codes).quantized_representation)[:, 0]

    return encode, decode


def load_onnxruntime(folder, _):
    """Encoder and decoder exported by PyTorch; the quantizer, which takes hardly any time, stays in PyTorch."""
    import onnxruntime
    import torch

    from dacodec import DacModel

    model = DacModel.from_pretrained(folder).eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def session(network, channels):
        path = Path(folder) / f"{type(network).__name__}.onnx"
        example = torch.zeros(1, channels, 64 * model.config.hop_length if channels == 1 else 64)
        shapes = ({2: torch.export.Dim.DYNAMIC},)
        torch.onnx.export(network, (example,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    encoder, decoder = session(model.encoder, 1), session(model.decoder, model.config.hidden_size)

    def run(session, x):
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])

    def encode(audio):
        return model.quantizer(run(encoder, audio[:, None])).audio_codes

    def decode(codes):
        return run(decoder, model.quantizer.from_codes(codes).quantized_representation)[:, 0]

    return encode, decode


def load_transformers(folder, _):
    from transformers import DacModel

    return calls_of(DacModel.from_pretrained(folder).eval())


def load_drop_in(folder, _):
    """The same calls, on what AutoModel returns after register()."""
    from transformers import AutoModel

    from dacodec.integrations.transformers import register

    register(engine="auto")
    return calls_of(AutoModel.from_pretrained(folder))


def calls_of(model):
    def encode(audio):
        return model.encode(audio[:, None]).audio_codes

    def decode(codes):
        return model.decode(audio_codes=codes).audio_values

    return encode, decode


def load_descript(folder, _):
    sys.path[:0] = [str(TESTS), str(TESTS / "parity")]
    import descript
    from safetensors.torch import load_file

    config = json.loads((Path(folder) / "config.json").read_text())
    model = descript.import_dac_class()(**descript.dac_arguments(config))
    weights = load_file(Path(folder) / "model.safetensors")
    model.load_state_dict(descript.original_state(weights, len(config["downsampling_ratios"])))
    model.eval()

    def encode(audio):
        return model.encode(audio[:, None])[1]

    def decode(codes):
        return model.decode(model.quantizer.from_codes(codes)[0])[:, 0]

    return encode, decode


LOADERS = {
    "dacodec": load_dacodec,
    "frozen": load_frozen,
    "onnxruntime": load_onnxruntime,
    "transformers": load_transformers,
    "drop-in": load_drop_in,
    "descript": load_descript,
}
