"""Metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_BATCHES = (1, 2, 4, 8, 16)

MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Args:
    waiting: number of jobs that wait or run.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "pca_protect_requests",
            "HTTP requests by route and status code.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "pca_protect_job_seconds", "Time that jobs ran.", ("state",), buckets=_SECONDS, registry=self._registry
        )
        self._batch = Histogram(
            "pca_protect_batch_pictures", "Pictures per batch.", buckets=_BATCHES, registry=self._registry
        )
        jobs = Gauge("pca_protect_jobs", "Jobs that wait or run.", registry=self._registry)
        jobs.set_function(waiting)

    def count_request(self, route: str, status: int) -> None:
        """`route` is the pattern of the path, so that the number of series is bounded."""
        self._requests.labels(route, str(status)).inc()

    def observe_job(self, state: str, seconds: float) -> None:
        self._seconds.labels(state).observe(seconds)

    def observe_batch(self, pictures: int) -> None:
        self._batch.observe(pictures)

    def text(self) -> bytes:
        return generate_latest(self._registry)
