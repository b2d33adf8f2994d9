"""Work on a device recorded once and replayed as a whole.

A pass of the network is a hundred kernels or more. For short audio, launching them one by one from Python takes longer
than they run; a CUDA graph launches all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import torch

Result = TypeVar("Result")


class Recording(Protocol[Result]):
    """Recorded work. Replaying it reads and writes the same memory again."""

    outcome: Result

    def replay(self) -> None: ...


class Device(Protocol):
    """Runs and records work."""

    def run(self, work: Callable[[], Result]) -> Result: ...

    def record(self, work: Callable[[], Result]) -> Recording[Result]: ...


class CudaGraph(Generic[Result]):
    """A recording by CUDA."""

    outcome: Result

    def __init__(self, work: Callable[[], Result], stream: Any, pool: Any = None) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile.
        with torch.cuda.graph(self.graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self.outcome = work()

    def replay(self) -> None:
        self.graph.replay()


class Cuda:
    """Runs and records on one side stream, as recording demands.

    Args:
        shared_pool: recordings share memory for intermediate results. Only one may run at a time, and its outcome is valid
            until the next one runs.
    """

    def __init__(self, device: torch.device | None = None, shared_pool: bool = False) -> None:
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle() if shared_pool else None

    def run(self, work: Callable[[], Result]) -> Result:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outcome = work()
        torch.cuda.current_stream().wait_stream(self.stream)
        return outcome

    def record(self, work: Callable[[], Result]) -> Recording[Result]:
        return CudaGraph(work, self.stream, self._pool)
