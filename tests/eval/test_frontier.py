"""What protection does beside what it costs: the table `frontier`, its figures, and ensembles beside their best member."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.claims import unseen_rows
from pca_protect.eval.comparisons import FRONTIER_COLUMNS, frontier_rows
from pca_protect.eval.measured import Measured
from pca_protect.eval.report import figures
from pca_protect.eval.report.sections import sections_of
from pca_protect.eval.trial import EditPrompt

ARMS = ("pca-diffusion", "balanced-subtle")
PICTURES = tuple(f"{number}.png" for number in range(8))


def edit(apart: float) -> dict[str, object]:
    distances = {"flip": apart}
    edits = {"snow/0": {"to_original": distances, "to_clean": distances, "prompt": {}, "picture": {}}}
    return {"edits": edits, "pairs": {"snow": {"0/1": {"flip": 0.25}}}}


def changed(apart: float, flip: float, haarpsi: float, seconds: float) -> dict[str, object]:
    visible = {"max_change_levels": 16, "rms_levels": 9.0, "flip": flip, "haarpsi": haarpsi}
    return {**edit(apart), "visible": visible, "seconds": seconds}


def measured(arms: tuple[str, ...] = ARMS) -> Measured:
    published, ours = changed(0.3, 0.16, 0.2, 8.0), changed(0.33, 0.08, 0.05, 4.0)
    noise = changed(0.1, 0.08, 0.1, 0.001)
    of = {"noise-linf": noise, "pca-diffusion": published, "balanced-subtle": ours}
    entries = {
        picture: {"clean": edit(0.2), **{f"{arm} 16": of[arm] for arm in ("noise-linf", *arms)}} for picture in PICTURES
    }
    prompts = (EditPrompt("snow", "add snow", None),)
    return Measured("an editor", prompts, list(PICTURES), entries, ("noise-linf", *arms), 1)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    return frontier_rows(measured(), EditingConfig("photos", arms=ARMS, seeds=1))


def test_shares_are_those_of_the_published_loop(rows: list[dict[str, object]]):
    (ours,) = [row for row in rows if (row["arm"], row["metric"]) == ("balanced-subtle", "haarpsi")]
    assert ours["share"] == pytest.approx(0.25)
    assert ours["ci_low"] == pytest.approx(ours["ci_high"]) == pytest.approx(0.25), "all pictures alike"
    assert ours["effect_share"] == pytest.approx(1.1)
    assert ours["seconds_share"] == pytest.approx(0.5)
    assert (ours["visibility"], ours["effect"], ours["n"]) == (pytest.approx(0.05), pytest.approx(0.33), 8)


def test_every_arm_has_a_row_for_every_metric_of_visibility(rows: list[dict[str, object]]):
    assert {row["metric"] for row in rows} == {"flip", "haarpsi"}, "levels are no metric"
    assert len(rows) == 2 * 3
    assert all(tuple(row) == FRONTIER_COLUMNS for row in rows)
    assert all(row["seconds"] is not None and row["seed_line"] == pytest.approx(0.25) for row in rows)


def test_there_is_no_frontier_without_the_published_loop():
    config = EditingConfig("photos", arms=("balanced-subtle",), seeds=1)
    assert frontier_rows(measured(("balanced-subtle",)), config) == []


def test_the_edge_joins_what_nothing_is_better_than(rows: list[dict[str, object]]):
    (axes,) = figures.frontier(rows, "visibility", "haarpsi").axes
    (edge,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert list(edge.get_xdata()) == pytest.approx([0.05]), "the published loop is more visible and does less"
    (axes,) = figures.frontier(rows, "seconds").axes
    names = {text.get_text() for text in axes.texts}
    assert names == {*ARMS, "clean edits with other seeds"}, "noise costs no time worth showing"


def test_the_report_shows_every_arm(rows: list[dict[str, object]]):
    (section,) = sections_of({"tables": {"frontier": rows}})
    assert [line[0] for line in section.rows] == ["noise-linf", *ARMS]
    assert all(len(line) == len(section.head) for line in section.rows)
    assert len(section.figures) == 3
    ours = dict(zip(section.head, section.rows[-1], strict=True))
    assert ours["visible, haarpsi"].startswith("0.25 [0.25")


def test_an_ensemble_stands_beside_the_best_of_its_members():
    def row(surrogate: str, effect: float, *, same: bool = False, target: str = "c") -> dict[str, object]:
        return {
            **{"surrogate": surrogate, "target": target, "mode": "subtle", "objective": "2", "metric": "flip"},
            **{"editor": "e", "same_encoder": same, "effect": effect, "noise_effect": 0.1, "n": 3},
        }

    rows = [row("a", 0.2), row("b", 0.3), row("c", 0.9, same=True), row("all but c", 0.5), row("all but a", 0.8)]
    rows += [row("all but a", 0.4, target="a"), row("b", 0.1, target="a"), row("c", 0.05, target="a")]
    for_c, for_a = unseen_rows(rows)
    assert (for_c["target"], for_c["best"], for_c["n"]) == ("c", "b", 3)
    assert for_c["ratio"] == pytest.approx(0.5 / 0.3)
    assert for_c["ratio_above_noise"] == pytest.approx(0.4 / 0.2)
    assert (for_a["best"], for_a["ratio_above_noise"]) == ("b", None), "no member does more than noise"
