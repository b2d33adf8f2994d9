"""Sound in and out: files, arrays from elsewhere, sampling rates, loudness.

Samples are NumPy float32 [C, T] everywhere, full scale at -1 and 1. No torch here.
"""

from dacodec.audio.arrays import MAX_CHANNELS, Samples, as_float, check_sampling_rate
from dacodec.audio.blocks import between, ending_at, exactly, left_right, mid_side
from dacodec.audio.findings import Damage, Damaged
from dacodec.audio.formats import AUDIO_SUFFIXES
from dacodec.audio.loaders import unpacked
from dacodec.audio.loudness import LoudnessMeter, loudness_gain, loudness_lufs
from dacodec.audio.pcm import SAMPLE_FORMATS, SampleFormat
from dacodec.audio.reading import Audio, AudioReader, PcmReader, read
from dacodec.audio.resampling import Resampler, resample, resample_blocks, resampled_length
from dacodec.audio.writing import AudioWriter, PcmWriter, Writer, write

__all__ = [
    "AUDIO_SUFFIXES",
    "MAX_CHANNELS",
    "SAMPLE_FORMATS",
    "Audio",
    "AudioReader",
    "AudioWriter",
    "Damage",
    "Damaged",
    "LoudnessMeter",
    "PcmReader",
    "PcmWriter",
    "Resampler",
    "SampleFormat",
    "Samples",
    "Writer",
    "as_float",
    "between",
    "check_sampling_rate",
    "ending_at",
    "exactly",
    "left_right",
    "loudness_gain",
    "loudness_lufs",
    "mid_side",
    "read",
    "resample",
    "resample_blocks",
    "resampled_length",
    "unpacked",
    "write",
]
