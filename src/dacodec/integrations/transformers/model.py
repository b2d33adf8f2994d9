"""The model: transformers' interface, with this package's network inside."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.dac.modeling_dac import DacModel as TheirModel

from dacodec.checkpoint.sources import builtin_folder
from dacodec.errors import EngineError
from dacodec.geometry import Geometry
from dacodec.integrations.transformers.config import DacConfig
from dacodec.integrations.transformers.networks import ENGINES, Decoder, Encoder
from dacodec.integrations.transformers.outputs import DacDecoderOutput, DacEncoderOutput, DacOutput
from dacodec.integrations.transformers.quantizer import Quantized, ResidualVectorQuantizer
from dacodec.integrations.transformers.weight_norm import apply_weight_norm, remove_weight_norm
from dacodec.model import dac as core
from dacodec.model.layers import Snake


class DacModel(core.DacModel, TheirModel):
    """``transformers.DacModel`` with the network, the masks and the corrections of ``dacodec.DacModel``.

    Files, devices and training work as in transformers' superclasses. State-dict keys are the same; :meth:`encode`,
    :meth:`decode` and a call also take a ``padding_mask``.

    Args:
        config: ours, transformers' own or ``dacodec``'s.

    Raises:
        ConfigError: if ``config`` is not that of a DAC.
    """

    config: Any
    post_init: Any
    encoder: Encoder
    decoder: Decoder
    config_class = DacConfig
    supports_gradient_checkpointing = True
    _no_split_modules = ("ResidualUnit",)
    _encoder_output, _decoder_output, _output = DacEncoderOutput, DacDecoderOutput, DacOutput

    dtype = PreTrainedModel.dtype
    device = PreTrainedModel.device

    def __init__(self, config: Any) -> None:
        config = DacConfig.of(config)
        config._attn_implementation = "eager"  # in any case: there is no attention
        PreTrainedModel.__init__(self, config)
        self.geometry = Geometry(config.plain())
        _ = self.geometry.encoder, self.geometry.decoder  # computed now, because torch.compile cannot
        self.encoder = Encoder(self.geometry)
        self.quantizer = ResidualVectorQuantizer(self.geometry.config)
        self.decoder = Decoder(self.geometry)
        self.bits_per_codebook = self.geometry.config.bits_per_code
        self.post_init()

    @property
    def engine(self) -> str:
        """How the encoder and the decoder are run; see :func:`~dacodec.integrations.transformers.register`."""
        return self.encoder.engine

    @engine.setter
    def engine(self, engine: str) -> None:
        if engine not in ENGINES:
            raise EngineError(f"unknown engine {engine!r}; there are {', '.join(ENGINES)}")
        self.encoder.engine = self.decoder.engine = engine

    # Loading

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; also takes ``"builtin"`` and the names of built-in models.

        ``attn_implementation`` is ignored, since there is no attention. Weights saved while weight-normalised are
        folded.
        """
        source = _folder_of(pretrained_model_name_or_path)
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(source, *args, output_loading_info=True, **kwargs)
        if any(".parametrizations." in key or key.endswith(".weight_g") for key in info["unexpected_keys"]):
            model, info = _normalised(cls).from_pretrained(source, *args, output_loading_info=True, **kwargs)
            model.__class__ = cls
            model.remove_weight_norm()
        return (model, info) if wants_info else model

    @classmethod
    def of(cls, model: TheirModel) -> DacModel:
        """transformers' own ``model`` as an instance of this class, sharing its tensors."""
        with torch.device("meta"):
            ours = cls(model.config)
        ours.load_state_dict(model.state_dict(), assign=True)
        ours.name_or_path = model.name_or_path
        return ours.train(model.training)

    @classmethod
    def _from_config(cls, config: Any, **kwargs: Any) -> Any:
        return super()._from_config(DacConfig.of(config), **kwargs)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise as the original ends up doing; see ``dacodec.model``."""
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d, nn.Embedding)):
            module.reset_parameters()
            core.initialise(module)
        elif isinstance(module, Snake):
            nn.init.ones_(module.alpha)

    # Coding

    def _as_asked(self, output: Any, return_dict: bool | None) -> Any:
        wants_dict = self.config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()

    def _loss(self, quantized: Quantized) -> Tensor:  # type: ignore[override]
        commitment, codebook = self.config.commitment_loss_weight, self.config.codebook_loss_weight
        loss: Tensor = commitment * quantized.commitment_loss + codebook * quantized.codebook_loss
        return loss

    # Training

    def apply_weight_norm(self) -> None:
        """Normalise the weights of all convolutions, as the original trains them."""
        apply_weight_norm(self)

    def remove_weight_norm(self) -> None:
        """Undo :meth:`apply_weight_norm`, keeping the trained weights."""
        remove_weight_norm(self)

    def enable_input_require_grads(self) -> None:
        """Needed for re-entrant checkpointing when the first layers are frozen, as with adapters."""
        self._require_grads_hook = self.encoder.conv1.register_forward_hook(
            lambda module, inputs, output: output.requires_grad_()
        )

    def disable_input_require_grads(self) -> None:
        self._require_grads_hook.remove()


def _folder_of(source: Any) -> Any:
    folder = builtin_folder(source) if isinstance(source, str) else None
    return source if folder is None else os.fspath(folder)


def _normalised(cls: type[DacModel]) -> type[DacModel]:
    """``cls`` with normalised weights from the start, for transformers to load such weights into."""

    def __init__(self: DacModel, config: Any) -> None:
        cls.__init__(self, config)
        self.apply_weight_norm()

    return type(cls.__name__, (cls,), {"__init__": __init__, "__module__": cls.__module__})
