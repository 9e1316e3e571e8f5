"""A cache of the encoders and the editor that were used last."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pca_protect.batch.estimate import Pace, measure_pace
from pca_protect.cli.console import duration
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.model_download import download_encoder, missing_encoders
from pca_protect.config import ProtectConfig
from pca_protect.device import resolve_device
from pca_protect.device_names import Device
from pca_protect.errors import ModelError
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.surrogates.families import AUTO, expand
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.load import load_resolved
from pca_protect.surrogates.registry import PREFERRED, REGISTRY, SurrogateEntry
from pca_protect.surrogates.resolve import resolve

if TYPE_CHECKING:
    from pca_protect.eval.editors.editor import Editor


class ModelCache:
    """Holds one set of encoders and one editor. Only the running job may call it, except `known_pace`, which is thread-safe.

    Args:
        device: see `ProtectConfig.device`.
        offline: use no network.
    """

    def __init__(self, device: Device, *, offline: bool) -> None:
        self._device: Device = device
        self._offline = offline
        self._encoders: tuple[tuple[str, ...], AnySurrogate] | None = None
        self._editor: Editor | None = None
        self._paces: dict[tuple[object, ...], Pace] = {}
        self._lock = threading.Lock()

    def encoders(self, names: tuple[str, ...]) -> AnySurrogate:
        """Raises:
        UsageError, ModelError, DeviceError: as `load_resolved`.
        """
        if self._encoders is None or self._encoders[0] != names:
            self._encoders = None  # frees memory first
            resolved = resolve(names, offline=self._offline, device=self._device)
            self._encoders = (names, load_resolved(resolved, device=self._device, offline=self._offline))
        return self._encoders[1]

    def editor(self, name: str) -> Editor:
        """Raises:
        UsageError, ModelError, DeviceError: as `load_editor`.
        """
        if self._editor is None or self._editor.name != name:
            self._editor = None
            with needs_extra():
                from pca_protect.eval.editors.load import load_editor

                self._editor = load_editor(name, device=self._device, offline=self._offline)
        return self._editor

    def known_pace(self, config: ProtectConfig) -> Pace | None:
        """The measured pace; None before `measure_pace`."""
        with self._lock:
            return self._paces.get(_pace_key(config))

    def measure_pace(self, job: Job[Pace], config: ProtectConfig) -> Pace:
        """Measures the pace with installed encoders. Downloads nothing.

        Raises:
            Cancelled: the job was cancelled.
            ModelError: an encoder is not installed.
            UsageError, DeviceError, PictureError: as `estimate.measure_pace`.
        """
        if not self._offline:
            for name in expand(config.vaes):
                entry = REGISTRY.get(PREFERRED if name == AUTO else name)
                if entry is not None and not is_cached(entry):
                    raise ModelError(f"unknown until {entry.name} is downloaded{self._rough_estimate(entry, config)}")
        encoders = self.encoders(config.vaes)
        pace = measure_pace(config, surrogate=encoders, on_step=lambda *_: job.set_progress("Measuring the pace"))
        with self._lock:
            self._paces[_pace_key(config)] = pace
        return pace

    def learn_pace(self, config: ProtectConfig, width_px: int, height_px: int, seconds: float) -> None:
        """Takes the pace from a finished picture: of one frame."""
        unit = Pace(1.0, 0.0).seconds(width_px, height_px, config)
        if unit > 0:
            pace = Pace(seconds / unit, 0.0)
        elif width_px and height_px:
            pace = Pace(0.0, seconds / (width_px * height_px))
        else:
            return
        with self._lock:
            self._paces[_pace_key(config)] = pace

    def download(self, job: Job[Any], names: tuple[str, ...], *, ignore_errors: bool) -> None:
        """Downloads the encoders that are not installed, with progress.

        Args:
            ignore_errors: continue with the next one; `encoders` knows alternatives.

        Raises:
            Cancelled: the job was cancelled.
            ModelError: an encoder is unavailable.
        """
        for name in missing_encoders(names, offline=self._offline):
            try:
                download_encoder(job, REGISTRY[name])
            except ModelError:
                if not ignore_errors:
                    raise

    def _rough_estimate(self, entry: SurrogateEntry, config: ProtectConfig) -> str:
        """A remark on the time that models of its size took; empty if unknown."""
        if entry.download_megabytes < _USUAL_MEGABYTES or resolve_device(self._device).type != "cpu":
            return ""
        typical = duration(config.recipe.steps * _CORE_SECONDS_PER_STEP)
        return f"; models of its size took {typical} per 256x256 px on one CPU core"


_USUAL_MEGABYTES = 100
"""Smaller models are distilled and faster."""
_CORE_SECONDS_PER_STEP = 6.1
"""For the architecture of Stable Diffusion's encoder at 256x256 px: arm `ours` of docs/measurements/cost-cpu.json."""


def _pace_key(config: ProtectConfig) -> tuple[object, ...]:
    """The settings that the time of a step depends on."""
    return (
        config.vaes,
        config.mode,
        config.survive,
        config.max_visibility is None,
        config.recipe.keep_best,
        config.scales,
    )
