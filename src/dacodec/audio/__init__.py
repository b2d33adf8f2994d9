"""Sound in and out: files, arrays from elsewhere, sampling rates, loudness.

Samples are NumPy float32 [C, T] everywhere, full scale at -1 and 1. No torch here.
"""

from dacodec.audio.arrays import MAX_CHANNELS, Samples, as_float, check_sampling_rate
from dacodec.audio.files import Audio, read, write
from dacodec.audio.loudness import LoudnessMeter, loudness_gain, loudness_lufs
from dacodec.audio.resampling import Resampler, resample, resample_blocks, resampled_length

__all__ = [
    "MAX_CHANNELS",
    "Audio",
    "LoudnessMeter",
    "Resampler",
    "Samples",
    "as_float",
    "check_sampling_rate",
    "loudness_gain",
    "loudness_lufs",
    "read",
    "resample",
    "resample_blocks",
    "resampled_length",
    "write",
]
