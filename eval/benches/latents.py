"""`pca-protect bench latents`: does an editor read the directions in which an attack moves the latent?

An attack's shift of the latent is compared with Gaussian noise that has the same size in every direction of the channels but no
relation to the picture, and with the attack's own shift at other positions. Every direction is then tried alone, at one size:
an editor may ignore the directions in which an encoder gives way.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pca_protect.errors import UsageError
from pca_protect.eval.arms.conditioning import knows_conditioning
from pca_protect.eval.arms.perturb import refusal
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.latents_config import LatentsConfig
from pca_protect.eval.benches.latents_work import (
    ELSEWHERE,
    SAME_COVARIANCE,
    SHIFT,
    THROUGH_UNET,
    LatentsWork,
    ranks_of,
)
from pca_protect.eval.editors.latents import require_latents
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.pictures import square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import comparison, with_holm
from pca_protect.eval.trial import prompts_for

COLUMNS = (
    *("editor", "arm", "budget_levels", "visibility", "size", "common", "two_directions", "seed_line", "effect"),
    *("success", "control", "noise_effect", "control_success", "ratio", "difference", "ci_low", "ci_high", "p"),
    *("p_holm", "n"),
)
"""`size`: of the shift, see `latent_changes.size`. `common`: share of its energy that all positions have in common.
`two_directions`: share of the two largest directions of the channels. `effect`, `noise_effect`: FLIP between the clean edit
and the edit of the shifted latent, or of the control. `success`: share of edits nearer to the known target than an edit without
a prompt; None if no target is known. `p_holm` is adjusted over the arms of one editor, budget and control."""

DIRECTION_COLUMNS = ("editor", "arm", "budget_levels", "rank", "share", "effect", "success", "n")
"""Directions of the channels, `rank` 0 with the largest `share` of the energy of an arm's shift. `effect`, `success`: of noise of
`size` 1 along this direction alone."""

_Entries = Mapping[str, Mapping[str, Json]]
"""`clean`, or `ARM LEVELS` -> picture -> measurement."""


def measure_latents(config: LatentsConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables, after each editor.

    Raises:
        UsageError: an editor or an arm is not possible here, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: an editor or the device is unavailable.
    """
    bench = Bench("latents", config, folder, on_progress)
    editors = [load_editor(name, device=config.device, precision=config.precision) for name in config.editors]
    for editor in editors:
        require_latents(editor)
        for arm in config.arms:
            if reason := refusal(ARMS[arm], editor.surrogate):
                raise UsageError(f"arm {arm}: {reason}; leave it out")
    bench.open(editor_weights={editor.name: editor.digest for editor in editors})
    tables: dict[str, list[Row]] = {"latents": [], "directions": []}
    finished = Finished({}, ())
    for editor in editors:
        prompts = prompts_for(editor, config.prompts)
        arms = [*config.arms, *([THROUGH_UNET] if knows_conditioning(editor) else [])]
        prefix, ranks = f"{editor.name} | ", ranks_of(editor.surrogate.latent_channels)

        def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
            picture = square_picture(path, editor.size_px).rgb  # noqa: B023 - called at once
            work = LatentsWork(editor, picture, prompts, config.batch, config.seed)  # noqa: B023
            for key in missing:
                arm, _, levels = key.removeprefix(prefix).rpartition(" ")  # noqa: B023
                first = levels == str(config.budgets[0])
                yield key, work.changed(arm, int(levels), directions=ranks if first else ()) if arm else work.clean()  # noqa: B023

        keys = [
            f"{prefix}{key}" for key in ("clean", *(f"{arm} {levels}" for arm in arms for levels in config.budgets))
        ]
        found = bench.entries(editor.name, keys, measure)
        entries = {key.removeprefix(prefix): entry for key, entry in found.items()}
        tables["latents"] += latent_rows(editor.name, arms, config.budgets, entries)
        tables["directions"] += direction_rows(editor.name, arms, config.budgets[0], entries)
        finished = bench.finish(tables)
    return finished


def latent_rows(editor: str, arms: Sequence[str], budgets: Sequence[int], entries: _Entries) -> list[Row]:
    """A row for every budget, control and arm; empty without pictures."""
    clean = entries["clean"]
    if not clean:
        return []
    line = statistics.fmean(prompt["seed_line"] for one in clean.values() for prompt in one.values())
    rows: list[Row] = []
    for budget in budgets:
        for control in (SAME_COVARIANCE, ELSEWHERE):
            for arm in arms:
                measured = entries[f"{arm} {budget}"]
                shares = [one["shares"] for one in measured.values()]
                rows.append(
                    {
                        "editor": editor,
                        "arm": arm,
                        "budget_levels": budget,
                        **{
                            name: _mean(one[name] for one in measured.values())
                            for name in ("visibility", "size", "common")
                        },
                        "two_directions": _mean(sum(share[:2]) for share in shares),
                        "seed_line": line,
                        "control": control,
                        **comparison(_distances(measured, SHIFT), _distances(measured, control)),
                        "success": _success(clean, measured, SHIFT),
                        "control_success": _success(clean, measured, control),
                    }
                )
    rows = with_holm(rows, ("budget_levels", "control"))
    return [{column: row[column] for column in COLUMNS} for row in rows]


def direction_rows(editor: str, arms: Sequence[str], budget: int, entries: _Entries) -> list[Row]:
    """A row for every arm and direction; empty without pictures."""
    rows: list[Row] = []
    for arm in arms:
        measured = entries[f"{arm} {budget}"]
        for rank in (name for name in next(iter(measured.values()), {"edits": ()})["edits"] if name.isdigit()):
            effects = _distances(measured, rank)
            rows.append(
                {
                    "editor": editor,
                    "arm": arm,
                    "budget_levels": budget,
                    "rank": int(rank),
                    "share": _mean(one["shares"][int(rank)] for one in measured.values()),
                    "effect": _mean(effects.values()),
                    "success": _success(entries["clean"], measured, rank),
                    "n": len(effects),
                }
            )
    return [{column: row[column] for column in DIRECTION_COLUMNS} for row in rows]


def _distances(measured: Mapping[str, Json], change: str) -> dict[str, float]:
    """Picture -> mean distance between the edits of a change and the clean edits."""
    return {
        picture: _mean(edit["to_clean"] for edit in one["edits"][change].values()) for picture, one in measured.items()
    }


def _success(clean: Mapping[str, Json], measured: Mapping[str, Json], change: str) -> float | None:
    """Share of the edits of a change that follow the prompt, of those whose clean edit does."""
    followed = [
        edit["to_target"] < clean[picture][prompt]["to_target_without"]
        for picture, one in measured.items()
        for prompt, edit in one["edits"][change].items()
        if edit["to_target"] is not None
        and clean[picture][prompt]["to_target"] < clean[picture][prompt]["to_target_without"]
    ]
    return _mean(followed) if followed else None


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
