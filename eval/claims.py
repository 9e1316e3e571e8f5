"""What the paper claims, held against the tables of a full run on the test bed. Verdicts are computed, not written."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pca_protect.eval.arms.registry import CONTROLS
from pca_protect.eval.metrics.registry import VISIBILITY

Rows = Sequence[Mapping[str, Any]]

PUBLISHED = {"diffusion": "pca-diffusion", "concentration": "pca-concentration"}
_AIM = {"diffusion": "1", "concentration": "2"}


STEADY = 0.25
"""An effect that varies by less between prompts, as a share of its mean, is called independent of the prompt."""


@dataclass(frozen=True)
class Claim:
    """Attributes:
    claim: in a few words.
    measured: what was found.
    holds: yes, no, or in part.
    """

    claim: str
    measured: str
    holds: str


def claims_about(tables: Mapping[str, Rows]) -> list[Claim]:
    return [
        *(_aim(tables["editing"], mode) for mode in PUBLISHED),
        _diffusion_on_edits(tables["editing"]),
        *(_rivals(tables["rivals"], mode) for mode in PUBLISHED),
        *_cost(tables["cost"]),
        *(_transfer(tables["transfer"], mode) for mode in PUBLISHED),
        *(_prompts(tables["prompts"], mode) for mode in PUBLISHED),
    ]


def _beats_noise(rows: Rows, arm: str, objective: str) -> tuple[str, str]:
    """What an arm does beyond both noise controls, and whether both intervals exclude 0."""
    found = [
        row
        for control in CONTROLS
        for row in rows
        if (row["arm"], row["objective"], row["metric"], row["control"]) == (arm, objective, VISIBILITY, control)
    ]
    strongest = max(row["budget_levels"] for row in found)
    found = [row for row in found if row["budget_levels"] == strongest]
    parts = [
        f"{row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}] above {row['control']}"
        for row in found
    ]
    above = [row["ci_low"] > 0 for row in found]
    return "; ".join(parts), "yes" if all(above) else "in part" if any(above) else "no"


def _aim(rows: Rows, mode: str) -> Claim:
    what = {"1": "keeps edits near the original (objective 1)", "2": "ruins edits (objective 2)"}[_AIM[mode]]
    measured, holds = _beats_noise(rows, PUBLISHED[mode], _AIM[mode])
    return Claim(f"mode {mode} {what}", measured, holds)


def _diffusion_on_edits(rows: Rows) -> Claim:
    measured, holds = _beats_noise(rows, PUBLISHED["diffusion"], "2")
    return Claim("mode diffusion makes edits fail as well (objective 2)", measured, holds)


def _rivals(rows: Rows, mode: str) -> Claim:
    asked = [row for row in rows if row["arm"] == PUBLISHED[mode] and row["objective"] == "2"]
    better = [row["rival"] for row in asked if row["ci_low"] > 0]
    worse = [row["rival"] for row in asked if row["ci_high"] < 0]
    alike = [row["rival"] for row in asked if row["rival"] not in better + worse]
    parts = [
        f"{word} {', '.join(names)}" for word, names in (("above", better), ("like", alike), ("below", worse)) if names
    ]
    holds = "yes" if not worse and not alike else "in part" if better else "no"
    return Claim(f"mode {mode} exceeds the other methods at equal budget (objective 2)", "; ".join(parts), holds)


def _cost(rows: Rows) -> list[Claim]:
    """For each place where methods were timed: PCA beside those that need the denoiser."""
    found = []
    for place in dict.fromkeys((row["vae"], row["size_px"]) for row in rows if row["needs"]):
        here = [row for row in rows if (row["vae"], row["size_px"]) == place and row["needs"]]
        ours = next((row for row in here if row["arm"] == PUBLISHED["diffusion"]), None)
        rivals = [row for row in here if row["needs"] == "denoiser"]
        if ours is None or not rivals or ours["met"] is None:
            continue
        fastest = min(row["seconds_per_step"] for row in rivals)
        leanest = min(row["peak_megabytes"] for row in rivals)
        measured = (
            f"{ours['seconds_per_step']:.3g} s a step and {ours['peak_megabytes']:.0f} MB; the cheapest with a denoiser "
            f"{fastest:.3g} s and {leanest:.0f} MB"
        )
        where = f"{place[0]}, {place[1]} px, {ours['device']}"
        found.append(
            Claim(f"less time and memory than methods with a UNet ({where})", measured, "yes" if ours["met"] else "no")
        )
    return found


def _transfer(rows: Rows, mode: str) -> Claim:
    """Edits by editors whose encoder was not protected against, single surrogates only."""
    asked = [
        row
        for row in rows
        if row["mode"] == mode
        and row["objective"] == "2"
        and not row["same_encoder"]
        and not row["surrogate"].startswith("all but")
    ]
    above = [row for row in asked if row["ci_low"] > 0]
    away = statistics.fmean(row["ratio"] for row in asked)
    home = statistics.fmean(
        row["ratio"]
        for row in rows
        if row["mode"] == mode and row["objective"] == "2" and row["surrogate"] == row["target"]
    )
    measured = (
        f"edits move {away:.1f} times as far as by noise where another encoder was protected, {home:.1f} times where the same "
        f"was; above noise in {len(above)} of {len(asked)} pairs"
    )
    holds = "yes" if len(above) == len(asked) else "in part" if above else "no"
    return Claim(f"mode {mode} transfers to other encoders", measured, holds)


def _prompts(rows: Rows, mode: str) -> Claim:
    """Every prompt fails, and how much the effect varies, beside a method that sees no prompt either but needs the UNet."""
    arm = PUBLISHED[mode]
    by_prompt = [row for row in rows if row["arm"] == arm and row["prompt"] != "spread"]
    spread = next(row["spread"] for row in rows if row["arm"] == arm and row["prompt"] == "spread")
    above = [row["prompt"] for row in by_prompt if row["ci_low"] is not None and row["ci_low"] > 0]
    measured = (
        f"above noise with {len(above)} of {len(by_prompt)} prompts; the effect beyond noise varies by {spread:.0%} between "
        "prompts (standard deviation over mean)"
    )
    holds = "yes" if len(above) == len(by_prompt) and spread < STEADY else "in part" if above else "no"
    return Claim(f"mode {mode} works whatever the prompt", measured, holds)


Row = Mapping[str, Any]


def unseen_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For every mode, target and question, the ensemble of all others beside the single surrogate that does most.

    `ratio` is of effects, `ratio_above_noise` of what exceeds noise of the same budget; None where no single one exceeds it.
    """
    found = []
    for row in rows:
        left_out = row["surrogate"].removeprefix("all but ")
        if left_out == row["surrogate"] or left_out != row["target"]:
            continue
        same = [
            other
            for other in rows
            if all(other[key] == row[key] for key in ("target", "objective", "metric", "editor", "mode"))
            and not other["surrogate"].startswith("all but ")
            and not other["same_encoder"]
        ]
        best = max(same, key=lambda other: other["effect"])
        beyond, bests = (one["effect"] - one["noise_effect"] for one in (row, best))
        found.append(
            {
                **{
                    key: row[key]
                    for key in ("target", "mode", "objective", "metric", "editor", "effect", "noise_effect", "n")
                },
                "best": best["surrogate"],
                "best_effect": best["effect"],
                "ratio": row["effect"] / best["effect"],
                "ratio_above_noise": beyond / bests if bests > 0 else None,
            }
        )
    return found
