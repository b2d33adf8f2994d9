"""Many signals pushed in one call: those in step run as one batch and are split again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from dacodec.engine.base import Pushed, State


def push_together(
    push: Callable[[Tensor, State], Pushed],
    pieces: Sequence[Tensor],
    states: Sequence[State],
    places: Sequence[Hashable],
) -> list[Pushed]:
    """:func:`push` of each signal's piece with its state, batched where possible.

    Args:
        pieces: [rows, ..., steps] of each signal.
        places: each signal's position, such that equally many steps at equal positions give equally many
            outputs.
    """
    batches: dict[Hashable, list[int]] = {}
    for i, (piece, state, place) in enumerate(zip(pieces, states, places, strict=True)):
        batches.setdefault((piece.shape[1:], form(state), place), []).append(i)
    pushed: dict[int, Pushed] = {}
    for batch in batches.values():
        counts = [len(pieces[i]) for i in batch]
        output, state = push(torch.cat([pieces[i] for i in batch]), join([states[i] for i in batch]))
        pushed.update(zip(batch, map(Pushed, torch.split(output, counts), split(state, counts)), strict=True))
    return [pushed[i] for i in range(len(pieces))]


def form(state: State) -> Hashable:
    """What two states must share to be joined."""
    if isinstance(state, tuple):
        return tuple(map(form, state))
    return None if state is None else tuple(state.shape[1:])


def join(states: Sequence[State]) -> State:
    """One state with the rows of all ``states``, which must have the same form."""
    first = states[0]
    if len(states) == 1 or first is None:
        return first
    if isinstance(first, tuple):
        return tuple(map(join, zip(*states, strict=True)))
    return torch.cat(list(states))


def split(state: State, counts: Sequence[int]) -> list[State]:
    """The inverse of :func:`join`: states of ``counts`` rows each."""
    if len(counts) == 1 or state is None:
        return [state] * len(counts)
    if isinstance(state, Tensor):
        # Copies: a view would keep, and pickle, all rows.
        return [part.clone() for part in torch.split(state, list(counts))]
    parts = [split(layer, counts) for layer in state]
    return [tuple(layers) for layers in zip(*parts, strict=True)]
