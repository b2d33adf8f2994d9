"""Whether exported files give what the model gives, and how fast.

Shapes: B rows, T samples, F frames, N codebooks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from dacodec.audio import read, resample
from dacodec.engine import Engine, NativeEngine, TorchEngine
from dacodec.engine.native.library import is_built
from dacodec.export.card import Card
from dacodec.model import DacModel

Array = NDArray[Any]
Run = Callable[..., list[Array]]

SPEECH = Path(__file__).parents[1] / "training" / "clips" / "speech_en_cards_16k.flac"
PIECE_FRAMES = 32  # of the streaming form
UNKNOWN = 1 << 40
_WARM_FRAMES = 8


@dataclass(frozen=True)
class Parity:
    """One row of the report."""

    what: str  # which file, or which engine
    agreeing_codes: float | None = None  # fraction of PyTorch's codes
    largest_error: float | None = None  # of the audio of PyTorch's codes
    times_real_time: float = 0.0


@dataclass(frozen=True)
class Report:
    """Files beside the native engine and PyTorch, on one signal."""

    signal: str
    threads: int
    rows: list[Parity]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """As Markdown."""
        lines = ["| | codes that agree | largest error | x real time |", "|---|---:|---:|---:|"]
        for row in self.rows:
            codes = "" if row.agreeing_codes is None else f"{100 * row.agreeing_codes:.3f} %"
            error = "" if row.largest_error is None else f"{row.largest_error:.1e}"
            lines.append(f"| {row.what} | {codes} | {error} | {row.times_real_time:.2f} |")
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        return (
            "# Parity\n\nBeside PyTorch in float32: the share of its codes that are the same, and the largest difference "
            f"from the audio that it decodes them to. Signal: {self.signal}. Threads: {self.threads}.\n\n"
            + self.table()
        )


def compare(model: DacModel, card: Card, folder: Path, files: list[str], seconds: float = 3.0) -> Report:
    """Run ``files`` of ``folder`` on a recording of speech, beside PyTorch and the native engine."""
    config = card.config
    hop = config.hop_length
    given = read(SPEECH)
    samples = resample(given.samples, given.sampling_rate, config.sampling_rate)[:1]
    n_frames = max(1, round(seconds * config.frames_per_second))
    audio = np.resize(samples, (1, 1, n_frames * hop))
    rows, reference = [], TorchEngine(model)
    codes, encoding = _timed(_encoding(reference), audio, hop)
    decoded, decoding = _timed(_decoding(reference), codes)
    length = n_frames / config.frames_per_second
    for file in files:
        run, name = _runner(folder / file), Path(file).stem
        if name.startswith("encoder"):
            made, spent = _timed(partial(_encode, run, card, name), audio, hop)
            rows.append(Parity(file, float((made == codes).mean()), None, length / spent))
        else:
            sound, spent = _timed(partial(_decode, run, card, name), codes)
            rows.append(Parity(file, None, float(np.abs(sound - decoded).max()), length / spent))
    rows.append(Parity("PyTorch, encoding", times_real_time=length / encoding))
    rows.append(Parity("PyTorch, decoding", times_real_time=length / decoding))
    if is_built():
        native = NativeEngine(model)
        made, encoding = _timed(_encoding(native), audio, hop)
        sound, decoding = _timed(_decoding(native), codes)
        agreeing, error = float((made == codes).mean()), float(np.abs(sound - decoded).max())
        rows.append(Parity("native engine, encoding", agreeing, None, length / encoding))
        rows.append(Parity("native engine, decoding", None, error, length / decoding))
    return Report(f"{length:.1f} s of English speech", torch.get_num_threads(), rows)


def _timed(run: Callable[[Array], Array], x: Array, unit: int = 1) -> tuple[Array, float]:
    """``run(x)`` and its seconds, after a short run that leaves the set-up of the first behind."""
    run(np.ascontiguousarray(x[..., : _WARM_FRAMES * unit]))
    began = time.perf_counter()
    return run(x), time.perf_counter() - began


def _encoding(engine: Engine) -> Callable[[Array], Array]:
    return lambda audio: engine.encode(torch.from_numpy(audio[:, 0])).numpy()


def _decoding(engine: Engine) -> Callable[[Array], Array]:
    return lambda codes: engine.decode(torch.from_numpy(codes)).numpy()


def _runner(path: Path) -> Run:
    """An exported file as a function from arrays to arrays, by the names of the inputs."""
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()

        def by_torch(**inputs: Array) -> list[Array]:
            with torch.no_grad():
                made = module(*map(torch.from_numpy, inputs.values()))
            return [tensor.numpy() for tensor in (made if isinstance(made, tuple) else (made,))]

        return by_torch
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda **inputs: session.run(None, inputs)


def _encode(run: Run, card: Card, name: str, audio: Array) -> Array:
    if not name.endswith("_stream"):
        return run(audio=audio)[0]
    hop, delay = card.config.hop_length, card.encoder_delay_frames
    padded = np.pad(audio, ((0, 0), (0, 0), (0, delay * hop)))
    pieces = [padded[:, :, i : i + PIECE_FRAMES * hop] for i in range(0, padded.shape[2], PIECE_FRAMES * hop)]
    made = _pushed(run, "audio", pieces, card.encoder_state, audio.shape[2] // hop, hop)
    return np.concatenate(made, 2)[:, :, delay:]


def _decode(run: Run, card: Card, name: str, codes: Array) -> Array:
    """Audio [B, T]."""
    if not name.endswith("_stream"):
        return run(codes=codes)[0][:, 0]
    n_frames, delay = codes.shape[2], card.decoder_delay_samples
    padded = np.pad(codes, ((0, 0), (0, 0), (0, card.decoder_flush_frames)))
    pieces = [padded[:, :, i : i + PIECE_FRAMES] for i in range(0, padded.shape[2], PIECE_FRAMES)]
    made = np.concatenate(_pushed(run, "codes", pieces, card.decoder_state, n_frames, 1), 2)
    return made[:, 0, delay : delay + n_frames * card.config.hop_length - card.lost_samples]


def _pushed(
    run: Run, name: str, pieces: list[Array], state_size: int, n_frames: int, hop: int
) -> list[Array]:
    """What a streaming file makes of ``pieces``; it learns the signal's length when the last frames come."""
    batch = len(pieces[0])
    state, frame, made = np.zeros((batch, state_size), np.float32), 0, []
    for piece in pieces:
        after = frame + piece.shape[2] // hop
        total = n_frames if after >= n_frames else UNKNOWN
        position = {"first_frame": np.full(batch, frame), "n_frames": np.full(batch, total)}
        output, state = run(**{name: np.ascontiguousarray(piece)}, state=state, **position)
        made.append(output)
        frame = after
    return made
