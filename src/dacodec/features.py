"""Mono audio to a padded batch and its mask, as Hugging Face's feature extractor makes them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from dacodec.errors import AudioError, ConfigError

Extractor = TypeVar("Extractor", bound="DacFeatureExtractor")

# What transformers writes into preprocessor_config.json beside the extractor's own values.
HF_BOOKKEEPING = ("feature_extractor_type", "padding_side", "processor_class", "return_attention_mask")


class DacFeatures(dict[str, Any]):
    """A batch, used as ``batch.input_values``, ``batch["input_values"]`` or ``model(**batch)``.

    ``input_values`` is [B, 1, T] float32, and ``padding_mask`` [B, T] int32, 1 where the audio is real. Without
    ``return_tensors``, ``input_values`` is a list of B arrays [1, T].
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this batch has no {name!r}, only {list(self)}") from None

    def to(self, *args: Any, **kwargs: Any) -> DacFeatures:
        """Convert the tensors as ``Tensor.to`` does, in place, and return self; a dtype is for floats only."""
        for name, value in self.items():
            if isinstance(value, torch.Tensor):
                converted = value.to(*args, **kwargs)
                self[name] = converted if value.is_floating_point() else converted.to(value.dtype)
        return self


class DacFeatureExtractor:
    """Pads mono audio to whole frames, and a batch to its longest item.

    Args:
        feature_size: 1: DAC codes one channel at a time. (``dacodec.Codec`` takes any number.)
        sampling_rate: Hz, of the audio that the model takes.
        padding_value: the value of the padding.
        hop_length: samples per frame.
        bookkeeping: other keys that transformers stores; kept and written back.

    Raises:
        ConfigError: for invalid values and unknown keys.

    The results are those of the extractor of transformers 4.56.2, including that ``max_length`` is rounded up
    to whole frames. It also takes tensors and [1, T] arrays, and refuses what fails later there: integer
    arrays (passed on unscaled), empty audio, NaN and infinity. Its errors are ``ValueError`` too.
    """

    model_input_names: ClassVar[list[str]] = ["input_values", "n_quantizers"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        hop_length: int = 512,
        **bookkeeping: Any,
    ) -> None:
        unknown = sorted(set(bookkeeping) - set(HF_BOOKKEEPING))
        if unknown:
            raise ConfigError(f"unknown keys: {unknown}")
        if feature_size != 1:
            raise ConfigError(f"feature_size must be 1, got {feature_size!r}; dacodec.Codec takes stereo")
        for name, value in {"sampling_rate": sampling_rate, "hop_length": hop_length}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}")
        if bookkeeping.get("padding_side", "right") != "right":
            raise ConfigError("padding_side must be 'right': the model's masks know no other")
        self.feature_size = feature_size
        self.sampling_rate = sampling_rate
        self.padding_value = padding_value
        self.hop_length = hop_length
        self.bookkeeping = {"padding_side": "right", "return_attention_mask": True, **bookkeeping}

    def __call__(
        self,
        raw_audio: Any,
        padding: bool | str | None = None,
        truncation: bool | None = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
    ) -> DacFeatures:
        """Make a batch.

        Args:
            raw_audio: an item or a list of items; an item is [T] or [1, T], an array or tensor of floats or a
                list of numbers.
            padding: None, True or ``"longest"``: to the longest item. ``"max_length"``: to ``max_length``;
                longer items stay as they are. Both are rounded up to whole frames. False: no padding, and no
                mask. ``"do_not_pad"``: no padding, but a mask.
            truncation: cut items to ``max_length`` rounded up to whole frames, so that ``max_length=500`` keeps
                512 samples of a longer item if the hop is 512. Shorter items are padded unless ``padding`` is
                False.
            max_length: in samples.
            return_tensors: ``"pt"``, ``"np"``, or None.
            sampling_rate: of the audio, in Hz, for checking. Without it there is a warning.

        Returns:
            :class:`DacFeatures`, for ``model(**features)``.

        Raises:
            AudioError: for audio that is not mono, not finite or empty; a different sampling rate;
                ``padding`` and ``truncation`` together; ``return_tensors`` with items that differ in length.
        """
        self._check_rate(sampling_rate)
        if padding and truncation:
            raise AudioError("give padding or truncation, not both; truncation alone also pads shorter items")
        strategy = "longest" if padding is None or padding is True else padding or "do_not_pad"
        if strategy not in ("longest", "max_length", "do_not_pad"):
            raise AudioError(
                f"padding must be True, False, 'longest', 'max_length' or 'do_not_pad', got {padding!r}"
            )
        if return_tensors not in (None, "np", "pt"):
            raise AudioError(f"return_tensors must be 'pt', 'np' or None, got {return_tensors!r}")

        items = [_mono(item, i) for i, item in enumerate(_as_batch(raw_audio))]
        if truncation:
            items = [item[: self._whole_frames(max_length)] for item in items]
        length = 0
        if strategy == "longest":
            length = self._whole_frames(max(map(len, items)))
        elif strategy == "max_length":
            length = self._whole_frames(max_length)
        padded = [_padded(item, length, self.padding_value) for item in items]
        masks = [
            (np.arange(len(values)) < len(item)).astype(np.int32)
            for values, item in zip(padded, items, strict=True)
        ]
        same_length = len(set(map(len, padded))) == 1
        if return_tensors is not None and not same_length:
            raise AudioError("the items differ in length, so they cannot be one tensor; pass padding=True")

        values = [item[None] for item in padded]
        features = DacFeatures(input_values=values if return_tensors is None else np.stack(values))
        if padding is not False:
            features["padding_mask"] = np.stack(masks) if same_length else masks
        if return_tensors == "pt":
            features.update({name: torch.from_numpy(value) for name, value in features.items()})
        return features

    def pad(
        self,
        processed_features: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> DacFeatures:
        """Bring items to one length, as a data loader's ``collate_fn`` does. Only shapes are checked.

        Args:
            processed_features: a batch, ``{"input_values": [[T], ...]}``, or a list of items, ``{"input_values": [T]}``;
                other entries are only collected.
            padding: True or ``"longest"``, ``"max_length"``, or False.
            max_length: in samples.
            truncation: cut items to ``max_length``.
            pad_to_multiple_of: round ``max_length``, given or found, up to a multiple of this many samples.
            return_attention_mask: by default as set in the extractor, which is True unless changed.
            return_tensors: ``"pt"`` or ``"np"``; by default the items' own kind.

        Returns:
            ``input_values`` [B, T] in float32 if they were floats, and ``attention_mask`` [B, T] int32.

        Raises:
            AudioError: for batches without ``input_values``, items that are not [T], and items of unequal
                length.
        """
        columns = _columns(processed_features)
        if "input_values" not in columns:
            raise AudioError(f"a batch needs 'input_values'; this one has {list(columns)}")
        tensors = any(isinstance(value, torch.Tensor) for value in columns["input_values"])
        items = [np.asarray(value) for value in columns.pop("input_values")]
        masks = [
            np.asarray(mask)
            for mask in columns.pop("attention_mask", [np.ones(len(x), np.int32) for x in items])
        ]
        if any(item.ndim != 1 for item in items):
            raise AudioError(f"items must be [T], got {[item.shape for item in items]}")
        limit = None if max_length is None else _rounded_up(max_length, pad_to_multiple_of or 1)
        if limit is None and (truncation or padding == "max_length"):
            raise AudioError("give max_length: truncation and padding='max_length' need one")
        if truncation:
            items, masks = [item[:limit] for item in items], [mask[:limit] for mask in masks]
        if padding is True or padding == "longest":
            limit = _rounded_up(max(map(len, items), default=0), pad_to_multiple_of or 1)
        if padding and padding != "do_not_pad":
            items = [_padded(item, limit or 0, self.padding_value) for item in items]
            masks = [_padded(mask, limit or 0, 0) for mask in masks]

        features = {name: [np.asarray(value) for value in values] for name, values in columns.items()}
        features["input_values"] = [x.astype(np.float32) if x.dtype == np.float64 else x for x in items]
        if (
            self.bookkeeping["return_attention_mask"]
            if return_attention_mask is None
            else return_attention_mask
        ):
            features["attention_mask"] = masks
        return _stacked(features, return_tensors or ("pt" if tensors else "np"))

    def to_json_string(self) -> str:
        """:meth:`to_dict` as JSON: keys sorted, two spaces, a line feed at the end."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The content of Hugging Face's preprocessor_config.json."""
        return {
            **self.bookkeeping,
            "feature_extractor_type": "DacFeatureExtractor",
            "feature_size": self.feature_size,
            "hop_length": self.hop_length,
            "padding_value": self.padding_value,
            "sampling_rate": self.sampling_rate,
        }

    @classmethod
    def from_dict(cls: type[Extractor], values: Mapping[str, Any]) -> Extractor:
        """The inverse of :meth:`to_dict`.

        Raises:
            ConfigError: as the constructor.
        """
        return cls(**values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.to_dict().items())})"

    def _check_rate(self, sampling_rate: int | None) -> None:
        if sampling_rate is None:
            warnings.warn(
                f"sampling_rate is not given; the audio is taken to be at {self.sampling_rate} Hz",
                stacklevel=3,
            )
        elif sampling_rate != self.sampling_rate:
            raise AudioError(
                f"got {sampling_rate} Hz, this model needs {self.sampling_rate}; use dacodec.audio.resample"
            )

    def _whole_frames(self, n_samples: int | None) -> int:
        """``n_samples`` rounded up to whole frames."""
        if n_samples is None or n_samples < 1:
            raise AudioError(f"max_length must be at least 1 sample, got {n_samples!r}")
        return _rounded_up(n_samples, self.hop_length)


def _rounded_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _padded(values: NDArray[Any], length: int, value: float) -> NDArray[Any]:
    return np.pad(values, (0, max(0, length - len(values))), constant_values=value)


def _columns(batch: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A list of items as one dictionary of lists."""
    if isinstance(batch, Mapping):
        return {name: list(values) for name, values in batch.items()}
    return {name: [item[name] for item in batch] for name in (batch[0] if batch else ())}


def _stacked(features: Mapping[str, Sequence[NDArray[Any]]], kind: str) -> DacFeatures:
    if kind not in ("np", "pt"):
        raise AudioError(f"return_tensors must be 'pt' or 'np', got {kind!r}")
    for name, arrays in features.items():
        if len({array.shape for array in arrays}) > 1:
            raise AudioError(
                f"the items of {name!r} differ in length, so they cannot be one tensor; pass padding=True"
            )
    stacked = {name: np.asarray(arrays) for name, arrays in features.items()}
    return DacFeatures({name: torch.from_numpy(x) if kind == "pt" else x for name, x in stacked.items()})


def _as_batch(raw_audio: Any) -> Sequence[Any]:
    if not isinstance(raw_audio, (list, tuple)):
        return [raw_audio]
    if not raw_audio:
        raise AudioError("there is no audio in this batch")
    holds_items = isinstance(raw_audio[0], (list, tuple)) or getattr(raw_audio[0], "ndim", 0) > 0
    return raw_audio if holds_items else [raw_audio]


def _mono(item: Any, index: int) -> NDArray[np.float32]:
    """An item as float32 [T]."""
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu()
        item = (item.float() if item.is_floating_point() else item).numpy()
    try:
        values = np.asarray(item, np.float64 if isinstance(item, (list, tuple)) else None)
    except (TypeError, ValueError) as error:
        raise AudioError(f"item {index} is not an array of audio: {error}") from None
    if values.dtype.kind != "f":
        raise AudioError(f"item {index} is {values.dtype}, not float; dacodec.audio.as_float scales integers")
    if values.ndim == 2 and len(values) == 1:
        values = values[0]
    if values.ndim != 1:
        raise AudioError(
            f"item {index} has the shape {values.shape}, but must be mono, [T] or [1, T]; average the channels, "
            "or give a list if they are a batch"
        )
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        values = values.astype(np.float32, copy=False)
    if not values.size or not np.isfinite(values).all():
        raise AudioError(f"item {index} has {'NaN or infinity in it' if values.size else 'no samples'}")
    return values
