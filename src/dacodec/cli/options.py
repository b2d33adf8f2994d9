"""Options shared by several commands, and a spinner for the terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacodec.errors import shown

if TYPE_CHECKING:
    from dacodec.codec import Codec


def inputs(what: str) -> Any:
    return typer.Argument(
        metavar="IN...", help=f"{what}, folders with all below them, globs, or - for a pipe."
    )


def output(names: str) -> Any:
    """The option for outputs; ``names`` says how they are named."""
    return typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help=f"A file for one input, else a folder; - for a pipe. Default: beside the inputs. {names}",
    )


Model = Annotated[
    str, typer.Option(help="A model's name, a folder, a hub id such as descript/dac_44khz, or a .pth file.")
]
OtherModel = Annotated[str | None, typer.Option("--model", help="Default: the model that the file names.")]
AllowOtherModel = Annotated[
    bool, typer.Option("--allow-other-model", help="Decode even if another model made the codes.")
]
NQuantizers = Annotated[int | None, typer.Option(help="Codebooks to use. Default: all.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Engine = Annotated[str, typer.Option(help="auto, native, cuda, torch or torch-compile.")]
Precision = Annotated[
    str | None, typer.Option(help="exact or fast. Default: fast on a CPU, exact on a GPU (docs/accuracy.md).")
]
Dtype = Annotated[str, typer.Option(help="Precision of the model: float32, float16 or bfloat16.")]
Chunk = Annotated[
    float | None,
    typer.Option(help="Seconds computed at once: affects memory and speed, not the result.", min=0.001),
]
Jobs = Annotated[int, typer.Option("-j", "--jobs", help="Files at a time.", min=1)]
Start = Annotated[float, typer.Option(help="Begin here, in seconds.")]
Duration = Annotated[float | None, typer.Option(help="Take this many seconds.")]
Damaged = Annotated[
    str,
    typer.Option(help="Damaged recordings: error to refuse them, keep to take what can be decoded."),
]
Track = Annotated[
    int | None,
    typer.Option(help="Which of several audio tracks, from 1. Default: the file's own.", min=1),
]
Suffix = Annotated[
    list[str] | None,
    typer.Option(help="Also take files with this suffix from folders, such as .xyz; may be repeated."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Raw = Annotated[
    str | None, typer.Option(help="The pipe holds raw samples: s16le, s32le or f32le, interleaved.")
]


def codec_loader(
    device: str,
    engine: str,
    dtype: str = "float32",
    chunk_seconds: float | None = None,
    n_jobs: int = 1,
    precision: str | None = None,
) -> Callable[[str], Codec]:
    """A function that returns the codec of a model, loading it on first use."""
    loaded: dict[str, Codec] = {}
    lock = threading.Lock()

    def load(model: str) -> Codec:
        with lock:
            if model not in loaded:
                loaded[model] = _load(model, device, engine, dtype, chunk_seconds, n_jobs, precision)
            return loaded[model]

    return load


def _load(
    model: str,
    device: str,
    engine: str,
    dtype: str,
    chunk_seconds: float | None,
    n_jobs: int,
    precision: str | None,
) -> Codec:
    import torch

    from dacodec.codec import Codec

    dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype not in dtypes:
        raise typer.BadParameter(f"{dtype!r} is not one of {', '.join(dtypes)}", param_hint="--dtype")
    if n_jobs > 1:  # no more threads in all than a single job has
        torch.set_num_threads(max(1, torch.get_num_threads() // n_jobs))
    with working(f"loading {model}"):
        codec = Codec.from_pretrained(
            model, device=device, engine=engine, precision=precision, dtype=dtypes[dtype]
        )
    if chunk_seconds is not None:
        codec.chunk_seconds = chunk_seconds
    return codec


def working(what: str) -> AbstractContextManager[Any]:
    """A spinner on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    return console.status(Text(shown(what))) if console.is_terminal else nullcontext()


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says how far it is, nothing elsewhere."""
    with working("starting") as status:
        yield (lambda line: None) if status is None else (lambda line: status.update(shown(line)))
