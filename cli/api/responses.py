"""Responses: a protected picture with its record in a header, and the state of a job as JSON."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, Field

from pca_protect.cli.api.jobs import Done, Failure, Job, State
from pca_protect.eval.check.verdict import Looks

RECORD_HEADER = "X-PCA-Record"
LARGEST_RECORD_BYTES = 2048
"""Of the header's value. Proxies reserve 4 or 8 KB for all headers of a response."""

_IN_HEADER = (
    *("input_sha256", "output_sha256", "width_px", "height_px", "frames", "config_digest", "test_only", "device"),
    *("max_change_levels", "psnr_db", "visible_levels", "gain_over_noise", "steps", "seconds"),
)
_CONFIG_IN_HEADER = (
    "mode",
    "preset",
    "budget_levels",
    "max_visibility",
    "until",
    "survive",
    "region",
    "scales",
    "seed",
)


class Problem(BaseModel):
    """An error."""

    detail: str = Field(description="One sentence with the value, the problem and the remedy.")


class JobView(BaseModel):
    """The state of a job."""

    id: str
    state: State
    position: int = Field(description="Jobs before this one.")
    progress: float = Field(description="Share of the work that is done, 0 to 1.")
    seconds: float | None = Field(description="Time that the job has run; null before it runs.")
    file: str | None = Field(description="Path of the protected picture, once it is done.")
    record: dict[str, Any] | None = Field(description="Settings and measurements, once it is done.")
    error: Problem | None = Field(description="Why the job failed.")


class VerdictView(BaseModel):
    """The verdict of one encoder."""

    looks: Looks
    mode: str | None = Field(description="The mode that leaves such pictures, if it looks protected.")
    why: str


class EncoderView(BaseModel):
    """The result of one encoder."""

    name: str
    verdict: VerdictView
    shift: dict[str, float] | None = Field(
        description="With an original: `latent` is the latent shift relative to the norm of the original's latent, "
        "`noise_latent` that of random noise of the same size, `gain_over_noise` their ratio, `norm` the ratio of the pictures' "
        "norms."
    )


class CheckView(BaseModel):
    """The result of a check. Further fields are measurements."""

    summary: list[str] = Field(description="The results in sentences.")
    vaes: list[EncoderView]
    width_px: int
    height_px: int
    seen_px: tuple[int, int] = Field(description="Width and height at which the picture was measured.")
    looked_at_px: tuple[int, int] = Field(description="Width and height of the measured centre.")
    warnings: list[str]


def job_view(job: Job[Any], request: Request, *, position: int) -> JobView:
    outcome = job.outcome.result() if job.settled else None
    return JobView(
        id=job.id,
        state=job.state,
        position=position,
        progress=1.0 if isinstance(outcome, Done) else round(job.progress, 4),
        seconds=None if job.seconds is None else round(job.seconds, 3),
        file=f"{job_path(job, request)}/file" if isinstance(outcome, Done) else None,
        record=outcome.record if isinstance(outcome, Done) else None,
        error=Problem(detail=outcome.detail) if isinstance(outcome, Failure) else None,
    )


def job_path(job: Job[Any], request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"


def file_response(done: Done) -> Response:
    """The result of a job; of a protected picture with its record."""
    headers = {RECORD_HEADER: record_header(done.record)} if done.record else {}
    return Response(done.data, media_type=done.media_type, headers=headers)


def record_header(record: dict[str, Any]) -> str:
    """The main part of a record as compact ASCII JSON of at most `LARGEST_RECORD_BYTES`. Warnings that do not fit are
    counted in `warnings_left_out`; the whole record is in the JSON of a job."""
    config, vae = record["config"], record["vae"]
    values = {name: record[name] for name in _IN_HEADER}
    values |= {name: config[name] for name in _CONFIG_IN_HEADER}
    values |= {
        "vae": vae["name"],
        "weights_sha256": vae["weights_sha256"],
        "version": record["versions"]["pca_protect"],
    }
    warnings = list(record["warnings"])
    for kept in range(len(warnings), -1, -1):
        values["warnings"] = warnings[:kept]
        if kept < len(warnings):
            values["warnings_left_out"] = len(warnings) - kept
        text = json.dumps(values, separators=(",", ":"))
        if len(text) <= LARGEST_RECORD_BYTES:
            return text
    return json.dumps({"output_sha256": record["output_sha256"], "test_only": record["test_only"]})
