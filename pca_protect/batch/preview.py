"""Plans a run without loading or downloading a model."""

from __future__ import annotations

from dataclasses import dataclass

from pca_protect.batch.begin import Inputs, OnProgress, classify_inputs, find, no_progress
from pca_protect.batch.classify import JobStatus
from pca_protect.batch.request import Request
from pca_protect.config import ProtectConfig
from pca_protect.io.plan import TEST_ONLY, Job
from pca_protect.surrogates.families import AUTO, explain
from pca_protect.surrogates.registry import PREFERRED, REGISTRY
from pca_protect.surrogates.resolve import Resolved, downloads, foresee


@dataclass(frozen=True)
class Preview:
    """The plan of a run.

    Attributes:
        jobs, statuses: one per picture, in input order.
        messages: omitted files, what names of encoders stand for, and conditions on the outputs' names.
        config: the settings, see `Request.completed`.
        resolved: the encoders; None if no pending picture has a readable header.
        downloads: encoders of `auto` and of families that have to be downloaded first.
    """

    jobs: list[Job]
    statuses: list[JobStatus]
    messages: list[str]
    config: ProtectConfig
    resolved: Resolved | None
    downloads: tuple[str, ...] = ()

    @property
    def to_do(self) -> list[Job]:
        return [job for job, status in zip(self.jobs, self.statuses, strict=True) if status == "to do"]


def preview(request: Request, config: ProtectConfig, on_progress: OnProgress = no_progress) -> Preview:
    """Plan a run without loading or downloading a model. Assumes that existing outputs were made with its weights.

    Raises:
        UsageError: as for `run`.
        ModelError: `auto` would fall back, and the request forbids it.
    """
    inputs = find(request, on_progress)
    classified = classify_inputs(
        inputs,
        request,
        config,
        resolve=lambda: foresee(
            config.vaes,
            offline=request.offline,
            fallback=request.fallback,
            device=config.device,
            precision=config.precision,
        ),
        weights_digest=lambda _: None,
        on_progress=on_progress,
    )
    messages = messages_about(inputs, request) + explained(classified.resolved, classified.config, classified.choice)
    pending = () if classified.resolved is None else downloads(config.vaes, offline=request.offline)
    if AUTO in config.vaes and PREFERRED in pending:
        messages.append(
            f"VAE auto: `{PREFERRED}` is not in the local cache and would be downloaded; if that fails, the outputs are test "
            f"only and named NAME.{TEST_ONLY}.EXT unless -o names the file"
        )
    elif pending:
        megabytes = sum(REGISTRY[name].download_megabytes for name in pending)
        messages.append(f"would be downloaded: {', '.join(pending)} (about {megabytes} MB)")
    elif classified.resolved is not None:
        messages += classified.resolved.warnings
    return Preview(classified.jobs, classified.statuses, messages, classified.config, classified.resolved, pending)


def explained(resolved: Resolved | None, config: ProtectConfig, choice: str) -> list[str]:
    """What the names of encoders stand for, and the device's choice, see `Request.completed`. A fallback is a warning instead."""
    sentences = [choice] if choice and resolved is not None else []
    if resolved is not None and not resolved.fallback_warning:
        sentences += explain(config.vaes, resolved.names, config.scales)
    return sentences


def messages_about(inputs: Inputs, request: Request) -> list[str]:
    """What the search for pictures left out."""
    nothing_listed = request.from_file is not None and not inputs.plan.jobs
    return [f"{request.from_file}: lists no pictures; nothing to do"] if nothing_listed else inputs.found.messages()
