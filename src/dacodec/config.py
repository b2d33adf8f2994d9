"""The shape of a DAC model, under Hugging Face's field names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from dacodec.errors import ConfigError

MAX_SAMPLING_RATE = 768_000
MAX_CODEBOOK_SIZE = 65_536

Config = TypeVar("Config", bound="DacConfig")


@dataclass(frozen=True)
class DacConfig:
    """Configuration of a :class:`~dacodec.DacModel`; the defaults are the 16 kHz model's widths.

    Args:
        encoder_hidden_size: channels after the encoder's first convolution; every block doubles them.
        downsampling_ratios: stride of each encoder block, first to last; the decoder uses them reversed.
        decoder_hidden_size: channels after the decoder's first convolution; every block halves them.
        n_codebooks: number of residual codebooks.
        codebook_size: entries in a codebook, a power of two.
        codebook_dim: dimension of a codebook vector.
        quantizer_dropout: fraction of a training batch that keeps only a random number of codebooks, 0 to 1.
        commitment_loss_weight: weight of the commitment term in the model's ``loss``.
        codebook_loss_weight: weight of the codebook term in the model's ``loss``.
        sampling_rate: of the audio, in Hz.
        hidden_size: dimension of the latents between encoder and decoder. The released 16 kbit/s model
            overrides it (128); by default it follows from the encoder's doubling.
        extra: Hugging Face's bookkeeping keys of a loaded config.json, kept for writing it back.

    Raises:
        ConfigError: for invalid values and unknown field names.

    Source: arXiv 2306.06546, section 3; the field names are those of transformers' ``DacConfig``.
    """

    model_type: ClassVar[str] = "dac"

    encoder_hidden_size: int = 64
    downsampling_ratios: tuple[int, ...] = (2, 4, 8, 8)
    decoder_hidden_size: int = 1536
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    quantizer_dropout: float = 0.0
    commitment_loss_weight: float = 0.25
    codebook_loss_weight: float = 1.0
    sampling_rate: int = 16000
    hidden_size: int = None  # type: ignore[assignment]  # derived in __post_init__ when left out
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        ratios = self.downsampling_ratios
        if isinstance(ratios, (str, int)) or not ratios or any(_not_positive_int(r) for r in ratios):
            raise ConfigError(f"downsampling_ratios must be integers of at least 1, got {ratios!r}")
        object.__setattr__(self, "downsampling_ratios", tuple(int(r) for r in ratios))
        if self.hidden_size is None:
            object.__setattr__(self, "hidden_size", self.encoder_hidden_size * 2 ** len(ratios))
        for name in (
            "encoder_hidden_size",
            "decoder_hidden_size",
            "n_codebooks",
            "codebook_size",
            "codebook_dim",
            "sampling_rate",
            "hidden_size",
        ):
            if _not_positive_int(getattr(self, name)):
                raise ConfigError(f"{name} must be an integer of at least 1, got {getattr(self, name)!r}")
        if self.decoder_hidden_size % 2 ** len(ratios):
            raise ConfigError(
                f"decoder_hidden_size is halved by each of {len(ratios)} blocks, "
                f"so it must be a multiple of {2 ** len(ratios)}; got {self.decoder_hidden_size}"
            )
        if self.codebook_size & (self.codebook_size - 1) or not 2 <= self.codebook_size <= MAX_CODEBOOK_SIZE:
            raise ConfigError(
                f"codebook_size must be a power of two from 2 to {MAX_CODEBOOK_SIZE}, got {self.codebook_size}"
            )
        if self.sampling_rate > MAX_SAMPLING_RATE:
            raise ConfigError(
                f"sampling_rate must be at most {MAX_SAMPLING_RATE} Hz, got {self.sampling_rate}"
            )
        if not 0 <= self.quantizer_dropout <= 1:
            raise ConfigError(f"quantizer_dropout must be from 0 to 1, got {self.quantizer_dropout}")

    def __eq__(self, other: object) -> bool:
        """By value, so that ``dacodec.DacConfig``, the subclass with files, equals this one."""
        return isinstance(other, DacConfig) and all(
            getattr(self, f.name) == getattr(other, f.name) for f in fields(DacConfig) if f.compare
        )

    # Derived values are properties, so that they cannot disagree with what they derive from.

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.downsampling_ratios)

    @property
    def upsampling_ratios(self) -> tuple[int, ...]:
        """Stride of each decoder block, first to last."""
        return self.downsampling_ratios[::-1]

    @property
    def frame_rate(self) -> int:
        """Frames per second, rounded up as Hugging Face reports it; see ``frames_per_second``."""
        return math.ceil(self.sampling_rate / self.hop_length)

    @property
    def frames_per_second(self) -> float:
        """Frames per second, exactly."""
        return self.sampling_rate / self.hop_length

    @property
    def bits_per_code(self) -> int:
        return (self.codebook_size - 1).bit_length()

    def bitrate_kbps(self, n_quantizers: int | None = None) -> float:
        """True bitrate of one channel's codes, in kbit/s."""
        n = self.n_codebooks if n_quantizers is None else n_quantizers
        return n * self.bits_per_code * self.frames_per_second / 1000

    def to_dict(self) -> dict[str, Any]:
        """The content of Hugging Face's config.json, derived values included."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return {
            **self.extra,
            "architectures": ["DacModel"],
            "model_type": self.model_type,
            **own,
            "downsampling_ratios": list(self.downsampling_ratios),
            "upsampling_ratios": list(self.upsampling_ratios),
            "hop_length": self.hop_length,
        }

    def to_diff_dict(self) -> dict[str, Any]:
        """:meth:`to_dict` without the class's name, unless this config's file had it."""
        values = self.to_dict()
        return (
            values
            if "architectures" in self.extra
            else {k: v for k, v in values.items() if k != "architectures"}
        )

    def to_json_string(self, use_diff: bool = True) -> str:
        """:meth:`to_diff_dict` as JSON, or :meth:`to_dict`: keys sorted, two spaces, a line feed at the end."""
        return (
            json.dumps(self.to_diff_dict() if use_diff else self.to_dict(), indent=2, sort_keys=True) + "\n"
        )

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """The inverse of :meth:`to_dict`.

        Raises:
            ConfigError: for unknown keys, and for derived values that contradict the ratios. Files from
                elsewhere, which may hold both, are read by ``dacodec.checkpoint``.
        """
        values = dict(values)
        own = {f.name for f in fields(cls)} - {"extra"}
        extra = {k: values.pop(k) for k in list(values) if k in HF_BOOKKEEPING}
        hop_length = values.pop("hop_length", None)
        upsampling_ratios = values.pop("upsampling_ratios", None)
        unknown = sorted(set(values) - own)
        if unknown:
            raise ConfigError(f"unknown keys: {unknown}; known are {sorted(own)}")
        config = cls(**values, extra=extra)
        if hop_length is not None and hop_length != config.hop_length:
            raise ConfigError(
                f"hop_length {hop_length} contradicts downsampling_ratios "
                f"{list(config.downsampling_ratios)}, whose product is {config.hop_length}; leave it out"
            )
        if upsampling_ratios is not None and tuple(upsampling_ratios) != config.upsampling_ratios:
            raise ConfigError(
                f"upsampling_ratios {list(upsampling_ratios)} are not downsampling_ratios "
                f"{list(config.downsampling_ratios)} reversed; leave them out"
            )
        return config


# What transformers writes into config.json beside the model's shape.
HF_BOOKKEEPING = frozenset(
    [
        "architectures",
        "model_type",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "_name_or_path",
        "auto_map",
        "id2label",
        "label2id",
        "is_encoder_decoder",
        "return_dict",
        "output_hidden_states",
        "output_attentions",
        "problem_type",
        "tokenizer_class",
        "chunk_size_feed_forward",
        "use_cache",
        "torchscript",
        "pruned_heads",
        "tie_word_embeddings",
        "use_bfloat16",
        "frame_rate",
    ]
)


def _not_positive_int(value: object) -> bool:
    return isinstance(value, bool) or not isinstance(value, int) or value < 1
