"""Downloads of encoders as a step of their own, with progress and cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pca_protect.surrogates.families import AUTO, expand
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.locate import locate
from pca_protect.surrogates.registry import PREFERRED, REGISTRY, SurrogateEntry

if TYPE_CHECKING:
    from pca_protect.cli.web.job_queue import Job


def missing_encoders(names: Sequence[str], *, offline: bool) -> tuple[str, ...]:
    """Encoders of `REGISTRY` that these names need and that are not installed; empty if the network may not be used."""
    from huggingface_hub import constants

    if offline or constants.HF_HUB_OFFLINE:
        return ()
    needed = expand([PREFERRED if name == AUTO else name for name in names])
    return tuple(name for name in dict.fromkeys(needed) if name in REGISTRY and not is_cached(REGISTRY[name]))


def download_encoder(job: Job[None], entry: SurrogateEntry) -> None:
    """Raises:
    Cancelled: the job was cancelled.
    ModelError: as `locate`.
    """
    phase = f"Downloading {entry.name}"

    def on_bytes(done: int, of: int) -> None:
        if of > 1_000_000:  # configurations are small
            job.set_progress(f"{phase}, {done // 1_000_000} of {of // 1_000_000} MB", min(1.0, done / of))
        else:
            job.set_progress(phase)

    job.set_progress(phase)
    locate(entry.name, offline=False, on_bytes=on_bytes)
