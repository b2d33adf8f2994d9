"""The config in transformers' form: mutable, with any additional attributes."""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import Any

from transformers import PretrainedConfig
from transformers.models.dac.configuration_dac import DacConfig as TheirConfig

from dacodec import config as core
from dacodec.errors import ConfigError

_FIELDS = tuple(f.name for f in fields(core.DacConfig) if f.name != "extra")


class DacConfig(TheirConfig):
    """transformers' ``DacConfig``, in which ``hop_length`` follows from the ratios.

    A stored hop_length that contradicts them, as in the released 24 kHz model, is corrected with a warning.

    If ``upsampling_ratios`` are given and are not the downsampling ratios reversed, the config is not that of a
    DAC but of a part of another model (Xcodec, Higgs Audio's tokenizer). It becomes transformers' own config, which
    creates transformers' own model.

    Raises:
        ConfigError: for values that are not valid for a DAC model.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        down = (
            args[1]
            if len(args) > 1
            else kwargs.get("downsampling_ratios", core.DacConfig.downsampling_ratios)
        )
        up = kwargs.get("upsampling_ratios")
        if up is not None and list(up) != list(down)[::-1]:
            return TheirConfig(*args, **kwargs)
        return super().__new__(cls)

    def __init__(self, *args: Any, hop_length: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if hop_length not in (None, self.hop_length):
            warnings.warn(
                f"hop_length {hop_length} contradicts the downsampling_ratios {list(self.downsampling_ratios)}; "
                f"using {self.hop_length}",
                stacklevel=2,
            )
        self.plain()

    @classmethod
    def of(cls, config: core.DacConfig | PretrainedConfig) -> DacConfig:
        """``config`` itself if it is of this class, otherwise its values: those of dacodec's or transformers' config.

        Raises:
            ConfigError: if it is not the config of a DAC.
        """
        if isinstance(config, cls):
            return config
        ours = cls.from_dict(config.to_dict())
        if not isinstance(ours, cls):
            raise ConfigError(
                f"upsampling_ratios {list(config.upsampling_ratios)} are not downsampling_ratios "
                f"{list(config.downsampling_ratios)} reversed; leave them out"
            )
        return ours

    def plain(self) -> core.DacConfig:
        """The same shape as ``dacodec``'s config.

        Raises:
            ConfigError: for values that no DAC model can have.
        """
        return core.DacConfig(**{name: getattr(self, name) for name in _FIELDS})
