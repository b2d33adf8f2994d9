"""Metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from dacodec.serve.admission import Admission
from dacodec.serve.worker import Worker

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """A registry per application, so that several in one process stay apart."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "dacodec_requests", "Requests, by route and status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "dacodec_request_seconds",
            "From the head of a request to the first byte of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.gone = Counter(
            "dacodec_gone", "Clients that disconnected before their response was sent.", registry=registry
        )
        self._audio = Counter(
            "dacodec_audio_seconds", "Audio coded for requests, summed over channels.", registry=registry
        )
        self._batches = Histogram(
            "dacodec_batch_size", "Chunks and pushes coded together.", buckets=_BATCHES, registry=registry
        )

    def watch(self, admission: Admission, worker: Worker) -> None:
        for name, about, value in (
            ("dacodec_requests_open", "Requests being served.", lambda: admission.requests),
            ("dacodec_streams_open", "Open streams.", lambda: admission.sessions),
            (
                "dacodec_held_bytes",
                "Memory reserved for bodies, samples and results.",
                lambda: admission.held_bytes,
            ),
            ("dacodec_waiting", "Chunks and pushes waiting to be coded.", lambda: worker.waiting),
        ):
            Gauge(name, about, registry=self.registry).set_function(value)

    def coded(self, n: int, seconds: float) -> None:
        """Count a batch of ``n``, with ``seconds`` of offline audio."""
        self._batches.observe(n)
        self._audio.inc(seconds)

    def to_text(self) -> bytes:
        return generate_latest(self.registry)
