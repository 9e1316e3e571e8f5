"""Verdicts on the paper's claims from tables made by hand, and the document that shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import write_results
from conftest import ROOT

from pca_protect.eval.claims import claims_about

Tables = dict[str, list[dict[str, Any]]]


def editing(mode: str, objective: str, lows: tuple[float, float], budget: int = 16) -> list[dict[str, Any]]:
    """An arm beside both controls, with the lower ends of its intervals."""
    return [
        {
            **{"arm": f"pca-{mode}", "objective": objective, "metric": "flip", "control": control},
            **{"budget_levels": budget, "difference": low + 0.02, "ci_low": low, "ci_high": low + 0.04},
        }
        for control, low in zip(("noise-linf", "noise-visible"), lows, strict=True)
    ]


def rival(mode: str, name: str, low: float) -> dict[str, Any]:
    return {"arm": f"pca-{mode}", "objective": "2", "rival": name, "ci_low": low, "ci_high": low + 0.04}


def cost(arm: str, needs: str, seconds: float, megabytes: float, *, met: bool | None = None) -> dict[str, Any]:
    return {
        **{"arm": arm, "needs": needs, "vae": "pocket", "size_px": 256, "device": "cpu", "met": met},
        **{"seconds_per_step": seconds, "peak_megabytes": megabytes},
    }


def transfer(mode: str, surrogate: str, target: str, ratio: float, low: float) -> dict[str, Any]:
    return {
        **{"surrogate": surrogate, "target": target, "mode": mode, "objective": "2"},
        **{"same_encoder": surrogate == target, "ratio": ratio, "ci_low": low},
    }


def prompt(mode: str, name: str, low: float | None, spread: float | None = None) -> dict[str, Any]:
    return {"arm": f"pca-{mode}", "prompt": name, "ci_low": low, "spread": spread}


@pytest.fixture
def tables() -> Tables:
    return {
        "editing": [
            *editing("diffusion", "1", (0.1, -0.01)),
            *editing("diffusion", "2", (-0.01, -0.02)),
            *editing("concentration", "2", (0.1, 0.05)),
            *editing("concentration", "2", (-0.1, -0.1), budget=4),
        ],
        "rivals": [
            *(rival("diffusion", name, low) for name, low in (("a", 0.01), ("b", -0.02), ("c", -0.05))),
            *(rival("concentration", name, low) for name, low in (("a", -0.05), ("b", -0.06))),
        ],
        "cost": [
            cost("pca-diffusion", "encoder", 0.5, 700, met=True),
            cost("advdm", "denoiser", 1.0, 2000),
            cost("sds-minus", "denoiser", 0.8, 3000),
            {**cost("startup", "", 0.4, 0), "needs": None},
        ],
        "transfer": [
            *(transfer("diffusion", "a", target, ratio, 0.1) for target, ratio in (("a", 4.0), ("b", 3.0))),
            transfer("diffusion", "b", "a", 1.0, 0.01),
            transfer("diffusion", "all but a", "a", 9.0, 0.5),
            *(transfer("concentration", "a", target, ratio, -0.1) for target, ratio in (("a", 2.0), ("b", 1.0))),
        ],
        "prompts": [
            *(prompt("diffusion", name, 0.1) for name in ("snow", "night")),
            prompt("diffusion", "spread", None, 0.24),
            *(prompt("concentration", name, low) for name, low in (("snow", 0.1), ("night", -0.1))),
            prompt("concentration", "spread", None, 0.1),
        ],
    }


def test_verdicts_follow_from_the_intervals(tables: Tables):
    claims = claims_about(tables)
    assert [claim.holds for claim in claims] == [
        "in part",  # diffusion on objective 1: above one control
        "yes",  # concentration on objective 2, at the largest budget
        "no",  # diffusion on objective 2
        "in part",  # diffusion above one rival
        "no",  # concentration above none
        "yes",  # cost
        "yes",  # diffusion transfers to both, single surrogates only
        "no",  # concentration to none
        "yes",  # diffusion with every prompt and a steady effect
        "in part",  # concentration with one of two
    ]
    aim, ruin, _, rivals, _, costs, away, _, steady, _ = claims
    assert aim.measured == "+0.120 [+0.100, +0.140] above noise-linf; +0.010 [-0.010, +0.030] above noise-visible"
    assert ruin.measured.startswith("+0.120 [+0.100, +0.140] above noise-linf"), "of the largest budget"
    assert rivals.measured == "above a; like b; below c"
    assert "0.5 s a step and 700 MB; the cheapest with a denoiser 0.8 s and 2000 MB" in costs.measured
    assert "2.0 times as far as by noise" in away.measured, "the mean of 3 and 1: neither home nor ensembles"
    assert "4.0 times where the same was; above noise in 2 of 2 pairs" in away.measured
    assert "above noise with 2 of 2 prompts" in steady.measured
    assert "24%" in steady.measured


@pytest.mark.parametrize(
    ("table", "change", "claim", "holds"),
    [
        ("editing", {"ci_low": 0.1}, 0, "yes"),
        ("editing", {"ci_low": 0.0}, 1, "no"),
        ("rivals", {"ci_low": 0.1, "ci_high": 0.2}, 3, "yes"),
        ("cost", {"met": False}, 5, "no"),
        ("transfer", {"ci_low": 0.0}, 6, "no"),
        ("prompts", {"ci_low": None}, 8, "no"),
        ("prompts", {"spread": 0.25}, 8, "in part"),
    ],
)
def test_a_verdict_turns_with_its_table(tables: Tables, table: str, change: dict[str, Any], claim: int, holds: str):
    changed = {**tables, table: [{**row, **change} for row in tables[table]]}
    assert claims_about(changed)[claim].holds == holds


def test_the_published_document_is_what_its_measurements_say():
    assert write_results.document(ROOT / "docs") == (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_a_finished_benchmark_is_taken_by_its_table_and_device(tmp_path: Path):
    folder, docs = tmp_path / "results", tmp_path / "docs"
    folder.mkdir()
    docs.mkdir()
    summary = {"environment": {"device": "NVIDIA H100"}, "tables": {"editing": [], "rivals": [], "failures": []}}
    (folder / "summary.json").write_text(json.dumps(summary))
    write_results.take(folder, docs)
    write_results.take(folder, docs, "frontier")
    assert {path.name for path in (docs / "measurements").iterdir()} == {
        "editing-nvidia-h100.json",
        "frontier-nvidia-h100.json",
    }
    (docs / "measurements" / "editing-cpu.json").write_text("{}")
    assert write_results._read(docs / "measurements", "editing") == summary, "a GPU goes before a CPU"
    with pytest.raises(SystemExit, match=r"no purify-\*\.json"):
        write_results._read(docs / "measurements", "purify")
