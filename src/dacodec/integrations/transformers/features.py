"""The feature extractor, with transformers' ``pad``, files and ``BatchFeature``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import BatchFeature, PretrainedConfig
from transformers.models.dac.feature_extraction_dac import DacFeatureExtractor as TheirExtractor

from dacodec import features as core
from dacodec.checkpoint.configs import CONFIG_FILE, PREPROCESSOR_FILE, mend
from dacodec.checkpoint.sources import builtin_folder
from dacodec.integrations.transformers.config import DacConfig

# The caller's keywords that say where files are.
WHERE = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class DacFeatureExtractor(TheirExtractor):
    """``transformers.DacFeatureExtractor`` that checks the audio and takes tensors, like ``dacodec``'s.

    If it is loaded from a model's folder, its rate and hop are the model's.

    Raises:
        ConfigError: for values that no DAC model can have.
    """

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        hop_length: int = 512,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            hop_length=hop_length,
            **kwargs,
        )
        self.plain()

    def plain(self) -> core.DacFeatureExtractor:
        """``dacodec``'s extractor for the same model.

        Raises:
            ConfigError: for values that no DAC model can have.
        """
        return core.DacFeatureExtractor(
            self.feature_size,
            self.sampling_rate,
            self.padding_value,
            self.hop_length,
            padding_side=self.padding_side,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> BatchFeature:
        return BatchFeature(dict(self.plain()(*args, **kwargs)))

    __call__.__doc__ = core.DacFeatureExtractor.__call__.__doc__

    @classmethod
    def get_feature_extractor_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """The stored values, corrected if the model's config contradicts them (the 16 and 24 kHz models)."""
        source = pretrained_model_name_or_path
        folder = builtin_folder(source) if isinstance(source, str) else None
        source = source if folder is None else os.fspath(folder)
        where = {name: kwargs[name] for name in WHERE if name in kwargs}
        values, kwargs = super().get_feature_extractor_dict(source, **kwargs)
        right = _values_of(stored_config(source, **where))
        mend(values, right, Path(PREPROCESSOR_FILE), CONFIG_FILE)
        return {**values, **right}, kwargs


def stored_config(source: Any, **where: Any) -> dict[str, Any]:
    """The contents of a config.json in the same place; empty if there is none."""
    try:
        values: dict[str, Any] = PretrainedConfig.get_config_dict(source, **where)[0]
        return values
    except OSError:
        return {}


def _values_of(config: dict[str, Any]) -> dict[str, Any]:
    """The extractor's values according to the config of a DAC."""
    if config.get("model_type") != "dac":
        return {}
    ours = DacConfig.from_dict({name: value for name, value in config.items() if name != "hop_length"})
    return {"sampling_rate": ours.sampling_rate, "hop_length": ours.hop_length}
