"""The paper's claims, checked against the tables of a full run on the test bed. Verdicts are computed from the tables.

Every verdict is a test adjusted by Holm over the methods, pairs or prompts that were compared with it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pca_protect.eval.arms.controls import CONTROL, SEED, SHUFFLED
from pca_protect.eval.arms.registry import CONTROLS
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.stats import SIGNIFICANT

Rows = Sequence[Mapping[str, Any]]

PUBLISHED = {"diffusion": "pca-diffusion", "concentration": "pca-concentration"}


STEADY = 0.25
"""An effect counts as independent of the prompt if its standard deviation over prompts, divided by the mean, is below this. The
limit is a convention: no test belongs to it."""


@dataclass(frozen=True)
class Claim:
    """Attributes:
    claim: in a few words.
    measured: the values that decide the verdict.
    holds: yes, no, or in part; "too few pictures" without a test.
    """

    claim: str
    measured: str
    holds: str


def claims_about_edits(tables: Mapping[str, Rows]) -> list[Claim]:
    """From the tables of `bench editing` with one editor."""
    return [
        _near_the_original(tables["editing"]),
        *(_moves(tables["editing"], mode) for mode in PUBLISHED),
        *(_own_picture(tables["editing"], mode) for mode in PUBLISHED),
        *(_fails(tables["outcomes"], mode) for mode in PUBLISHED),
        *(_rivals(tables["rivals"], mode) for mode in PUBLISHED),
        *(_prompts(tables["prompts"], mode) for mode in PUBLISHED),
    ]


def further_claims(tables: Mapping[str, Rows]) -> list[Claim]:
    """From the tables of `bench cost` and, if it was run, `bench transfer`."""
    away = tables.get("transfer")
    return [*_cost(tables["cost"]), *(_transfer(away, mode) for mode in PUBLISHED if away)]


def _verdict(above: Sequence[bool | None]) -> str:
    if any(one is None for one in above):
        return "too few pictures"
    return "yes" if above and all(above) else "in part" if any(above) else "no"


def _above(row: Mapping[str, Any], p: str = "p_holm", difference: str = "difference") -> bool | None:
    """Whether a row's difference is above 0; None without a test."""
    if row[p] is None:
        return None
    return bool(row[p] < SIGNIFICANT and row[difference] > 0)


def _against(rows: Rows, arm: str, objective: str, controls: Sequence[str]) -> tuple[str, str]:
    """The differences between an arm and controls at the largest budget, and the verdict."""
    found = [
        row
        for control in controls
        for row in rows
        if (row["arm"], row["objective"], row["metric"], row["control"]) == (arm, objective, VISIBILITY, control)
    ]
    strongest = max(row["budget_levels"] for row in found)
    found = [row for row in found if row["budget_levels"] == strongest]
    parts = [
        f"{row['difference']:+.3f}{_interval(row)} above {CONTROL[row['control']].short} ({row['noise_effect']:.3f})"
        for row in found
    ]
    return "; ".join(parts), _verdict([_above(row) for row in found])


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["ci_low"] is None else f" [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"


def _near_the_original(rows: Rows) -> Claim:
    measured, holds = _against(rows, PUBLISHED["diffusion"], "1", CONTROLS)
    return Claim("mode diffusion keeps edits near the original (objective 1)", measured, holds)


def _moves(rows: Rows, mode: str) -> Claim:
    measured, holds = _against(rows, PUBLISHED[mode], "2", (SEED, *CONTROLS))
    return Claim(f"mode {mode} moves edits further than another seed and than noise (objective 2)", measured, holds)


def _own_picture(rows: Rows, mode: str) -> Claim:
    measured, holds = _against(rows, PUBLISHED[mode], "2", (SHUFFLED,))
    return Claim(f"mode {mode} needs this picture's perturbation, not another picture's", measured, holds)


def _fails(rows: Rows, mode: str) -> Claim:
    (row,) = [row for row in rows if row["arm"] == PUBLISHED[mode] and row["budget_levels"] == _largest(rows)]
    success = "" if row["success"] is None else f"; {row['success']:.0%} of edits still follow the prompt"
    measured = f"falls further than another seed changes it: {row['fails_in'] or 'nothing'}{success}"
    return Claim(f"mode {mode} makes edits worse (prompt or quality)", measured, _verdict([row["fails"]]))


def _largest(rows: Rows) -> int:
    return max(int(row["budget_levels"]) for row in rows)


def _rivals(rows: Rows, mode: str) -> Claim:
    compared = [row for row in rows if row["arm"] == PUBLISHED[mode] and row["objective"] == "2"]
    better = [row["rival"] for row in compared if _above(row)]
    worse = [row["rival"] for row in compared if row["p_holm"] is not None and row["p_holm"] < SIGNIFICANT]
    worse = [rival for rival in worse if rival not in better]
    rest = [row for row in compared if row["rival"] not in better + worse]
    alike = [row["rival"] for row in rest if row["p_alike"] is not None and row["p_alike"] < SIGNIFICANT]
    open_ = [row["rival"] for row in rest if row["rival"] not in alike]
    words = ("above", better), ("equal within the margin to", alike), ("not told apart from", open_), ("below", worse)
    parts = [f"{word} {', '.join(names)}" for word, names in words if names]
    holds = _verdict([_above(row) for row in compared])
    return Claim(f"mode {mode} exceeds the other methods at equal budget (objective 2)", "; ".join(parts), holds)


def _cost(rows: Rows) -> list[Claim]:
    """For each VAE and size that was timed: PCA beside the methods that need the denoiser."""
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
    """Edits by editors with another encoder than the surrogate; single surrogates only."""
    pairs = [
        row
        for row in rows
        if row["mode"] == mode
        and row["objective"] == "2"
        and not row["same_encoder"]
        and not row["surrogate"].startswith("all but")
    ]
    noisy, seeds = ([_above(row, *columns) for row in pairs] for columns in _TRANSFERRED)
    away = statistics.fmean(row["ratio"] for row in pairs)
    home = statistics.fmean(
        row["ratio"]
        for row in rows
        if row["mode"] == mode and row["objective"] == "2" and row["surrogate"] == row["target"]
    )
    measured = (
        f"edits move {away:.1f} times as far as by noise where another encoder was protected, {home:.1f} times where the same "
        f"was (means of ratios); above noise in {noisy.count(True)} of {len(pairs)} pairs, above other seeds in "
        f"{seeds.count(True)}"
    )
    return Claim(f"mode {mode} transfers to other encoders", measured, _verdict([*noisy, *seeds]))


_TRANSFERRED = ("p_holm", "difference"), ("seed_p_holm", "above_seed")


def _prompts(rows: Rows, mode: str) -> Claim:
    """Number of prompts with an effect above other seeds and above noise, and the spread of the effect over prompts."""
    own = [row for row in rows if row["arm"] == PUBLISHED[mode] and row["control"] in (CONTROLS[0], SEED)]
    spread = next(row["spread"] for row in own if row["prompt"] == "spread" and row["control"] == CONTROLS[0])
    above = {
        control: [_above(row) for row in own if row["control"] == control and row["prompt"] != "spread"]
        for control in (CONTROLS[0], SEED)
    }
    noisy, seeds = above.values()
    measured = (
        f"above noise with {noisy.count(True)} of {len(noisy)} prompts, above other seeds with {seeds.count(True)}; the effect "
        f"beyond noise varies by {spread:.0%} between prompts (standard deviation over mean)"
    )
    holds = _verdict([*noisy, *seeds])
    return Claim(
        f"mode {mode} works whatever the prompt", measured, "in part" if holds == "yes" and spread >= STEADY else holds
    )


Row = Mapping[str, Any]


def unseen_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For every mode, target, objective and metric: the ensemble of all other surrogates beside the strongest single one.

    `ratio` divides the effects, `ratio_above_noise` the effects minus that of noise of the same budget (None where no single
    surrogate exceeds noise).
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
