"""How many codes are the same in half precision as in float32: the table of docs/accuracy.md.

python bench/dtypes.py [--device cuda]

On a GPU the CUDA engine's precisions are rows too. Without one, the operands of its fast precision are imitated: what
every convolution multiplies is rounded as that engine rounds it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dacodec import Codec
from dacodec.audio import read, resample

CLIPS = Path(__file__).parents[1] / "tests" / "data" / "clips"
SECONDS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="builtin")
    args = parser.parse_args()
    full = Codec.from_pretrained(args.model, precision="exact", device=args.device)
    audios = list(clips(full.sampling_rate))
    expected = [full.encode(audio, full.sampling_rate).codes for audio in audios]
    decoded = [full.decode(full.from_codes(codes)) for codes in expected]
    print("| what | device | same codes | same first codebook | decoded audio, error to signal |")
    print("|---|---|---|---|---|")
    for name, codec in rows(args.model, args.device):
        codes = [codec.encode(audio, codec.sampling_rate).codes for audio in audios]
        same = np.concatenate([a == b for a, b in zip(codes, expected, strict=True)], axis=2)
        audio = [codec.decode(codec.from_codes(c)) for c in expected]
        error = sum(float(((a - b) ** 2).sum()) for a, b in zip(audio, decoded, strict=True))
        signal = sum(float((b**2).sum()) for b in decoded)
        print(
            f"| {name} | {args.device} | {same.mean():.2%} | {same[:, 0].mean():.2%} "
            f"| {10 * np.log10(error / signal):.0f} dB |",
            flush=True,
        )


def clips(rate: int) -> Iterator[np.ndarray]:
    for path in sorted(CLIPS.glob("*.flac")):
        samples, given = read(path)
        yield resample(samples[:1, : SECONDS * given], given, rate)


def rows(model: str, device: str) -> Iterator[tuple[str, Codec]]:
    for dtype in (torch.float16, torch.bfloat16):
        yield str(dtype).removeprefix("torch."), Codec.from_pretrained(model, device=device, dtype=dtype)
    if device == "cpu":
        yield "TF32 (imitated)", imitated(model, tf32, tf32)
        yield "fast on a GPU (imitated)", imitated(model, pair, half)
    else:
        yield "fast", Codec.from_pretrained(model, precision="fast", device=device)


def imitated(model: str, encoder: Callable[[Tensor], Tensor], decoder: Callable[[Tensor], Tensor]) -> Codec:
    """A codec whose convolutions multiply rounded numbers, in float32."""
    codec = Codec.from_pretrained(model, engine="torch")
    dac = codec.engine.model
    for part, rounded in ((dac.encoder, encoder), (dac.decoder, decoder)):
        for module in part.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                module.weight.data = rounded(module.weight.data)
                module.register_forward_pre_hook(lambda _, inputs, rounded=rounded: (rounded(inputs[0]),))
    return codec


def half(x: Tensor) -> Tensor:
    return x.half().float()


def pair(x: Tensor) -> Tensor:
    return half(x) + half((x - half(x)) * 2048) / 2048


def tf32(x: Tensor) -> Tensor:
    """Ten bits after the point, the nearest."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


if __name__ == "__main__":
    main()
