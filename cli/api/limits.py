"""Limits of the server, so that no request takes more than its share of memory or time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Attributes:
    max_bytes: of a request body.
    max_pixels: of all frames of a picture together.
    max_jobs: requests that upload, wait or run at the same time; further ones are refused.
    body_seconds: time to send a request body.
    job_seconds: time that a job may run.
    kept_results: finished results kept for clients that fetch them later.
    kept_bytes: of these results together.
    kept_seconds: how long a result is kept.
    """

    max_bytes: int = 50_000_000
    max_pixels: int = 50_000_000
    max_jobs: int = 32
    body_seconds: float = 30.0
    job_seconds: float = 600.0
    kept_results: int = 100
    kept_bytes: int = 500_000_000
    kept_seconds: float = 600.0
