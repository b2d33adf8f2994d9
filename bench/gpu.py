"""The CUDA engine on one GPU, beside transformers: correctness, speed, memory, a live step, kernels.

    python bench/gpu.py                    # under five minutes; parts in the order of their worth
    python bench/gpu.py --device cpu --tiny    # a rehearsal without a GPU: every part runs, its figures mean nothing

Each part has a time limit, and the file in bench/results is written anew after each, so a run that is cut off leaves what
it has measured. The weights are random and preserve variance; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from weights import random_weights

from dacodec import DacConfig, DacModel
from dacodec.checkpoint.pretrained import load_model
from dacodec.engine import Engine, TorchEngine, make_engine
from dacodec.engine.cuda import CudaEngine, has_triton
from dacodec.engine.float32 import full_float32

FULL = DacConfig()  # 44.1 kHz, 9 codebooks
TINY = DacConfig(
    encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=(2, 4, 8, 8), codebook_size=64
)
REPEATS = 7


class Run(NamedTuple):
    device: torch.device
    model: DacModel
    shapes: list[tuple[int, float]]  # rows, seconds
    folder: Path

    @property
    def rate(self) -> int:
        return self.model.config.sampling_rate

    def audio(self, rows: int, seconds: float) -> Tensor:
        """[rows, T], a multiple of the hop, of the same noise always."""
        hop = self.model.config.hop_length
        generator = torch.Generator().manual_seed(0)
        return 0.3 * torch.randn(rows, round(seconds * self.rate / hop) * hop, generator=generator)


class Coder(NamedTuple):
    """Something to time: audio [B, T] on the CPU to codes [B, K, F] on the CPU, and back."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and short audio")
    parser.add_argument("--seconds", type=float, default=280, help="for all parts together")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = False  # its search for kernels takes half a minute a set of shapes
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(args.device, args.tiny, Path(folder))
        out = args.out or Path(__file__).parent / "results" / f"gpu_{name_of(run.device)}_{date.today()}.md"
        report = [f"# {title(run.device)}, PyTorch {torch.__version__}, {date.today()}", ""]
        end = time.monotonic() + args.seconds
        for part, share in PARTS:
            limit = min(end, time.monotonic() + share * args.seconds)
            report += [f"## {part.__doc__.splitlines()[0]}", ""]
            try:
                for line in part(run, limit):
                    print(line, flush=True)
                    report.append(line)
            except Exception as error:  # the other parts are worth having
                report.append(f"FAILED: {type(error).__name__}: {error}")
                print(report[-1], flush=True)
            report.append("")
            out.write_text("\n".join(report))
    print(f"written to {out}")


def prepared(device: str, tiny: bool, folder: Path) -> Run:
    config = TINY if tiny else FULL
    model = DacModel(config).eval()
    model.load_state_dict(random_weights({k: v.shape for k, v in model.state_dict().items()}, 1))
    model.save_pretrained(folder)
    shapes = [(1, 0.2), (3, 0.5)] if tiny else [(1, 1.0), (1, 10.0), (32, 10.0)]
    return Run(torch.device(device), model, shapes, folder)


# Parts


def correctness(run: Run, limit: float) -> Iterator[str]:
    """Codes and audio against float64 on the CPU"""
    audio = run.audio(2, 0.2 if run.rate < 44100 or run.model.config.codebook_size < 1024 else 2.0)
    reference = TorchEngine(loaded(run, "cpu").double())
    wanted = reference.encode(audio.double())
    decoded = reference.decode(wanted)
    yield "| | codes that differ | of | SDR of the decode |"
    yield "|---|---|---|---|"
    for name, engine in engines(run):
        codes, made = engine.encode(audio), engine.decode(wanted)
        sdr = 20 * torch.log10(decoded.norm() / (made - decoded).norm())
        yield f"| {name} | {int((codes != wanted).sum())} | {wanted.numel()} | {sdr:.0f} dB |"


def speed(run: Run, limit: float) -> Iterator[str]:
    """Speed: times real time (milliseconds), medians; peak memory, MiB a second of audio"""
    yield from table(run, limit, (*((n, coder(e)) for n, e in engines(run)), *theirs(run)))


def compiled(run: Run, limit: float) -> Iterator[str]:
    """The same with torch.compile in transformers, half precision"""
    yield from table(run, limit, theirs_compiled(run))


def live(run: Run, limit: float) -> Iterator[str]:
    """A live step: one frame pushed, milliseconds, median and worst"""
    yield "| | encode | decode |"
    yield "|---|---|---|"
    hop, n = run.model.config.hop_length, 60
    for name, engine in engines(run):
        audio = run.audio(1, (n + 1) * hop / run.rate)
        codes = engine.encode(audio)
        up, down = steps(engine.push_audio, audio, hop), steps(engine.push_codes, codes, 1)
        yield f"| {name} | {shown(up)} | {shown(down)} |"


def long(run: Run, limit: float) -> Iterator[str]:
    """Ten minutes of audio in one call: seconds, times real time, peak memory in GiB"""
    from dacodec.batching.chunks import chunk_frames, decode_chunks, encode_chunks

    audio = run.audio(1, 2 if run.model.config.codebook_size < 1024 else 600)
    yield "| | encode | decode | memory |"
    yield "|---|---|---|---|"
    for name, engine in engines(run):
        size = chunk_frames(engine)
        reset_peak(run.device)
        codes, up = clocked(lambda e=engine, s=size: torch.cat(list(encode_chunks(e, [audio], None, s)), 2))
        _, down = clocked(lambda e=engine, s=size, c=codes: torch.cat(list(decode_chunks(e, [c], s)), 1))
        seconds = audio.shape[1] / run.rate
        yield (
            f"| {name} | {up:.2f} ({seconds / up:.0f}) | {down:.2f} ({seconds / down:.0f}) "
            f"| {peak(run.device) / 2**30:.1f} |"
        )


def builtin(run: Run, limit: float) -> Iterator[str]:
    """The built-in model in batches: times real time (milliseconds)"""
    tiny = run.model.config.codebook_size < 1024
    model = load_model("builtin").model
    small = run._replace(
        model=model, shapes=[(2, 0.5) if tiny else (64, 10.0)], folder=run.folder / "builtin"
    )
    model.save_pretrained(small.folder)
    yield from table(small, limit, ((n, coder(e)) for n, e in engines(small)))


def floors(run: Run, limit: float) -> Iterator[str]:
    """Floors: what the arithmetic alone takes, at the rates that this device reaches in a large product"""
    from torch.utils.flop_counter import FlopCounterMode

    audio = run.audio(1, 1.0)
    model = loaded(run, "cpu")
    counts = []
    for work in (lambda: model.encoder(audio[:, None]), lambda: model.decode(audio_codes=codes_of(run))):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            work()
        counts.append(counter.get_total_flops() / (audio.shape[1] / run.rate))
    yield f"encoder {counts[0] / 1e9:.1f}, decoder {counts[1] / 1e9:.1f} GFLOP a second of audio"
    for dtype in (torch.float32, torch.float16):
        rate = product_rate(run.device, dtype, 512 if run.device.type == "cpu" else 8192)
        yield (
            f"{str(dtype).removeprefix('torch.')}: {rate / 1e12:.1f} TFLOP/s; at that rate {rate / counts[0]:.0f} "
            f"times real time to encode, {rate / counts[1]:.0f} to decode"
        )


def kernels(run: Run, limit: float) -> Iterator[str]:
    """Where the time goes: kernels of encode and decode, the largest batch"""
    if run.device.type != "cuda":
        yield "only on a GPU"
        return
    audio = run.audio(*run.shapes[-1])
    for name, engine in engines(run):
        codes = engine.encode(audio)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            engine.decode(engine.encode(audio))
        del codes
        averages = sorted(profile.key_averages(), key=lambda e: -e.device_time_total)[:8]
        total = sum(e.device_time_total for e in profile.key_averages())
        yield f"{name}, {total / 1e3:.1f} ms:"
        for event in averages:
            share = event.device_time_total / total
            yield f"- {share:.0%} {event.key[:90]} ({event.count} times)"


PARTS = (
    (correctness, 0.2),
    (speed, 0.35),
    (live, 0.1),
    (builtin, 0.1),
    (long, 0.15),
    (floors, 0.05),
    (kernels, 0.1),
    (compiled, 0.3),
)

# What is run


def engines(run: Run) -> Iterator[tuple[str, Engine]]:
    model = loaded(run, run.device)
    if run.device.type != "cuda":
        yield "torch (rehearsal)", TorchEngine(model)
        yield "cuda, exact (rehearsal)", CudaEngine(model, "exact", Rehearsed())
        return
    yield "dacodec, exact", make_engine(model, "cuda", "exact")
    if has_triton():
        yield "dacodec, fast", make_engine(model, "cuda", "fast")
    yield "dacodec, torch", make_engine(model, "torch")


class Rehearsed:
    """Where there is no CUDA: nothing is recorded, replaying computes anew."""

    def run(self, work: Callable[[], Any]) -> Any:
        return work()

    def record(self, work: Callable[[], Any]) -> Any:
        return Again(work)


class Again:
    def __init__(self, work: Callable[[], Tensor]) -> None:
        self.work, self.outcome = work, work()

    def replay(self) -> None:
        self.outcome.copy_(self.work())


def coder(engine: Engine) -> Coder:
    return Coder(engine.encode, engine.decode)


def theirs(run: Run) -> Iterator[tuple[str, Coder]]:
    """transformers' model as it is shipped, and in half precision."""
    with contextlib.suppress(ImportError):
        import transformers

        for name, dtype in (("as shipped", torch.float32), ("float16", torch.float16)):
            model = transformers.DacModel.from_pretrained(run.folder, dtype=dtype).to(run.device).eval()
            yield f"transformers {transformers.__version__}, {name}", their_coder(model, run.device, dtype)


def theirs_compiled(run: Run) -> Iterator[tuple[str, Coder]]:
    with contextlib.suppress(ImportError):
        import transformers

        model = transformers.DacModel.from_pretrained(run.folder, dtype=torch.float16).to(run.device).eval()
        model.encoder, model.decoder = torch.compile(model.encoder), torch.compile(model.decoder)
        name = f"transformers {transformers.__version__}, float16, torch.compile"
        yield name, their_coder(model, run.device, torch.float16)


def their_coder(model: Any, device: torch.device, dtype: torch.dtype) -> Coder:
    @torch.inference_mode()
    def encode(audio: Tensor) -> Tensor:
        return model.encode(audio[:, None].to(device, dtype)).audio_codes.cpu()

    @torch.inference_mode()
    def decode(codes: Tensor) -> Tensor:
        return model.decode(audio_codes=codes.to(device)).audio_values.float().cpu()

    return Coder(encode, decode)


def loaded(run: Run, device: str | torch.device) -> DacModel:
    return DacModel.from_pretrained(run.folder).to(device).eval()


def codes_of(run: Run) -> Tensor:
    config = run.model.config
    n_frames = round(run.rate / config.hop_length)
    return torch.zeros(1, config.n_codebooks, n_frames, dtype=torch.int64)


# How it is measured


def table(run: Run, limit: float, coders: Any) -> Iterator[str]:
    shapes = [
        f"{rows} x {seconds:g} s, {what}" for rows, seconds in run.shapes for what in ("encode", "decode")
    ]
    yield f"| | {' | '.join(shapes)} | memory |"
    yield f"|{'---|' * (len(shapes) + 2)}"
    for name, one in coders:
        cells, held = [], 0.0
        for rows, seconds in run.shapes:
            if time.monotonic() > limit:
                cells += ["no time left"] * 2
                continue
            audio, reached = run.audio(rows, seconds), rows * seconds
            reset_peak(run.device)
            codes = one.encode(audio)
            for work, given in ((one.encode, audio), (one.decode, codes)):
                took = timed(work, given, limit)
                cells.append(f"{reached / took:.0f} ({took * 1e3:.1f})")
            held = peak(run.device) / 2**20 / reached
        yield f"| {name} | {' | '.join(cells)} | {held:.0f} |"


def timed(work: Callable[[Tensor], Tensor], given: Tensor, limit: float) -> float:
    """Median seconds of a call whose input and result are on the CPU, so that nothing is left running."""
    work(given), work(given), work(given)  # kernels, and what is recorded
    times = []
    while len(times) < REPEATS and (len(times) < 2 or time.monotonic() < limit):
        times.append(clocked(lambda: work(given))[1])
    return statistics.median(times)


def clocked(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def steps(push: Any, signal: Tensor, size: int) -> list[float]:
    """Seconds of each push but the first half, in which shapes are recorded."""
    state, times = None, []
    for first in range(0, signal.shape[-1] - size, size):
        (_, state), took = clocked(lambda f=first, s=state: push(signal[..., f : f + size], s))
        times.append(took)
    return times[len(times) // 2 :]


def shown(times: list[float]) -> str:
    return f"{statistics.median(times) * 1e3:.2f}, {max(times) * 1e3:.2f}"


def product_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    a = torch.randn(size, size, device=device).to(dtype)

    def work() -> float:
        (a @ a)[0, 0].item()
        return 0.0

    with full_float32():
        work()
        return 2 * size**3 / min(clocked(work)[1] for _ in range(5))


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else 0.0


def title(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a rehearsal on the CPU"


def name_of(device: torch.device) -> str:
    return title(device).lower().replace(" ", "-")


if __name__ == "__main__":
    main()
