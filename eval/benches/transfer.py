"""`pca-protect bench transfer`: every surrogate against every target, measured on posteriors and edits, compared with noise of
the same budget."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.arms.noise import uniform_noise
from pca_protect.eval.arms.perturb import generator_for, protected
from pca_protect.eval.arms.registry import NOISE_LINF
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.configs import TransferConfig
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.latent_shift import LatentShift, latent_shift
from pca_protect.eval.measured import kept_edits, seed_line
from pca_protect.eval.metrics.load import load_metrics
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, square_of, square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import comparison, with_holm
from pca_protect.eval.trial import EditPrompt, Trial, prompts_for
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate, ensemble
from pca_protect.surrogates.load import load_surrogate

NOISE, EDITS = NOISE_LINF, "edits"

_SHIFTS = {"diffusion": ("latent",), "concentration": ("latent", "norm-lost"), "subtle": ("latent",)}
"""Metrics of a posterior: `latent`: ||m' - m|| / ||m||; `norm-lost`: 1 - ||m'|| / ||m||, the degree of collapse."""


@dataclass(frozen=True)
class Source:
    """The surrogates of one protection."""

    name: str
    members: tuple[str, ...]

    def variant(self, mode: str) -> str:
        """Key of the measurement."""
        return f"{self.name}, {mode}"


@dataclass(frozen=True)
class Matrix:
    """All measurements.

    Attributes:
        targets: name of each distinct encoder -> digest of its weights.
        shared: name of each distinct encoder -> all given names with the same weights.
        editors: editor -> the target with its encoder.
        sizes: editor -> side of its pictures in pixels.
        entries: picture -> variant -> measurement.
    """

    sources: list[Source]
    targets: dict[str, str]
    shared: dict[str, list[str]]
    editors: dict[str, str]
    sizes: dict[str, int]
    prompts: dict[str, tuple[EditPrompt, ...]]
    entries: Mapping[str, Mapping[str, Json]]


COLUMNS = (
    *("surrogate", "target", "mode", "same_encoder", "budget_levels", "objective", "editor", "edit_px", "metric"),
    *(
        "effect",
        "control",
        "noise_effect",
        "ratio",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "p_holm",
        "win_rate",
        "n",
        "kept",
        "seed_line",
        "above_seed",
        "seed_ci_low",
        "seed_ci_high",
        "seed_p_holm",
        "names",
    ),
)
"""`same_encoder`: the target is among the surrogates (white-box). `objective`: `posterior`, or 2 for the distance between edit
and clean edit. `control`: noise of the same levels; `p_holm` is adjusted over the pairs of one mode, objective and metric.
For edits, `edit_px` is the side to which the editor's pictures were resized, `seed_line` the distance between clean edits with
other seeds, and the next columns are the difference to it.
`names`: all given names with the target's weights."""


def transfer_rows(matrix: Matrix, config: TransferConfig) -> list[Row]:
    rows: list[Row] = []
    for source in matrix.sources:
        for mode in config.modes:
            for target in matrix.targets:
                common = {
                    "surrogate": source.name,
                    "target": target,
                    "mode": mode,
                    "same_encoder": target in source.members,
                    "budget_levels": config.budget_levels,
                    "names": ", ".join(matrix.shared[target]),
                }
                for metric in _SHIFTS[mode]:
                    effects, noise = (
                        {
                            picture: float(entry[variant]["shift"][target][metric])
                            for picture, entry in matrix.entries.items()
                        }
                        for variant in (source.variant(mode), NOISE)
                    )
                    rows.append(common | _row("posterior", metric, effects, noise))
                for editor, vae in matrix.editors.items():
                    if vae == target:
                        rows.append(common | _edit_row(matrix, editor, source.variant(mode), config.seeds))
    family = ("mode", "objective", "metric")
    of_seeds = with_holm([{**row, "p": row.get("seed_p")} for row in rows], family)
    rows = [
        {**row, "seed_p_holm": other["p_holm"]} for row, other in zip(with_holm(rows, family), of_seeds, strict=True)
    ]
    return [{column: row.get(column) for column in COLUMNS} for row in rows]


def _edit_row(matrix: Matrix, editor: str, variant: str, seeds: int) -> Row:
    prompts = matrix.prompts[editor]
    clean = {picture: entry["clean"][EDITS][editor] for picture, entry in matrix.entries.items()}
    kept = {picture: kept_edits(edits, prompts, seeds) for picture, edits in clean.items()}
    in_all = len(clean) * len(prompts) * seeds
    effects, noise = (
        {
            picture: statistics.fmean(
                float(entry[name][EDITS][editor]["edits"][edit]["to_clean"][VISIBILITY]) for edit in kept[picture]
            )
            for picture, entry in matrix.entries.items()
            if kept[picture]
        }
        for name in (variant, NOISE)
    )
    share = sum(map(len, kept.values())) / in_all if in_all else None
    beyond = comparison(effects, {picture: seed_line(clean[picture], kept[picture]) for picture in effects})
    return {
        **_row("2", VISIBILITY, effects, noise),
        "editor": editor,
        "edit_px": matrix.sizes[editor],
        "kept": share,
        "seed_line": beyond["noise_effect"],
        "above_seed": beyond["difference"],
        "seed_ci_low": beyond["ci_low"],
        "seed_ci_high": beyond["ci_high"],
        "seed_p": beyond["p"],
    }


def _row(objective: str, metric: str, effects: Mapping[str, float], noise: Mapping[str, float]) -> Row:
    return {"objective": objective, "metric": metric, "control": NOISE, **comparison(effects, noise)}


def measure_transfer(config: TransferConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: a VAE, an editor or the device is unavailable.
    """
    bench = Bench("transfer", config, folder, on_progress)
    surrogates = {name: load_surrogate(name, device=config.device, precision="fp32") for name in config.vaes}
    editors = [load_editor(name, device=config.device, precision=config.precision) for name in config.editors]
    sources, targets = _sources(surrogates, config), _distinct(surrogates)
    trials = [_trial(editor, config) for editor in editors]
    shares_encoder = {editor.name: _vae_of(editor, targets) for editor in editors}
    bench.open(
        vae_weights={name: surrogate.digest for name, surrogate in surrogates.items()},
        editor_weights={editor.name: editor.digest for editor in editors},
    )
    work = _Work(config, sources, targets, trials)
    entries = bench.entries("surrogates x targets", work.variants, work.measure)
    matrix = Matrix(
        sources=sources,
        targets={name: surrogate.digest for name, surrogate in targets.items()},
        shared={
            name: [other for other in surrogates if surrogates[other].digest == one.digest]
            for name, one in targets.items()
        },
        editors=shares_encoder,
        prompts={trial.editor.name: trial.prompts for trial in trials},
        sizes={editor.name: editor.size_px for editor in editors},
        entries={
            picture: {variant: found[picture] for variant, found in entries.items()} for picture in entries["clean"]
        },
    )
    return bench.finish({"transfer": transfer_rows(matrix, config)})


def _distinct(surrogates: dict[str, Surrogate]) -> dict[str, Surrogate]:
    """The first surrogate of every group with equal weights."""
    first: dict[str, tuple[str, Surrogate]] = {}
    for name, surrogate in surrogates.items():
        first.setdefault(surrogate.digest, (name, surrogate))
    return dict(first.values())


def _sources(surrogates: dict[str, Surrogate], config: TransferConfig) -> list[Source]:
    """Each distinct surrogate alone, and all without it."""
    distinct = list(_distinct(surrogates))
    alone = [Source(name, (name,)) for name in distinct]
    if not config.leave_one_out or len(distinct) < 3:
        return alone
    return alone + [Source(f"all but {name}", tuple(other for other in distinct if other != name)) for name in distinct]


def _trial(editor: Editor, config: TransferConfig) -> Trial:
    return Trial(
        editor=editor,
        settings=editor.settings,
        prompts=tuple(prompts_for(editor, config.prompts)),
        seeds=config.seeds,
        metrics=load_metrics([VISIBILITY], size_px=editor.size_px),
        batch=config.batch,
    )


def _vae_of(editor: Editor, targets: dict[str, Surrogate]) -> str:
    """The target with the editor's encoder."""
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
    ) -> None:
        self._config = config
        self._targets = targets
        self._trials = trials
        self._protections = {source.variant(mode): (source, mode) for source in sources for mode in config.modes}
        self.variants = ("clean", NOISE, *self._protections)

    def measure(self, path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture = square_picture(path, self._config.size_px).rgb
        seen = {trial.editor.name: _resized(picture, trial.editor.size_px) for trial in self._trials}
        clean = {trial.editor.name: trial.clean(seen[trial.editor.name]) for trial in self._trials}
        for variant in missing:
            if variant == "clean":
                yield variant, {EDITS: {name: measured for name, (_, measured) in clean.items()}}
                continue
            changed = self._changed(picture, variant)
            shifts = {name: latent_shift(target, picture, changed) for name, target in self._targets.items()}
            edits = {}
            for trial in self._trials:
                name, given = trial.editor.name, _resized(changed, trial.editor.size_px)
                edits[name] = trial.changed(seen[name], given, clean[name][0])[1]
            yield variant, {"shift": {name: shift_entry(shift) for name, shift in shifts.items()}, EDITS: edits}

    def _changed(self, picture: Rgb, variant: str) -> Rgb:
        config = self._config
        if variant == NOISE:
            return uniform_noise(picture, config.budget_levels, generator_for(picture, config.seed))
        source, mode = self._protections[variant]
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


def _resized(picture: Rgb, size_px: int) -> Rgb:
    """A square picture at the side of an editor."""
    return picture if len(picture) == size_px else square_of(Picture(picture), size_px).rgb


def shift_entry(shift: LatentShift) -> dict[str, float]:
    """A shift as metric -> value."""
    return {"latent": shift.latent, "norm-lost": shift.norm_lost}
