"""The work that runners do: recordings to rows. Reading needs no PyTorch, so that processes that only read start soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dacodec.corpus.items import Item
from dacodec.corpus.reading import Told, hear_warnings, read
from dacodec.corpus.rows import Row
from dacodec.corpus.settings import Settings
from dacodec.encoded import Model


@dataclass(frozen=True)
class Loading:
    """How to load a codec."""

    source: str
    device: str = "cpu"
    engine: str = "auto"
    dtype: str = "float32"
    threads: int = 1
    chunk_seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of an item: its rows, or why there are none."""

    key: str
    rows: tuple[Row, ...] = ()
    seconds: float = 0.0
    left_out: str | None = None
    failure: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tokenizing:
    """Items to rows."""

    loading: Loading
    settings: Settings
    model: Model

    def prepare(self, job: Sequence[Item]) -> list[tuple[Item, Told]]:
        hear_warnings()
        return [(item, read(item, self.settings, self.model.sampling_rate)) for item in job]

    def start(self) -> Callable[[Sequence[tuple[Item, Told]]], list[Outcome]]:
        from dacodec.corpus.coding import load_alone, outcomes

        hear_warnings()
        codec = load_alone(self.loading)
        return lambda prepared: [*outcomes(codec, self.settings, prepared)]

    def lost(self, one: Item, reason: str) -> Outcome:
        return Outcome(one.key, failure=reason)
