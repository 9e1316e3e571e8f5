"""`pca-protect bench transfer`: every surrogate against every target, on posteriors and on edits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.linalg import vector_norm

from pca_protect.config import ProtectConfig
from pca_protect.device import resolve_device
from pca_protect.errors import ModelError, UsageError
from pca_protect.eval.arms.noise import uniform_noise
from pca_protect.eval.arms.perturb import generator_for, protected
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.environment import environment
from pca_protect.eval.metrics.load import load_metrics
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, readable, square_picture, to_pixels
from pca_protect.eval.results import Finished, Json, OnProgress, Results
from pca_protect.eval.transfer.config import TransferConfig
from pca_protect.eval.transfer.table import EDITS, NOISE, Matrix, Source, transfer_rows
from pca_protect.eval.trial import Trial, prompts_for
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate, ensemble
from pca_protect.surrogates.load import load_surrogate


def measure_transfer(config: TransferConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: a VAE, an editor or the device cannot be had.
    """
    report = on_progress or (lambda label, done, in_all: None)
    device = resolve_device(config.device)
    pictures, failures = readable(Path(config.images), config.pictures)
    surrogates = {name: load_surrogate(name, device=config.device, precision="fp32") for name in config.vaes}
    editors = [load_editor(name, device=config.device, precision=config.precision) for name in config.editors]
    sources, targets = _sources(surrogates, config), _distinct(surrogates)
    trials = [_trial(editor, config) for editor in editors]
    results = Results(
        folder,
        command="pca-protect bench transfer",
        config={
            **config.as_dict(),
            "pictures": {path.name: digest for path, digest in pictures.items()},
            "vae_weights": {name: surrogate.digest for name, surrogate in surrogates.items()},
            "editor_weights": {editor.name: editor.digest for editor in editors},
        },
        environment=environment(device),
    )
    work = _Work(config, sources, targets, trials, results)
    measured = []
    for done, path in enumerate(pictures):
        report("surrogates x targets", done, len(pictures))
        try:
            work.measure(path)
        except ModelError as error:
            failures.append({"editor": "", "picture": path.name, "reason": str(error)})
            continue
        measured.append(path.name)
    matrix = Matrix(
        sources=sources,
        targets={name: surrogate.digest for name, surrogate in targets.items()},
        shared={
            name: [other for other in surrogates if surrogates[other].digest == one.digest]
            for name, one in targets.items()
        },
        editors={editor.name: _vae_of(editor, targets) for editor in editors},
        prompts={trial.editor.name: trial.prompts for trial in trials},
        entries={picture: work.entries(picture) for picture in measured},
    )
    tables = {"transfer": transfer_rows(matrix, config), **({"failures": failures} if failures else {})}
    return Finished(tables, results.write_tables(tables))


def _distinct(surrogates: dict[str, Surrogate]) -> dict[str, Surrogate]:
    """The first of every group with equal weights."""
    first: dict[str, tuple[str, Surrogate]] = {}
    for name, surrogate in surrogates.items():
        first.setdefault(surrogate.digest, (name, surrogate))
    return dict(first.values())


def _sources(surrogates: dict[str, Surrogate], config: TransferConfig) -> list[Source]:
    """Each distinct surrogate alone, and all but each."""
    distinct = list(_distinct(surrogates))
    alone = [Source(name, (name,)) for name in distinct]
    if not config.leave_one_out or len(distinct) < 3:
        return alone
    return alone + [Source(f"all but {name}", tuple(other for other in distinct if other != name)) for name in distinct]


def _trial(editor: Editor, config: TransferConfig) -> Trial:
    if editor.size_px != config.size_px:
        raise UsageError(
            f"{editor.name} edits pictures of {editor.size_px} px and the benchmark has {config.size_px} px; "
            f"give --size {editor.size_px} and editors of one size"
        )
    return Trial(
        editor=editor,
        settings=editor.settings,
        prompts=tuple(prompts_for(editor, config.prompts)),
        seeds=tuple(range(config.seeds)),
        metrics=load_metrics([VISIBILITY], size_px=editor.size_px),
        batch=config.batch,
    )


def _vae_of(editor: Editor, targets: dict[str, Surrogate]) -> str:
    """The target whose encoder an editor shares."""
    for name, surrogate in targets.items():
        if surrogate.digest == editor.surrogate.digest:
            return name
    raise UsageError(
        f"{editor.name}: its VAE is none of {', '.join(targets)}; add it with --vae, or leave this editor out"
    )


class _Work:
    def __init__(
        self,
        config: TransferConfig,
        sources: Sequence[Source],
        targets: dict[str, Surrogate],
        trials: Sequence[Trial],
        results: Results,
    ) -> None:
        self._config = config
        self._sources = sources
        self._targets = targets
        self._trials = trials
        self._results = results

    def entries(self, picture: str) -> dict[str, Json]:
        """Variant -> measurement of a picture of which everything was measured."""
        return {variant: self._results[f"{picture} | {variant}"] for variant in self._variants()}

    def measure(self, path: Path) -> None:
        """Measure what is missing of one picture."""
        missing = [variant for variant in self._variants() if f"{path.name} | {variant}" not in self._results]
        if not missing:
            return
        picture = square_picture(path, self._config.size_px).rgb
        clean = {trial.editor.name: trial.clean(picture) for trial in self._trials}
        for variant in missing:
            if variant == "clean":
                entry: Json = {EDITS: {name: measured for name, (_, measured) in clean.items()}}
            else:
                changed = self._changed(picture, variant)
                entry = {
                    "shift": self._shift(picture, changed),
                    EDITS: {
                        trial.editor.name: trial.changed(picture, changed, clean[trial.editor.name][0])[1]
                        for trial in self._trials
                    },
                }
            self._results.add({f"{path.name} | {variant}": entry})

    def _variants(self) -> list[str]:
        return ["clean", NOISE, *(source.variant(mode) for source in self._sources for mode in self._config.modes)]

    def _changed(self, picture: Rgb, variant: str) -> Rgb:
        config = self._config
        if variant == NOISE:
            return uniform_noise(picture, config.budget_levels, generator_for(picture, config.seed))
        source, mode = next(
            (source, mode) for source in self._sources for mode in config.modes if source.variant(mode) == variant
        )
        request = ProtectConfig(
            mode=mode,
            preset=config.preset,
            budget_levels=config.budget_levels,
            vae=source.members,
            for_unknown=len(source.members) > 1,
            seed=config.seed,
        )
        against = ensemble([self._targets[name] for name in source.members])
        return protected(picture, request, against)

    def _shift(self, picture: Rgb, changed: Rgb) -> dict[str, dict[str, float]]:
        """For each target: how far the posterior mean moved, in norms of the clean one, and how much of the norm is gone."""
        found = {}
        for name, target in self._targets.items():
            with torch.no_grad():
                clean, now = (
                    target.posterior(to_pixels(Picture(rgb)).to(target.device)).mean for rgb in (picture, changed)
                )
            norm = vector_norm(clean)
            found[name] = {
                "latent": float(vector_norm(now - clean) / norm),
                "norm-lost": float(1 - vector_norm(now) / norm),
            }
        return found
