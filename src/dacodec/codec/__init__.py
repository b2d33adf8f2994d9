"""Any audio in, tokens out, and audio of the same length back.

``arrays``, ``files`` and ``live`` each build on ``coder`` alone; :class:`Codec` combines them.
"""

from __future__ import annotations

import os

import torch

from dacodec.checkpoint import load_model
from dacodec.codec.arrays import ArrayCodec
from dacodec.codec.files import FileCodec
from dacodec.codec.live import LiveCodec
from dacodec.encoded import Model
from dacodec.engine import make_engine

__all__ = ["Codec"]


class Codec(ArrayCodec, FileCodec, LiveCodec):
    """Codes audio of any rate, length and number of channels, and decodes to exactly as many samples.

    Thread-safe.

    Args:
        engine: runs the model.
        model: its identity and shape.
        chunk_seconds: long audio is computed in chunks of about this length. Affects memory and speed, never
            the result.

    Examples:
        >>> codec = Codec.from_pretrained("builtin")
        >>> second = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
        >>> encoded = codec.encode(second, 48000)
        >>> encoded.codes.shape  # channels, codebooks, frames
        (1, 9, 87)
        >>> codec.decode(encoded).shape
        (48000,)
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] = "builtin",
        *,
        engine: str = "auto",
        precision: str | None = None,
        threads: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Codec:
        """A codec with the weights of ``source``.

        Args:
            source: ``"builtin"``, a folder, a hub id such as ``"descript/dac_44khz"``, or a Descript ``.pth``.
            engine: ``"auto"``, ``"native"``, ``"cuda"``, ``"torch"`` or ``"torch-compile"``.
            precision: ``"exact"``, with rounding errors as small as PyTorch's float32, or ``"fast"``. By default fast
                on the CPU, where its errors are three times as large, and exact on a GPU, where ``"fast"`` is
                half precision (docs/accuracy.md).
            threads: of the native engine, at most one per core; by default as many as PyTorch uses and a
                container's quota allows.

        Raises:
            CheckpointError: if the weights cannot be found or do not fit.
            EngineError: if there is no such engine, or it cannot run here.
        """
        loaded = load_model(
            source,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            device=device,
            dtype=dtype,
        )
        config = loaded.model.config
        model = Model(
            loaded.name, loaded.fingerprint, config.sampling_rate, config.hop_length, config.codebook_size
        )
        return cls(make_engine(loaded.model, engine, precision, threads), model)
