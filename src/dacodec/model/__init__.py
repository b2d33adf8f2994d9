"""The neural network: layers, quantizer, model. Knows nothing of files, paths or command lines."""

from dacodec.model.dac import DacModel
from dacodec.model.outputs import DacDecoderOutput, DacEncoderOutput, DacOutput

__all__ = ["DacDecoderOutput", "DacEncoderOutput", "DacModel", "DacOutput"]
