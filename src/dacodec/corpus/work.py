"""The work that runners do: recordings to rows. Reading needs no PyTorch, so that processes that only read start soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dacodec.corpus.items import Item
from dacodec.corpus.reading import Told, hear_warnings, read
from dacodec.corpus.rows import Outcome
from dacodec.corpus.settings import Loading, Settings
from dacodec.encoded import Model


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
