"""`pca-protect bench encoders`: shift, visibility and time per encoder, alone, in ensembles, and with universal perturbations.

Universal perturbations are trained on other pictures first, one per encoder and mode and one for all encoders, and kept in the
output folder.
"""

from __future__ import annotations

import pkgutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pca_protect.attack.visibility import visible_levels
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.arms.noise import uniform_noise
from pca_protect.eval.arms.perturb import generator_for
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.encoders_config import EncodersConfig
from pca_protect.eval.latent_shift import latent_shift
from pca_protect.eval.pictures import pictures_in, square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Results, Row
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate, ensemble
from pca_protect.surrogates.load import load_surrogate
from pca_protect.universal_training.crops import crops_of_files
from pca_protect.universal_training.train import TrainingSettings, crop_side, train_universal
from pca_protect.universals.files import write_universals
from pca_protect.universals.store import key_for

NOISE = "noise"
PUBLISHED = "paper"
_BUDGET_LEVELS = ProtectConfig.budget_levels


@dataclass(frozen=True)
class Arm:
    """One protection.

    Attributes:
        name: of the arm in tables.
        members: the encoders that it is computed against.
        preset: of the protection.
        is_universal: the preset starts from the universal perturbation of these members; otherwise from none.
    """

    name: str
    members: tuple[str, ...]
    preset: str
    is_universal: bool = False

    @property
    def key(self) -> str:
        return f"{self.name} | {' + '.join(self.members)}"


def arms_of(config: EncodersConfig) -> list[Arm]:
    """All arms, those of one encoder before those of several."""
    arms = []
    for name in config.vaes:
        alone = (name,)
        arms += [Arm(PUBLISHED, alone, "paper"), Arm("single", alone, "balanced"), Arm("8 steps", alone, "fast")]
        arms += [Arm("universal", alone, "instant", True), Arm("universal + 8 steps", alone, "fast", True)]
    for count in config.ensembles:
        if count <= len(config.vaes):
            arms += [Arm(f"ensemble of {count}", group, "balanced") for group in groups(config.vaes, count)]
    if len(config.vaes) > 1:
        arms += [Arm("all, 8 steps", config.vaes, "fast")]
        arms += [Arm("shared universal", config.vaes, "instant", True)]
        arms += [Arm("shared universal + 8 steps", config.vaes, "fast", True)]
    return arms


def groups(names: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Consecutive groups of this many names that hold each name; the last one goes on from the beginning."""
    return [
        tuple(names[(first + number) % len(names)] for number in range(count)) for first in range(0, len(names), count)
    ]


def measure_encoders(config: EncodersConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: an encoder or the device is unavailable.
    """
    bench = Bench("encoders", config, folder, on_progress, timed=True)
    surrogates = {name: _load(name, config) for name in config.vaes}
    results = bench.open(vae_weights={name: surrogate.digest for name, surrogate in surrogates.items()})
    arms = arms_of(config)
    universals = _Universals(config, folder, surrogates, results, on_progress)
    for arm in arms:
        for mode in config.modes if arm.is_universal else ():
            universals.train(arm.members, mode)
    places = {f"{arm.key} | {mode}": (arm, mode) for mode in config.modes for arm in arms}

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture = square_picture(path, config.size_px)
        for key in missing:
            if key == NOISE:
                changed = uniform_noise(picture.rgb, _BUDGET_LEVELS, generator_for(picture.rgb, config.seed))
                seconds = 0.0
                members = config.vaes
            else:
                arm, mode = places[key]
                members = arm.members
                universal = str(universals.path(members, mode)) if arm.is_universal else "never"
                request = ProtectConfig(mode=mode, preset=arm.preset, universal=universal, seed=config.seed)
                done = protect(picture, request, surrogate=_together(surrogates, members), evaluate=False)
                changed, seconds = done.picture.rgb, done.record.seconds
            yield (
                key,
                {
                    "seconds": seconds,
                    "visible": visible_levels(picture.rgb, changed),
                    "shift": {name: latent_shift(surrogates[name], picture.rgb, changed).latent for name in members},
                },
            )

    possible = [key for key, (arm, mode) in places.items() if not _refused(arm, mode, universals)]
    entries = bench.entries("encoders", [NOISE, *possible], measure)
    rows = [
        row
        for mode in config.modes
        for name in config.vaes
        for row in encoder_rows(name, mode, arms, entries, trained=universals.seconds)
    ]
    return bench.finish({"encoders": rows})


def encoder_rows(
    name: str,
    mode: str,
    arms: Sequence[Arm],
    entries: Mapping[str, Mapping[str, Json]],
    *,
    trained: Mapping[str, float],
) -> list[Row]:
    """One row per arm that has this encoder.

    `shift`: mean latent shift over the clean latent's norm; `over_noise`: its ratio to that of noise of the same budget;
    `of_published`: its ratio to that of the published loop against this encoder alone; `visible`: mean visibility in levels;
    `seconds`: mean per picture; `training_seconds`: of the universal perturbation; `break_even`: pictures after which these
    are saved, compared with 8 steps from the clean picture. A refused arm has no figures.
    """
    noise = statistics.fmean(one["shift"][name] for one in entries[NOISE].values())
    rows: list[Row] = []
    means: dict[str, tuple[float, float, float]] = {}
    seen: set[str] = set()
    for arm in arms:
        if name not in arm.members or arm.name in seen:
            continue
        seen.add(arm.name)
        measured = entries.get(f"{arm.key} | {mode}")
        training = trained.get(f"{' + '.join(arm.members)} | {mode}") if arm.is_universal else None
        row: Row = {"vae": name, "mode": mode, "arm": arm.name, "members": len(arm.members)}
        if measured:
            values = list(measured.values())
            shift = statistics.fmean(one["shift"][name] for one in values)
            seconds = statistics.fmean(one["seconds"] for one in values)
            visible = statistics.fmean(one["visible"] for one in values)
            means[arm.name] = (shift, visible, seconds)
            saved = means["8 steps"][2] - seconds if arm.preset == "instant" else 0.0
            row = {
                **row,
                "shift": shift,
                "over_noise": shift / noise,
                "of_published": shift / means[PUBLISHED][0],
                "visible": visible,
                "seconds": seconds,
                "training_seconds": training,
                "break_even": training / saved
                if training is not None and saved > 0 and len(arm.members) == 1
                else None,
                "n": len(values),
            }
        rows.append(row)
    columns = ("vae", "mode", "arm", "members", "shift", "over_noise", "of_published", "visible", "seconds")
    return [{column: row.get(column) for column in (*columns, "training_seconds", "break_even", "n")} for row in rows]


class _Universals:
    """Universal perturbations of this benchmark, in its folder; their training times are in its log."""

    def __init__(
        self,
        config: EncodersConfig,
        folder: Path,
        surrogates: Mapping[str, Surrogate],
        results: Results,
        on_progress: OnProgress | None,
    ) -> None:
        self._config, self._folder, self._surrogates = config, folder / "universals", surrogates
        self._results, self._on_progress = results, on_progress
        self.seconds: dict[str, float] = {}
        self._weak: set[str] = set()

    def path(self, members: Sequence[str], mode: str) -> Path:
        key = key_for([self._surrogates[name] for name in members], mode, _BUDGET_LEVELS)
        return self._folder / f"{key}.safetensors"

    def is_weak(self, members: Sequence[str], mode: str) -> bool:
        return self._name(members, mode) in self._weak

    def train(self, members: Sequence[str], mode: str) -> None:
        """Train one unless it is in the folder."""
        name, path = self._name(members, mode), self.path(members, mode)
        if name in self.seconds:
            return
        logged = f"universal | {name}"
        if logged not in self._results or not path.is_file():
            surrogate = _together(self._surrogates, members)
            crops = crops_of_files(
                pictures_in(Path(self._config.train), option="--train"), crop_side(surrogate), seed=self._config.seed
            )
            settings = TrainingSettings(mode, _BUDGET_LEVELS, steps=self._config.training_steps, seed=self._config.seed)
            report = self._on_progress
            on_step = None if report is None else lambda done, steps: report(f"training {name}", done, steps)
            started = time.perf_counter()
            universal = train_universal(surrogate, crops, settings, on_step=on_step)
            write_universals([universal], path)
            self._results.add(
                {
                    logged: {
                        "seconds": time.perf_counter() - started,
                        "gain": universal.gain,
                        "beats_noise": universal.beats_noise,
                    }
                }
            )
        self.seconds[name] = float(self._results[logged]["seconds"])
        if not self._results[logged]["beats_noise"]:
            self._weak.add(name)

    @staticmethod
    def _name(members: Sequence[str], mode: str) -> str:
        return f"{' + '.join(members)} | {mode}"


def _refused(arm: Arm, mode: str, universals: _Universals) -> bool:
    """Whether the preset refuses the universal perturbation as no better than noise."""
    takes_no_steps = ProtectConfig(mode=mode, preset=arm.preset).recipe.steps == 0
    return arm.is_universal and takes_no_steps and universals.is_weak(arm.members, mode)


def _together(surrogates: Mapping[str, Surrogate], names: Sequence[str]) -> AnySurrogate:
    return ensemble([surrogates[name] for name in names])


def _load(name: str, config: EncodersConfig) -> Surrogate:
    """An encoder by name, or from a function of one's own.

    Raises:
        UsageError: the function does not exist or returns something else.
    """
    module, colon, function = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), function)):
        return load_surrogate(name, device=config.device)
    try:
        made = pkgutil.resolve_name(name)()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name}: cannot be imported ({error}); put its folder on PYTHONPATH") from error
    if not isinstance(made, Surrogate):
        raise UsageError(f"{name}: returns {type(made).__name__}, not a Surrogate; see Surrogate.from_module")
    return made
