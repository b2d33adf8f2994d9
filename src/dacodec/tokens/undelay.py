"""A language model's rows of ids in, codes out as soon as all codebooks of a frame are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacodec.errors import RowError
from dacodec.tokens.layouts import Layout, find_layout
from dacodec.tokens.rows import Ids, as_rows

Codes = NDArray[np.uint16]


class BadId(NamedTuple):
    """An id that is not a code where one is expected; the frame before is repeated there."""

    row: int
    codebook: int
    frame: int
    id: int


@dataclass(frozen=True)
class UndelayState:
    """The position in a signal whose rows come one by one."""

    n_rows: int = 0  # pushed
    n_leading: int = 0  # of these, before the first frame
    n_frames: int = 0  # given out
    recent: tuple[tuple[int, ...], ...] = ()  # rows of frames that are not complete yet
    last: tuple[int, ...] = ()  # codes of the last frame given out
    ended: int | None = None  # the row in which the end was certain


class Cut(NamedTuple):
    """The rows that are not part of any complete frame."""

    leading_rows: int  # before the first frame
    unfinished_frames: int  # begun, without their last codebooks when the rows were over
    trailing_rows: int  # after the frame that says the end was whole


class Undelayed(NamedTuple):
    codes: Codes  # uint16 [K, F]
    state: UndelayState
    bad: tuple[BadId, ...]


class Undelay:
    """The inverse of a layout, row by row. Immutable; the position in a signal is a state, passed in and
    returned.

    A signal ends with the first frame whose first or slowest codebook holds an end id. However the rows are
    cut into pushes, the codes are those of :func:`invert`.
    """

    def __init__(self, layout: Layout | str, *, lenient: bool = False) -> None:
        """
        Args:
            lenient: cut what comes after the end, even codes, instead of refusing it.

        Raises:
            ConfigError: for an unknown name.
        """
        self.layout, self._lenient = find_layout(layout), lenient

    def push(self, rows: Any, state: UndelayState | None = None) -> Undelayed:
        """The codes of the frames that the next ``rows`` complete.

        Args:
            rows: integers [n, K], n any number, even 0.
            state: returned by the previous push; None starts a signal.

        Raises:
            RowError: for rows that are not integers or have the wrong number of codebooks, and for a row of
                codes after the end, unless lenient. ``row`` is its number, counted over all pushes.
        """
        state = state or UndelayState()
        ids = as_rows(rows, self.layout, state.n_rows)
        first, n_rows = state.n_rows - len(state.recent), state.n_rows + len(ids)
        if not state.recent and state.ended is None and state.n_rows == state.n_leading:
            n = self._leading(ids)
            ids, first = ids[n:], first + n
            state = replace(state, n_leading=state.n_leading + n)
        state = replace(state, n_rows=n_rows)
        if state.ended is not None:
            self._refuse_codes(ids, first, state.ended)
            return Undelayed(self._empty(), state, ())
        return self._undelayed(np.concatenate([self._recent(state), ids]), first, state)

    def push_valid(self, rows: Any, state: UndelayState | None = None) -> tuple[Undelayed, RowError | None]:
        """Like :meth:`push`, of the rows before the first wrong one; also the error for that one."""
        state = state or UndelayState()
        try:
            return self.push(rows, state), None
        except RowError as error:
            n_valid = 0 if error.row is None else error.row - state.n_rows
            return self.push(rows[:n_valid], state), error

    def flush(self, state: UndelayState) -> Cut:
        """What remains when the rows end: no codes, since no remaining frame is complete."""
        if state.ended is not None:
            return Cut(state.n_leading, 0, state.n_rows - state.ended - 1)
        return Cut(state.n_leading, self._begun(self._recent(state)), 0)

    def _undelayed(self, ids: Ids, first: int, state: UndelayState) -> Undelayed:
        """Of ``ids``, the rows from the first frame that was not given out; ``first`` is the first one's number."""
        n = max(0, len(ids) - self.layout.max_delay)
        frames = np.stack([ids[d : d + n, k] for k, d in enumerate(self.layout.delays)])  # [K, n]
        ends = np.isin(frames[[0, self.layout.slowest]], list(self.layout.ends)).any(0)
        if ends.any():
            n = int(ends.argmax())
        frames = frames[:, :n]
        codes, bad = self._mended(frames, first, state)
        state = replace(
            state, n_frames=state.n_frames + n, last=tuple(codes[:, -1].tolist()) if n else state.last
        )
        if ends.any():
            ended = first + n + self.layout.max_delay
            self._refuse_codes(ids[n + self.layout.max_delay + 1 :], ended + 1, ended)
            return Undelayed(codes, replace(state, recent=(), ended=ended), bad)
        return Undelayed(codes, replace(state, recent=tuple(map(tuple, ids[n:].tolist()))), bad)

    def _mended(self, frames: Ids, first: int, state: UndelayState) -> tuple[Codes, tuple[BadId, ...]]:
        """Codes of ``frames`` [K, n], with the frame before where an id is none; before the first one, code 0."""
        layout = self.layout
        codes = frames - np.array(layout.offsets)[:, None]
        wrong = (codes < 0) | (codes >= layout.codebook_size)
        bad = tuple(
            BadId(first + f + layout.delays[k], k, state.n_frames + f, int(frames[k, f]))
            for f, k in np.argwhere(wrong.T).tolist()
        )
        for _, k, frame, _ in bad:
            f = frame - state.n_frames
            codes[k, f] = codes[k, f - 1] if f else (state.last[k] if state.last else 0)
        return codes.astype(np.uint16), bad

    def _leading(self, ids: Ids) -> int:
        """How many rows come before the first frame."""
        others = np.flatnonzero(ids[:, 0] != self.layout.begin)
        return int(others[0]) if len(others) else len(ids)

    def _begun(self, ids: Ids) -> int:
        """Number of frames of which at least the first code is there."""
        ends = np.isin(ids[:, 0], list(self.layout.ends))
        return int(ends.argmax()) if ends.any() else len(ids)

    def _refuse_codes(self, ids: Ids, first: int, ended: int) -> None:
        codes = ids - np.array(self.layout.offsets)
        rows = ((codes >= 0) & (codes < self.layout.codebook_size)).all(1)
        if rows.any() and not self._lenient:
            raise RowError(
                f"codes after the end of the signal in row {ended}: begin another one",
                first + int(rows.argmax()),
            )

    def _recent(self, state: UndelayState) -> Ids:
        return np.array(state.recent, np.int64).reshape(-1, self.layout.n_codebooks)

    def _empty(self) -> Codes:
        return np.zeros((self.layout.n_codebooks, 0), np.uint16)
