"""What the routes share: the models, the worker, the limits, and the reader threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from dacodec.audio.parts import Part
from dacodec.batching.chunks import chunks
from dacodec.codec import Codec
from dacodec.codec.coder import Codes
from dacodec.serve.admission import Admission, Slot
from dacodec.serve.codes import Coded
from dacodec.serve.coding import Decoding, Encoding
from dacodec.serve.limits import Limits
from dacodec.serve.metrics import Metrics
from dacodec.serve.models import Models
from dacodec.serve.recordings import Recording
from dacodec.serve.results import Result
from dacodec.serve.warned import collecting
from dacodec.serve.worker import Worker

T = TypeVar("T")

# The engine already has a thread for every core; these mostly wait for it.
_READERS = 2
_TURN_CHUNKS = 2


class Service:
    """
    Args:
        codecs: the first is the default. Streams wait for their longest ``chunk_seconds``.
    """

    def __init__(self, codecs: Sequence[Codec], limits: Limits) -> None:
        self.models, self.limits = Models(codecs), limits
        self.admission, self.metrics = Admission(limits), Metrics()
        turn = _TURN_CHUNKS * max(codec.chunk_seconds for codec in codecs)
        self.worker = Worker(turn, self.metrics.coded)
        self.metrics.watch(self.admission, self.worker)
        self._readers = ThreadPoolExecutor(_READERS, "dacodec-reader")

    def start(self) -> None:
        self.worker.start()

    def stop(self) -> None:
        self.worker.stop()
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def reading(self, call: Callable[[], T], warned: list[str] | None = None) -> T:
        """``call()`` in a reader thread, its warnings appended to ``warned``."""
        lines: list[str] = [] if warned is None else warned
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: collecting(call, lines))

    async def encode(self, codec: Codec, recording: Recording, n_quantizers: int, warned: list[str]) -> Codes:
        """Codes [C, K, F]."""
        encoding = Encoding(codec, self.worker, n_quantizers)
        parts = []
        while (chunk := await self.reading(recording.next_chunk, warned)) is not None:
            parts.append(await encoding.push(chunk))
        return np.concatenate(parts, axis=2)

    async def decode(
        self, coded: Coded, part: Part, format: str, subtype: str | None, slot: Slot
    ) -> memoryview:
        """An audio file; arguments and errors as for :class:`~dacodec.serve.results.Result`."""
        result = await self.reading(lambda: Result(coded, part, format, subtype, slot))
        decoding = Decoding(coded.codec, self.worker)
        codes = torch.from_numpy(result.codes.astype(np.int64))
        for chunk in chunks([codes], coded.codec.chunk_frames):
            audio = await decoding.push(chunk)
            await self.reading(lambda audio=audio: result.write(audio))  # type: ignore[misc]
        return await self.reading(result.close)


async def within(seconds: float, work: Awaitable[T], too_late: Callable[[], Exception]) -> T:
    """The result of ``work``; raises ``too_late()`` if it takes longer than ``seconds``."""
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise too_late() from None
