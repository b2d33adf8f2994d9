"""The README of an exported model."""

from __future__ import annotations

from importlib.resources import files
from string import Template

from dacodec.export.card import Card

EXAMPLES = files("dacodec.export") / "examples"
_LANGUAGES = {
    "python": "Python",
    "cpp": "C++",
    "javascript": "JavaScript",
    "rust": "Rust",
    "swift": "Swift",
}
_HEAD = """# $NAME for ONNX Runtime

The Descript Audio Codec model `$NAME`, exported by dacodec $VERSION: $RATE Hz, frames of $HOP samples, $CODEBOOKS
codebooks of $SIZE codes. Licence of the weights: $LICENCE. Fingerprint: `$FINGERPRINT`. Name, licence, fingerprint and
config are in each file's metadata; how exactly the files agree with the model is in `report.md`.

| file | inputs | outputs |
|---|---|---|
| `encoder` | `audio` float32 [batch, 1, samples], a multiple of $HOP samples | `codes` int64 [batch, $CODEBOOKS, frames] |
| `decoder` | `codes` int64 [batch, 1 to $CODEBOOKS, frames] | `audio` float32 [batch, 1, samples] |

Batch, samples, frames and the decoder's codebooks are dynamic axes. The first K codebooks of `codes` are the codes
with K codebooks. $LENGTH
"""
_STREAMING = """
## In pieces

`encoder_stream` and `decoder_stream` take a signal piece by piece, any number of frames at a time (at least one), and
give the same as the whole signal.

| input | |
|---|---|
| `audio` or `codes` | the next frames |
| `state` | float32 [batch, $ENCODER_STATE] (encoder) or [batch, $DECODER_STATE] (decoder): zeros at first, then `next_state` of the push before |
| `first_frame` | int64 [batch], frames pushed before |
| `n_frames` | int64 [batch], frames of the whole signal; 2^40 while that is unknown |

Each push gives as many frames as it takes, of $ENCODER_DELAY frames (encoder) or $DECODER_DELAY samples (decoder)
earlier: leave that many out at the start. At the end of the signal push $ENCODER_DELAY frames (encoder) or $FLUSH frames
(decoder) more, of any content, with the true `n_frames`. To begin in mid-signal, start with zeros as the state and
discard the first frames: after $HALO frames the decoder's audio is exact.
"""
_PYTORCH = """# $NAME for PyTorch

The Descript Audio Codec model `$NAME`, exported by dacodec $VERSION with `torch.export`. Licence of the weights: $LICENCE.
Fingerprint: `$FINGERPRINT`. How exactly the files agree with the model is in `report.md`.

```python
import torch

encoder = torch.export.load("encoder.pt2").module()
decoder = torch.export.load("decoder.pt2").module()
codes = encoder(torch.zeros(1, 1, $SAMPLES))  # [batch, 1, samples] to int64 [batch, $CODEBOOKS, frames]
audio = decoder(codes)  # [batch, 1, samples]
print(codes.shape, audio.shape)
```
"""


def readme(card: Card, format: str, streaming: bool) -> str:
    """The text, with the names, shapes and numbers of the model that ``card`` describes."""
    text = _PYTORCH if format == "torch-export" else _HEAD
    if format == "onnx":
        for language, name in _LANGUAGES.items():
            example = (EXAMPLES / f"{language}.txt").read_text("utf-8")
            text += f"\n## {name}\n\n```{language}\n{example}```\n"
    if streaming:
        text += _STREAMING
    return Template(text).substitute(_values(card))


def _values(card: Card) -> dict[str, object]:
    config, hop = card.config, card.config.hop_length
    frames = round(config.frames_per_second)
    lost = card.lost_samples
    return {
        "NAME": card.name,
        "VERSION": card.version,
        "LICENCE": card.licence,
        "FINGERPRINT": card.fingerprint,
        "RATE": config.sampling_rate,
        "HOP": hop,
        "CODEBOOKS": config.n_codebooks,
        "FEWER": max(1, config.n_codebooks // 2),
        "SIZE": config.codebook_size,
        "FRAMES": frames,
        "SAMPLES": frames * hop,
        "LENGTH": f"Decoding gives {lost} samples less than {hop} a frame (odd strides lose them)."
        if lost
        else f"Decoding gives {hop} samples a frame.",
        "ENCODER_STATE": card.encoder_state,
        "DECODER_STATE": card.decoder_state,
        "ENCODER_DELAY": card.encoder_delay_frames,
        "DECODER_DELAY": card.decoder_delay_samples,
        "FLUSH": card.decoder_flush_frames,
        "HALO": card.decoder_halo_frames,
    }
