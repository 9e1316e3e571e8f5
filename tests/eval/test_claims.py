"""Verdicts on the paper's claims from tables made by hand, and the document that shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import table_entries
import write_results
from conftest import ROOT

from pca_protect.eval.benches.editing import _TABLES
from pca_protect.eval.claims import claims_about_edits, further_claims

Tables = dict[str, list[dict[str, Any]]]

SURE, UNSURE = 0.01, 0.2
"""Adjusted p, below and above 0.05."""


def editing(mode: str, objective: str, found: dict[str, tuple[float, float | None]], budget: int = 16) -> list[Any]:
    """An arm beside controls: control -> (difference, adjusted p)."""
    return [
        {
            **{"arm": f"pca-{mode}", "objective": objective, "metric": "flip", "control": control},
            **{"budget_levels": budget, "difference": apart, "ci_low": apart - 0.02, "ci_high": apart + 0.02},
            **{"noise_effect": 0.1, "p_holm": p},
        }
        for control, (apart, p) in found.items()
    ]


def outcome(mode: str, fails_in: str, success: float | None, budget: int = 16) -> dict[str, Any]:
    return {
        **{"arm": f"pca-{mode}", "budget_levels": budget, "fails": bool(fails_in), "fails_in": fails_in},
        "success": success,
    }


def rival(mode: str, name: str, apart: float, p: float, alike: float = 1.0) -> dict[str, Any]:
    return {
        **{"arm": f"pca-{mode}", "objective": "2", "rival": name, "difference": apart},
        **{"p_holm": p, "p_alike": alike},
    }


def cost(arm: str, needs: str, seconds: float, megabytes: float, *, met: bool | None = None) -> dict[str, Any]:
    return {
        **{"arm": arm, "needs": needs, "vae": "pocket", "size_px": 256, "device": "cpu", "met": met},
        **{"seconds_per_step": seconds, "peak_megabytes": megabytes},
    }


def transfer(mode: str, surrogate: str, target: str, ratio: float, p: float, above_seed: float) -> dict[str, Any]:
    return {
        **{"surrogate": surrogate, "target": target, "mode": mode, "objective": "2", "difference": 0.1, "p_holm": p},
        **{"same_encoder": surrogate == target, "ratio": ratio, "above_seed": above_seed, "seed_p_holm": SURE},
    }


def prompt(mode: str, name: str, p: float, control: str = "noise-linf") -> dict[str, Any]:
    return {"arm": f"pca-{mode}", "prompt": name, "control": control, "difference": 0.1, "p_holm": p}


def spread(mode: str, value: float) -> dict[str, Any]:
    return {"arm": f"pca-{mode}", "prompt": "spread", "control": "noise-linf", "spread": value}


@pytest.fixture
def tables() -> Tables:
    far = {"seed": (0.1, SURE), "noise-linf": (0.2, SURE), "noise-visible": (0.1, SURE), "shuffled": (0.1, SURE)}
    near = {"seed": (-0.1, SURE), "noise-linf": (0.2, SURE), "noise-visible": (0.1, UNSURE), "shuffled": (0.1, UNSURE)}
    return {
        "editing": [
            *editing("diffusion", "1", {"noise-linf": (0.1, SURE), "noise-visible": (-0.1, SURE)}),
            *editing("diffusion", "2", far),
            *editing("concentration", "2", near),
            *editing("concentration", "2", far, budget=4),
        ],
        "outcomes": [
            outcome("diffusion", "adherence (flip)", 0.4),
            outcome("concentration", "", None),
            outcome("concentration", "quality (blur)", 0.9, budget=4),
        ],
        "rivals": [
            rival("diffusion", "a", 0.01, SURE),
            rival("diffusion", "b", 0.001, UNSURE, SURE),
            rival("diffusion", "c", -0.02, UNSURE),
            rival("diffusion", "d", -0.05, SURE),
            rival("concentration", "a", -0.05, SURE),
        ],
        "cost": [
            cost("pca-diffusion", "encoder", 0.5, 700, met=True),
            cost("advdm", "denoiser", 1.0, 2000),
            cost("sds-minus", "denoiser", 0.8, 3000),
            {**cost("startup", "", 0.4, 0), "needs": None},
        ],
        "transfer": [
            *(transfer("diffusion", "a", target, ratio, SURE, 0.1) for target, ratio in (("a", 4.0), ("b", 3.0))),
            transfer("diffusion", "b", "a", 1.0, SURE, -0.1),
            transfer("diffusion", "all but a", "a", 9.0, UNSURE, 0.5),
            *(
                transfer("concentration", "a", target, ratio, UNSURE, -0.1)
                for target, ratio in (("a", 2.0), ("b", 1.0))
            ),
        ],
        "prompts": [
            *(prompt("diffusion", name, SURE, control) for name in "xy" for control in ("noise-linf", "seed")),
            spread("diffusion", 0.24),
            *(prompt("concentration", name, p) for name, p in (("x", SURE), ("y", UNSURE))),
            prompt("concentration", "x", SURE, "seed"),
            spread("concentration", 0.1),
        ],
    }


def test_verdicts_follow_from_adjusted_tests(tables: Tables):
    claims = [*claims_about_edits(tables), *further_claims(tables)]
    assert [claim.holds for claim in claims] == [
        "in part",  # diffusion on objective 1: above one control
        "yes",  # diffusion moves edits further than seeds and noise
        "in part",  # concentration, at the largest budget: further than noise of the same levels alone
        "yes",  # diffusion is more than a shuffled perturbation
        "no",  # concentration is not
        "yes",  # diffusion makes edits worse
        "no",  # concentration moves them only
        "in part",  # diffusion above one rival
        "no",  # concentration above none
        "yes",  # diffusion with every prompt and a steady effect
        "in part",  # concentration with one of two
        "yes",  # cost
        "in part",  # diffusion transfers to both beyond noise, to one beyond other seeds
        "no",  # concentration to none
    ]
    aim, moves, _, own, _, fails, only_moves, rivals, _, steady, _, costs, away, _ = claims
    assert aim.measured.startswith("+0.100 [+0.080, +0.120] above same levels (0.100); -0.100")
    assert "+0.100 [+0.080, +0.120] above other seeds (0.100)" in moves.measured
    assert "above shuffled" in own.measured
    assert fails.measured.endswith("adherence (flip); 40% of edits still follow the prompt")
    assert only_moves.measured.endswith(": nothing")
    assert rivals.measured == "above a; equal within the margin to b; not told apart from c; below d"
    assert "0.5 s a step and 700 MB; the cheapest with a denoiser 0.8 s and 2000 MB" in costs.measured
    assert "2.0 times as far as by noise" in away.measured, "the mean of 3 and 1: neither home nor ensembles"
    assert "4.0 times where the same was" in away.measured
    assert "above noise in 2 of 2 pairs, above other seeds in 1" in away.measured
    assert "above noise with 2 of 2 prompts, above other seeds with 2" in steady.measured
    assert "24%" in steady.measured


@pytest.mark.parametrize(
    ("table", "change", "claim", "holds"),
    [
        ("editing", {"difference": 0.1, "p_holm": SURE}, 0, "yes"),
        ("editing", {"p_holm": UNSURE}, 1, "no"),
        ("editing", {"difference": -0.1}, 1, "no"),
        ("editing", {"p_holm": None}, 1, "too few pictures"),
        ("outcomes", {"fails": None}, 5, "too few pictures"),
        ("rivals", {"difference": 0.1, "p_holm": SURE}, 7, "yes"),
        ("cost", {"met": False}, 11, "no"),
        ("transfer", {"p_holm": UNSURE, "above_seed": -0.1}, 12, "no"),
        ("transfer", {"above_seed": 0.1}, 12, "yes"),
        ("prompts", {"p_holm": UNSURE}, 9, "no"),
        ("prompts", {"spread": 0.25}, 9, "in part"),
    ],
)
def test_a_verdict_turns_with_its_table(tables: Tables, table: str, change: dict[str, Any], claim: int, holds: str):
    changed = {**tables, table: [{**row, **change} for row in tables[table]]}
    assert [*claims_about_edits(changed), *further_claims(changed)][claim].holds == holds


def test_the_published_document_is_what_its_measurements_say():
    if former := write_results.former(ROOT / "docs"):
        pytest.skip(f"measured with former controls: {', '.join(former)}")
    assert write_results.document(ROOT / "docs") == (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def edited(editor: str) -> Tables:
    """Tables of a run of `bench editing` with the paper's modes."""
    one = table_entries.measured()
    entries = {
        picture: found | {key.replace("diffusion", "concentration"): found[key] for key in found if "diffusion" in key}
        for picture, found in one.entries.items()
    }
    arms = (*one.arms, "pca-concentration")
    both = replace(one, editor=editor, entries=entries, arms=arms)
    config = replace(table_entries.CONFIG, arms=arms)
    rows = {name: make(both, config) for name, make in _TABLES["editing"].items()}
    return json.loads(json.dumps(rows))


def with_todays_columns(tables: Tables) -> Tables:
    """Tables of an old measurement with the columns of today, whose values mean nothing."""
    new = {"seed_line": 0.25, "above_seed": 0.1, "seed_ci_low": 0.05, "seed_ci_high": 0.15, "seed_p_holm": 0.01}
    new |= {"p_holm": 0.01, "above_ci_low": 0.1, "above_ci_high": 0.2}
    return {table: [{**new, **row} for row in rows] for table, rows in tables.items()}


def test_the_document_is_made_from_todays_tables(tmp_path: Path):
    measurements = tmp_path / "measurements"
    measurements.mkdir()
    pictures = dict.fromkeys(table_entries.PICTURES)
    for name in (*write_results.NEEDED, *write_results.FURTHER):
        source = name if name in ("transfer", "purify", "latents", "cost", "cost512") else "cost"
        summary = json.loads((ROOT / "docs" / "measurements" / f"{source}-cpu.json").read_text(encoding="utf-8"))
        if source == name:
            summary["tables"] = with_todays_columns(summary["tables"])
        else:
            editor = name.removeprefix("editing-")
            config = json.loads(json.dumps(table_entries.CONFIG.as_dict()))
            summary |= {"tables": edited(editor), "config": {**config, "pictures": pictures}}
        (measurements / f"{name}-cpu.json").write_text(json.dumps(summary))
    assert write_results.former(tmp_path, write_results.NEEDED | write_results.FURTHER) == []
    write_results.write(tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| mode diffusion makes edits worse (prompt or quality) |" in text
    assert "| `photoguard` |" in text
    assert "None" not in text
    assert (tmp_path / "figures" / "objective-2.png").is_file()
    for name in write_results.FURTHER:
        (measurements / f"{name}-cpu.json").unlink()
    without = write_results.document(tmp_path)
    assert "## Transfer" in text
    assert "## Transfer" not in without
    assert "| `photoguard` |" in without


def test_a_missing_measurement_is_named(tmp_path: Path):
    (tmp_path / "measurements").mkdir()
    assert write_results.former(tmp_path) == list(write_results.NEEDED)
    with pytest.raises(SystemExit, match=r"editing-pocket-instruct, .*: missing"):
        write_results.document(tmp_path)


def test_measurements_on_a_gpu_come_first_and_names_are_whole(tmp_path: Path):
    for name, device in (("a", "cpu"), ("a", "big gpu"), ("a-16", "cpu")):
        text = json.dumps({"environment": {"device": device}, "name": name})
        (tmp_path / f"{name}-{device.replace(' ', '-')}.json").write_text(text)
    found = write_results._found(tmp_path, "a")
    assert found is not None
    assert (found["name"], found["environment"]["device"]) == ("a", "big gpu")
