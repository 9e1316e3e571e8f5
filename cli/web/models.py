"""Models in memory: those that were used last, so that the next picture does not wait for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pca_protect.batch.estimate import Pace, measure_pace
from pca_protect.cli.console import duration
from pca_protect.cli.extras import needs_extra
from pca_protect.config import Device, ProtectConfig
from pca_protect.device import resolve_device
from pca_protect.errors import ModelError
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.surrogates.families import AUTO, expand
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.load import load_resolved
from pca_protect.surrogates.registry import PREFERRED, REGISTRY, SurrogateEntry
from pca_protect.surrogates.resolve import resolve

if TYPE_CHECKING:
    from pca_protect.eval.editors.editor import Editor


class Models:
    """One set of encoders and one editor at a time. For jobs, of which one is at work at a time; but whoever asks may look
    up a pace meanwhile.

    Args:
        device: where to compute, as `ProtectConfig.device`.
        offline: touch no network.
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
            self._encoders = None  # room for the next ones
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
        """How fast it went when it was measured."""
        with self._lock:
            return self._paces.get(_kind(config))

    def measure_pace(self, config: ProtectConfig) -> Pace:
        """With models that are here; nothing is downloaded for it.

        Raises:
            ModelError: a model is not here yet.
            UsageError, DeviceError, PictureError: it cannot be done.
        """
        if not self._offline:
            for name in expand(config.vaes):
                entry = REGISTRY.get(PREFERRED if name == AUTO else name)
                if entry is not None and not is_cached(entry):
                    raise ModelError(f"that is known once {entry.name} is downloaded{self._beforehand(entry, config)}")
        pace = measure_pace(config, surrogate=self.encoders(config.vaes))
        with self._lock:
            self._paces[_kind(config)] = pace
        return pace

    def _beforehand(self, entry: SurrogateEntry, config: ProtectConfig) -> str:
        """What is known of a model of the usual size without having it."""
        if entry.download_megabytes < _USUAL_MEGABYTES or resolve_device(self._device).type != "cpu":
            return ""
        took = duration(config.recipe.steps * _CORE_SECONDS_PER_STEP)
        return f"; others of its size took {took} for every 256x256 px on one processor core"


_USUAL_MEGABYTES = 100
"""Smaller ones are distilled, and faster."""
_CORE_SECONDS_PER_STEP = 6.1
"""Of Stable Diffusion's architecture at 256x256 px: arm `ours` of docs/measurements/cost-cpu.json."""


def _kind(config: ProtectConfig) -> tuple[object, ...]:
    """What a step takes its time by."""
    return config.vaes, config.mode, config.survive, config.max_visibility is None, config.recipe.keep_best
