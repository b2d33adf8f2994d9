"""The fingerprint of a model, by which a compressed file identifies the weights it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from dacodec.config import DacConfig
from dacodec.model import DacModel

SHAPE = (
    "encoder_hidden_size",
    "downsampling_ratios",
    "decoder_hidden_size",
    "n_codebooks",
    "codebook_size",
    "codebook_dim",
    "hidden_size",
    "sampling_rate",
)


def fingerprint(model: DacModel) -> bytes:
    """32 bytes that identify a model; see :func:`fingerprint_of`.

    For a model in half precision it is that of the rounded values. :func:`load_model` computes it from the
    stored values instead, so that it does not depend on the dtype a model is loaded as.
    """
    return fingerprint_of(model.config, model.state_dict())


def fingerprint_of(config: DacConfig, tensors: Mapping[str, Tensor]) -> bytes:
    """SHA-256 over the model's shape, its codebooks, its biases and its Snake alphas.

    What is hashed, in this order:

    1. the ASCII bytes ``dacodec fingerprint 1`` and a line feed;
    2. the shape: a JSON object of the eight fields of ``SHAPE``, keys sorted, no white space, and a line feed;
    3. for each tensor of the state dict whose name ends in ``.codebook.weight``, ``.bias`` or ``.alpha``, in the
       order of the names as ASCII text: the name, a line feed, and the values as little-endian IEEE float32 in
       row-major order.

    Convolution weights are left out, because they are the only tensors that folding weight normalisation
    rounds: so neither folding nor saving again, in whatever file layout, changes the fingerprint. A model saved
    in half precision keeps it only if its codebooks, biases and alphas are exact in half precision.

    Args:
        tensors: under Hugging Face's names, of any floating dtype, on any device. Others are ignored.
    """
    shape = {name: getattr(config, name) for name in SHAPE}
    text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"dacodec fingerprint 1\n{text}\n".encode("ascii"))
    for name in sorted(tensors):
        if name.endswith((".codebook.weight", ".bias", ".alpha")):
            values = tensors[name].detach().to("cpu", torch.float32).contiguous().numpy()
            digest.update(f"{name}\n".encode("ascii") + values.astype("<f4", copy=False).tobytes())
    return digest.digest()
