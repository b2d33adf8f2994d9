"""The tour of `make demo`: a real recording to a few kbit/s and back, with the built-in model, offline."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from pystoi import stoi

from dacodec import Codec, Encoded
from dacodec.audio import read
from dacodec.evaluation.pictures import save_spectrograms
from dacodec.spectra import mel_distance

CLIPS = Path(__file__).parents[1] / "tests" / "data" / "clips"
OUTPUT = Path("demo-out")


def main(clips: list[Path]) -> None:
    OUTPUT.mkdir(exist_ok=True)
    codec = Codec.from_pretrained("builtin")
    for clip in clips:
        show(codec, clip)


def show(codec: Codec, clip: Path) -> None:
    coded = OUTPUT / f"{clip.stem}.dacz"
    decoded = OUTPUT / f"{clip.stem}.wav"
    picture = OUTPUT / f"{clip.stem}.png"
    codec.encode_file(clip, coded, overwrite=True)
    codec.decode_file(coded, decoded, overwrite=True)

    original, encoded = read(clip), Encoded.load(coded)
    audio = codec.decode(encoded)
    rate = original.sampling_rate
    size = coded.stat().st_size
    seconds = encoded.duration_seconds
    mel = mel_distance(torch.from_numpy(audio), torch.from_numpy(original.samples), rate)
    save_spectrograms(
        picture, {"original": original.samples[0], f"{encoded.bitrate_kbps:.2f} kbit/s": audio[0]}, rate
    )

    print(f"{clip.name}: {seconds:.2f} s, {rate} Hz, {encoded.n_channels} channel(s)")
    print(
        f"  codes {encoded.bitrate_kbps:.2f} kbit/s, file {size} bytes = {size * 8 / 1000 / seconds:.2f} kbit/s"
    )
    print(f"  1/{original.samples.size * 2 / size:.0f} of 16-bit PCM, model {encoded.model.name}")
    print(f"  mel distance {mel:.2f} (0 is identical)", end="")
    if "speech" in clip.name:
        print(f", intelligibility (STOI) {_stoi(original.samples[0], audio[0], rate):.2f} of 1", end="")
    print(f"\n  listen: {decoded}   look: {picture}")


def _stoi(reference: np.ndarray, audio: np.ndarray, rate: int) -> float:
    return float(stoi(reference, audio, rate))


if __name__ == "__main__":
    main(
        [Path(p) for p in sys.argv[1:]]
        or sorted(CLIPS.glob("speech_en_*.flac"))[:1] + sorted(CLIPS.glob("music_*.flac"))[:1]
    )
