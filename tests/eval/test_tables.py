"""Every column of the tables `editing`, `rivals`, `prompts` and `frontier`, against values that were worked out by hand."""

from __future__ import annotations

import pytest
from table_entries import (
    APART,
    ARMS,
    BEYOND_NOISE,
    BLURRED,
    CLOSER,
    CONFIG,
    DISOBEDIENT,
    LESS_LIKE_THE_PROMPT,
    P_HOLM,
    PICTURES,
    SECONDS,
    VISIBLE,
    P,
    apart,
    measured,
)

from pca_protect.eval.arms.registry import CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.results import Row
from pca_protect.eval.stats import paired_effect
from pca_protect.eval.tables import (
    COLUMNS,
    FRONTIER_COLUMNS,
    PROMPT_COLUMNS,
    RIVAL_COLUMNS,
    editing_rows,
    frontier_rows,
    prompt_rows,
    rival_rows,
)

MEANS = {"photoguard": 0.03, "advdm": 0.026, "pca-diffusion": 0.018}
"""Of what exceeds noise."""
WINS = {"photoguard": 1.0, "advdm": 0.8, "pca-diffusion": 0.6}


@pytest.fixture(scope="module")
def editing() -> dict[tuple[object, ...], Row]:
    rows = editing_rows(measured(), CONFIG)
    found = {(row["arm"], row["objective"], row["metric"], row["control"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_there_is_a_row_for_every_question_arm_and_control(editing: dict[tuple[object, ...], Row]):
    questions = {("2", "flip"), ("1", "flip"), ("adherence", "flip"), ("adherence", "clip"), ("quality", "blur")}
    assert set(editing) == {
        *((arm, *question, control) for arm in ARMS for question in questions for control in CONTROLS),
        *((control, *question, None) for question in questions for control in CONTROLS),
    }
    for row in editing.values():
        assert tuple(row) == COLUMNS
        assert (row["editor"], row["budget_levels"], row["n"]) == ("an editor", 16, 5)
        assert row["kept"] == pytest.approx(9 / 10), "one clean edit of ten missed its style"
        assert row["visibility"] == pytest.approx(VISIBLE[str(row["arm"])])


@pytest.mark.parametrize("arm", ARMS)
def test_the_distance_to_the_clean_edit(editing: dict[tuple[object, ...], Row], arm: str):
    row = editing[arm, "2", "flip", NOISE_LINF]
    assert row["effect"] == pytest.approx(0.1 + MEANS[arm])
    assert row["noise_effect"] == pytest.approx(0.1)
    assert row["ratio"] == pytest.approx(1 + 10 * MEANS[arm])
    assert row["difference"] == pytest.approx(MEANS[arm])
    assert row["p"] == pytest.approx(P[arm])
    assert row["p_holm"] == pytest.approx(P_HOLM[arm])
    assert row["win_rate"] == pytest.approx(WINS[arm])
    pairs = paired_effect(BEYOND_NOISE[arm], [0.0] * 5)
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(pairs.ci_low), pytest.approx(pairs.ci_high))
    visible = editing[arm, "2", "flip", NOISE_VISIBLE]
    assert visible["noise_effect"] == pytest.approx(0.2)
    assert visible["difference"] == pytest.approx(MEANS[arm] - 0.1)
    assert visible["win_rate"] == 0
    assert visible["p_holm"] == pytest.approx(3 * 2 / 32), "all three lose on every picture"


@pytest.mark.parametrize(
    ("objective", "metric", "values"),
    [
        ("1", "flip", CLOSER),
        ("adherence", "flip", {arm: 0.4 * value for arm, value in DISOBEDIENT.items()}),
        ("adherence", "clip", LESS_LIKE_THE_PROMPT),
        ("quality", "blur", BLURRED),
    ],
)
def test_more_is_more_protection(
    editing: dict[tuple[object, ...], Row], objective: str, metric: str, values: dict[str, float]
):
    """Of the distance to the style four pictures have one of two edits that count, and the fifth has none with a style."""
    for control in CONTROLS:
        assert editing[control, objective, metric, None]["effect"] == pytest.approx(values[control])
        for arm in ARMS:
            row = editing[arm, objective, metric, control]
            assert row["effect"] == pytest.approx(values[arm])
            assert row["noise_effect"] == pytest.approx(values[control])
            assert row["difference"] == pytest.approx(values[arm] - values[control])
            if values[control] > 0:
                assert row["ratio"] == pytest.approx(values[arm] / values[control])
            else:
                assert row["ratio"] is None


def test_what_arms_are_stands_beside_them(editing: dict[tuple[object, ...], Row]):
    about = {str(row["arm"]): (row["mode"], row["needs"]) for row in editing.values()}
    assert about == {
        NOISE_LINF: ("", "nothing"),
        NOISE_VISIBLE: ("", "nothing"),
        "photoguard": ("", "encoder"),
        "advdm": ("", "denoiser"),
        "pca-diffusion": ("diffusion", "encoder"),
    }
    alone = editing[NOISE_LINF, "2", "flip", None]
    assert alone["effect"] == pytest.approx(APART[NOISE_LINF])
    statistics = ("control", "noise_effect", "ratio", "difference", "ci_low", "ci_high", "p", "p_holm", "win_rate")
    assert all(alone[column] is None for column in statistics)


def test_rivals_stand_beside_ours_and_not_the_other_way_round():
    rows = {(row["rival"], row["objective"]): row for row in rival_rows(measured(), CONFIG)}
    assert set(rows) == {(rival, objective) for rival in ("photoguard", "advdm") for objective in ("1", "2")}
    row = rows["photoguard", "2"]
    assert tuple(row) == RIVAL_COLUMNS
    assert (row["editor"], row["arm"], row["mode"], row["needs"]) == (
        "an editor",
        "pca-diffusion",
        "diffusion",
        "encoder",
    )
    assert (row["budget_levels"], row["metric"], row["n"]) == (16, "flip", 5)
    assert row["effect"] == pytest.approx(0.118)
    assert row["rival_effect"] == pytest.approx(0.13)
    assert row["difference"] == pytest.approx(-0.012)
    assert row["win_rate"] == pytest.approx(0.3), "two losses and three ties, which count half"
    pairs = paired_effect(BEYOND_NOISE["pca-diffusion"], BEYOND_NOISE["photoguard"])
    assert (row["ci_low"], row["ci_high"], row["p"]) == (
        pytest.approx(pairs.ci_low),
        pytest.approx(pairs.ci_high),
        pytest.approx(pairs.p),
    )
    other = rows["advdm", "2"]
    assert other["needs"] == "denoiser"
    smaller, larger = sorted((float(str(row["p"])), float(str(other["p"]))))
    adjusted = sorted((float(str(row["p_holm"])), float(str(other["p_holm"]))))
    assert adjusted == pytest.approx([min(1, 2 * smaller), max(min(1, 2 * smaller), larger)])
    closer = rows["photoguard", "1"]
    assert (closer["effect"], closer["rival_effect"]) == (pytest.approx(0.08), pytest.approx(0.05))
    assert closer["difference"] == pytest.approx(0.03)


def test_prompts_have_their_own_pictures_and_a_spread():
    """With `snow` the last picture has no edit that counts."""
    rows = {(row["arm"], row["prompt"]): row for row in prompt_rows(measured(), CONFIG)}
    assert set(rows) == {(arm, prompt) for arm in ARMS for prompt in ("snow", "door", "spread")}
    snow, door, spread = (rows["photoguard", prompt] for prompt in ("snow", "door", "spread"))
    assert tuple(snow) == PROMPT_COLUMNS
    assert (
        snow["editor"],
        snow["mode"],
        snow["budget_levels"],
        snow["objective"],
        snow["metric"],
        snow["control"],
    ) == (
        *("an editor", "", 16),
        *("2", "flip", NOISE_LINF),
    )
    assert (snow["n"], snow["kept"]) == (4, pytest.approx(4 / 5))
    assert (door["n"], door["kept"]) == (5, 1)
    assert (snow["effect"], snow["noise_effect"]) == (pytest.approx(0.125), pytest.approx(0.1))
    assert (snow["ratio"], snow["difference"]) == (pytest.approx(1.25), pytest.approx(0.025))
    assert (snow["p"], snow["win_rate"]) == (pytest.approx(2 / 16), 1)
    assert snow["ci_low"] < snow["difference"] < snow["ci_high"]
    assert door["difference"] == pytest.approx(0.03)
    assert spread["difference"] == pytest.approx(0.0275)
    assert spread["spread"] == pytest.approx(0.0025 * 2**0.5 / 0.0275), (
        "the deviation of two is their distance over sqrt 2"
    )
    assert (snow["spread"], spread["effect"], spread["n"]) == (None, None, None)
    assert rows["pca-diffusion", "door"]["mode"] == "diffusion"


def test_the_frontier_stands_beside_the_published_loop():
    rows = {(row["arm"], row["metric"]): row for row in frontier_rows(measured(), CONFIG)}
    assert set(rows) == {(arm, metric) for arm in VISIBLE for metric in ("flip", "haarpsi")}
    for (arm, metric), row in rows.items():
        assert tuple(row) == FRONTIER_COLUMNS
        assert (row["editor"], row["budget_levels"], row["n"]) == ("an editor", 16, 5)
        visible, published = VISIBLE[arm], VISIBLE["pca-diffusion"]
        if metric == "haarpsi":
            visible, published = visible**2, published**2
        assert row["visibility"] == pytest.approx(visible)
        assert row["share"] == row["ci_low"] == row["ci_high"] == pytest.approx(visible / published)
        effect = sum(apart(arm, number) for number in range(len(PICTURES))) / 5
        assert row["effect"] == pytest.approx(effect)
        assert row["effect_share"] == pytest.approx(effect / 0.118)
        assert row["effect_ci_low"] <= row["effect_share"] <= row["effect_ci_high"]
        if arm == NOISE_VISIBLE:
            assert row["seconds"] is row["seconds_share"] is None
        else:
            assert (row["seconds"], row["seconds_share"]) == (SECONDS[arm], pytest.approx(SECONDS[arm] / 8))


def test_without_an_edit_that_counts_there_is_no_row():
    whole = measured()
    failed = {"edits": {"snow/0": {"to_target": 0.5, "to_target_without": 0.1}}}
    entries = {picture: {**found, "clean": failed} for picture, found in whole.entries.items()}
    nothing = type(whole)(whole.editor, whole.prompts, whole.pictures, entries)
    for rows in (editing_rows, rival_rows, prompt_rows, frontier_rows):
        assert rows(nothing, CONFIG) == []
