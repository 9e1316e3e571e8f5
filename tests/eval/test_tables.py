"""Every column of the tables of edits, against values that were worked out by hand."""

from __future__ import annotations

import copy
import statistics
from dataclasses import replace

import pytest
from scipy.stats import t, ttest_1samp
from table_entries import (
    APART,
    ARMS,
    AS_VISIBLE,
    BEYOND_NOISE,
    BLURRED,
    CLOSER,
    CONFIG,
    DECIDED,
    DISOBEDIENT,
    FAILED,
    LESS_LIKE_THE_PROMPT,
    LINF,
    LOUD,
    P_HOLM,
    PICTURES,
    SECONDS,
    SHUFFLED_PCA,
    SPECTRUM_PCA,
    VISIBLE,
    WITHOUT,
    P,
    apart,
    measured,
)

from pca_protect.eval.arms.controls import NOISE_SPECTRUM, SEED, SHUFFLED, UNRELATED
from pca_protect.eval.arms.registry import CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.comparisons import (
    FRONTIER_COLUMNS,
    RANK_COLUMNS,
    RIVAL_COLUMNS,
    frontier_rows,
    rank_rows,
    rival_rows,
)
from pca_protect.eval.measured import seed_line
from pca_protect.eval.results import Row
from pca_protect.eval.stats import decidable, equivalence_p, paired_effect
from pca_protect.eval.tables import (
    COLUMNS,
    OUTCOME_COLUMNS,
    PROMPT_COLUMNS,
    editing_rows,
    outcome_rows,
    prompt_rows,
)

MEANS = {"photoguard": 0.45 / 9, "advdm": 0.43 / 9, "pca-diffusion": 0.39 / 9}
"""Of what exceeds noise."""
WINS = {"photoguard": 1.0, "advdm": 8 / 9, "pca-diffusion": 7 / 9}
LINE = (8 * 0.2 + 0.1) / 9
"""FLIP between clean edits: 0.3 with `snow`, 0.1 with `door`; the last picture has only `door`."""
SCALARS = {("1", "flip"), ("adherence", "flip"), ("adherence", "clip"), ("success", "flip"), ("quality", "blur")}
DISTANCES = {("2", "flip"), ("2-without", "flip"), ("pasted", "flip"), ("sets", "rms")}

Key = tuple[object, ...]


@pytest.fixture(scope="module")
def editing() -> dict[Key, Row]:
    rows = editing_rows(measured(), CONFIG)
    found = {(row["arm"], row["objective"], row["metric"], row["control"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_there_is_a_row_for_every_question_arm_and_control(editing: dict[Key, Row]):
    """A pasted perturbation has no line of other seeds, and an unrelated picture has no perturbation."""
    questions = SCALARS | DISTANCES
    everywhere = (SEED, *CONTROLS)
    own = (NOISE_SPECTRUM, SHUFFLED)
    alone = {(name, *question, None) for question in questions for name in (*CONTROLS, SEED, UNRELATED)}
    alone -= {(SEED, "pasted", "flip", None)}
    alone -= {(UNRELATED, *question, None) for question in (("2-without", "flip"), ("pasted", "flip"))}
    compared = {(arm, *question, control) for arm in ARMS for question in questions for control in everywhere}
    compared |= {(DECIDED, *question, control) for question in questions for control in own}
    compared -= {(arm, "pasted", "flip", SEED) for arm in ARMS}
    assert set(editing) == alone | compared
    for row in editing.values():
        assert tuple(row) == COLUMNS
        assert (row["editor"], row["budget_levels"]) == ("an editor", 16)
        of_target = row["objective"] == "success" or (row["objective"], row["metric"]) == ("adherence", "flip")
        assert row["n"] == (8 if of_target else 9), "the last picture has no edit with a style that counts"
        assert row["kept"] == pytest.approx(34 / 36), "two clean edits of 36 missed their style"


def test_visibility_is_that_of_the_arm_and_of_its_control(editing: dict[Key, Row]):
    for (arm, _, _, control), row in editing.items():
        if arm in ARMS:
            assert row["visibility"] == pytest.approx(VISIBLE[str(arm)])
            beside = {NOISE_LINF: VISIBLE[LINF], NOISE_VISIBLE: VISIBLE[AS_VISIBLE[str(arm)]]}
            if control == SEED:
                assert row["control_visibility"] is None
            elif control in beside:
                assert row["control_visibility"] == pytest.approx(beside[str(control)])
    alone = {arm: editing[arm, "2", "flip", None]["visibility"] for arm in (*CONTROLS, SEED, UNRELATED)}
    assert alone == {
        NOISE_LINF: pytest.approx(VISIBLE[LINF]),
        NOISE_VISIBLE: pytest.approx(VISIBLE[LOUD]),
        SEED: None,
        UNRELATED: None,
    }


def test_pictures_without_a_value_of_a_metric_do_not_count_for_it():
    """The first picture has no face, and one of the others has none in its clean edits of other seeds."""
    faceless, other = PICTURES[0], PICTURES[1]
    one = measured()
    entries = copy.deepcopy(one.entries)
    for picture in PICTURES:
        if picture == faceless:
            continue
        clean = entries[picture]["clean"]
        for variant in entries[picture].values():
            for edit in variant["edits"].values():
                for what in {"to_original", "to_clean"} & edit.keys():
                    edit[what]["face-identity"] = edit[what]["flip"]
        for pairs in clean["pairs"].values() if picture != other else ():
            for distances in pairs.values():
                distances["face-identity"] = distances["flip"]
    rows = editing_rows(replace(one, entries=entries), CONFIG)
    found = {(row["arm"], row["objective"], row["metric"], row["control"]): row for row in rows}
    for arm in ARMS:
        assert found[arm, "2", "face-identity", NOISE_LINF]["n"] == 8
        assert found[arm, "1", "face-identity", SEED]["n"] == 8
        assert found[arm, "2", "face-identity", SEED]["n"] == 7
        assert found[arm, "2", "flip", SEED]["n"] == 9
        effect = statistics.fmean(0.1 + beyond for beyond in BEYOND_NOISE[arm][1:])
        assert found[arm, "2", "face-identity", NOISE_LINF]["effect"] == pytest.approx(effect)


@pytest.mark.parametrize("arm", ARMS)
def test_the_distance_to_the_clean_edit(editing: dict[Key, Row], arm: str):
    row = editing[arm, "2", "flip", NOISE_LINF]
    assert row["effect"] == pytest.approx(0.1 + MEANS[arm])
    assert row["noise_effect"] == pytest.approx(0.1)
    assert row["ratio"] == pytest.approx(1 + 10 * MEANS[arm])
    assert row["difference"] == pytest.approx(MEANS[arm])
    assert row["p"] == pytest.approx(P[arm])
    assert row["p_holm"] == pytest.approx(P_HOLM[arm])
    assert row["win_rate"] == pytest.approx(WINS[arm])
    interval = ttest_1samp(BEYOND_NOISE[arm], 0).confidence_interval()
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    visible = editing[arm, "2", "flip", NOISE_VISIBLE]
    assert visible["noise_effect"] == pytest.approx(APART[AS_VISIBLE[arm]]), "each arm has noise of its own visibility"
    assert visible["difference"] == pytest.approx(0.1 + MEANS[arm] - APART[AS_VISIBLE[arm]])


def test_the_line_of_other_seeds_decides(editing: dict[Key, Row]):
    assert editing[SEED, "2", "flip", None]["effect"] == pytest.approx(LINE)
    for arm in ARMS:
        row = editing[arm, "2", "flip", SEED]
        assert row["noise_effect"] == pytest.approx(LINE)
        assert row["difference"] == pytest.approx(0.1 + MEANS[arm] - LINE)
    assert editing["photoguard", "2", "flip", SEED]["win_rate"] == pytest.approx(1 / 9), "the last picture alone"


def test_each_seed_is_compared_with_all_others():
    pairs = {"0/1": {"flip": 0.1}, "0/2": {"flip": 0.3}, "1/2": {"flip": 0.5}}
    clean = {"edits": {}, "pairs": {"snow": pairs}}
    lines = [seed_line(clean, [f"snow/{number}"]) for number in range(3)]
    assert lines == [pytest.approx(0.2), pytest.approx(0.3), pytest.approx(0.4)]


def test_controls_of_the_arms_own_perturbation(editing: dict[Key, Row]):
    for control, variant in ((SHUFFLED, SHUFFLED_PCA), (NOISE_SPECTRUM, SPECTRUM_PCA)):
        row = editing[DECIDED, "2", "flip", control]
        assert row["noise_effect"] == pytest.approx(APART[variant])
        assert row["difference"] == pytest.approx(0.1 + MEANS[DECIDED] - APART[variant])
    assert editing[UNRELATED, "2", "flip", None]["effect"] == pytest.approx(0.5)


def test_what_the_perturbation_itself_adds(editing: dict[Key, Row]):
    without = editing["photoguard", "2-without", "flip", SEED]
    assert without["effect"] == pytest.approx(0.1 + MEANS["photoguard"] - WITHOUT)
    assert without["noise_effect"] == pytest.approx(LINE)
    assert editing["photoguard", "pasted", "flip", NOISE_LINF]["effect"] == pytest.approx(VISIBLE["photoguard"] / 2)


def test_sets_of_edits_are_an_energy_distance_apart(editing: dict[Key, Row]):
    """2 * 10 - 8 - 6 for the arms, 2 * 6 - 6 - 6 for noise; the edits of one set have no distance to each other's own"""
    row = editing["photoguard", "sets", "rms", NOISE_LINF]
    assert (row["effect"], row["noise_effect"]) == (pytest.approx(6), pytest.approx(0))
    alone = editing["photoguard", "sets", "rms", SEED]
    assert (alone["noise_effect"], alone["difference"]) == (0, pytest.approx(6))


@pytest.mark.parametrize(
    ("objective", "metric", "values", "other_seed"),
    [
        ("1", "flip", CLOSER, 0.04),
        ("adherence", "flip", DISOBEDIENT, 0.06),
        ("adherence", "clip", LESS_LIKE_THE_PROMPT, 0.02),
        ("success", "flip", FAILED, 0.0),
        ("quality", "blur", BLURRED, 0.01),
    ],
)
def test_more_is_more_protection(
    editing: dict[Key, Row], objective: str, metric: str, values: dict[str, float], other_seed: float
):
    controls = {NOISE_LINF: dict.fromkeys(ARMS, values[LINF]), SEED: dict.fromkeys(ARMS, other_seed)}
    controls[NOISE_VISIBLE] = {arm: values[LOUD] if AS_VISIBLE[arm] == LOUD else 0.0 for arm in ARMS}
    assert editing[NOISE_LINF, objective, metric, None]["effect"] == pytest.approx(values[LINF])
    assert editing[NOISE_VISIBLE, objective, metric, None]["effect"] == pytest.approx(values[LOUD])
    assert editing[SEED, objective, metric, None]["effect"] == pytest.approx(other_seed)
    for control, of_noise in controls.items():
        for arm in ARMS:
            row = editing[arm, objective, metric, control]
            assert row["effect"] == pytest.approx(values[arm])
            assert row["noise_effect"] == pytest.approx(of_noise[arm])
            assert row["difference"] == pytest.approx(values[arm] - of_noise[arm])
            if of_noise[arm] > 1e-9:
                assert row["ratio"] == pytest.approx(values[arm] / of_noise[arm])
            elif of_noise[arm] <= 0:
                assert row["ratio"] is None


def test_what_arms_are_stands_beside_them(editing: dict[Key, Row]):
    about = {str(row["arm"]): (row["mode"], row["needs"]) for row in editing.values()}
    assert about == {
        **dict.fromkeys((*CONTROLS, SEED, UNRELATED), ("", "nothing")),
        "photoguard": ("", "encoder"),
        "advdm": ("", "denoiser"),
        "pca-diffusion": ("diffusion", "encoder"),
    }
    statistics = ("control", "noise_effect", "ratio", "difference", "ci_low", "ci_high", "p", "p_holm", "win_rate")
    for name in (*CONTROLS, SEED, UNRELATED):
        assert all(editing[name, "2", "flip", None][column] is None for column in statistics)


def test_outcomes_are_two_words():
    rows = {row["arm"]: row for row in outcome_rows(measured(), CONFIG)}
    assert set(rows) == set(ARMS)
    for arm, row in rows.items():
        assert tuple(row) == OUTCOME_COLUMNS
        assert (row["editor"], row["budget_levels"], row["n"]) == ("an editor", 16, 9)
        assert row["visibility"] == pytest.approx(VISIBLE[str(arm)])
        assert row["effect"] == pytest.approx(0.1 + MEANS[str(arm)])
        assert row["seed_line"] == pytest.approx(LINE)
        assert row["moves"] is False, "another seed moves edits further"
        assert row["carried"] == pytest.approx(WITHOUT / (0.1 + MEANS[str(arm)]))
        assert row["success"] == pytest.approx(1 - FAILED[str(arm)])
    assert [rows[arm]["beyond_noise"] for arm in ARMS] == [False, True, True], (
        "less than noise as visible as photoguard"
    )
    assert (rows["photoguard"]["own_picture"], rows[DECIDED]["own_picture"]) == (None, False)
    assert rows["photoguard"]["fails"] is True
    assert rows["photoguard"]["fails_in"] == "adherence (flip), adherence (clip), success (flip), quality (blur)"
    assert rows["advdm"]["fails_in"] == "quality (blur)"
    assert rows[DECIDED]["fails_in"] == "adherence (flip), success (flip)"


def test_an_edit_that_only_moves_does_not_fail():
    whole = measured()
    entries = {}
    for picture, found in whole.entries.items():
        far = {name: {**edit, "to_clean": {"flip": 0.9}} for name, edit in found["advdm 16"]["edits"].items()}
        same = {**far, **{name: {**far[name], "picture": found["clean"]["edits"][name]["picture"]} for name in far}}
        entries[picture] = {**found, "advdm 16": {**found["advdm 16"], "edits": same}}
    (row,) = [row for row in outcome_rows(replace(whole, entries=entries), CONFIG) if row["arm"] == "advdm"]
    assert (row["moves"], row["fails"], row["fails_in"]) == (True, False, "")


def test_below_eight_pictures_there_is_no_outcome():
    few = replace(measured(), pictures=PICTURES[:7])
    for row in outcome_rows(few, CONFIG):
        assert [row[column] for column in ("moves", "beyond_noise", "own_picture", "fails")] == [None] * 4
        assert row["effect"] > 0


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
    assert (row["budget_levels"], row["metric"], row["n"]) == (16, "flip", 9)
    assert row["effect"] == pytest.approx(0.1 + 0.39 / 9)
    assert row["rival_effect"] == pytest.approx(0.15)
    assert row["difference"] == pytest.approx(-0.06 / 9)
    assert row["win_rate"] == pytest.approx(3.5 / 9), "two losses and seven ties, which count half"
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


def test_alike_is_within_a_tenth_of_what_another_seed_does():
    rows = {row["rival"]: row for row in rival_rows(measured(), CONFIG) if row["objective"] == "2"}
    for row in rows.values():
        assert row["margin"] == pytest.approx(0.1 * LINE)
    ours = BEYOND_NOISE["pca-diffusion"]
    found = {rival: equivalence_p(ours, BEYOND_NOISE[rival], 0.1 * LINE) for rival in rows}
    assert found["advdm"] is not None
    assert found["photoguard"] is not None
    first, second = sorted(found, key=lambda rival: float(str(found[rival])))
    assert rows[first]["p_alike"] == pytest.approx(2 * found[first])
    assert rows[second]["p_alike"] == pytest.approx(max(2 * found[first], found[second]))


def test_equivalence_is_two_one_sided_tests():
    values = [0.01, -0.02, 0.03, 0.0, 0.02, -0.01, 0.01, 0.0]
    below = ttest_1samp(values, 0.05, alternative="less").pvalue
    above = ttest_1samp(values, -0.05, alternative="greater").pvalue
    assert equivalence_p(values, [0.0] * 8, 0.05) == pytest.approx(max(below, above))
    assert equivalence_p(values, [1.0] * 8, 0.05) > 0.99
    assert equivalence_p([0.01] * 8, [0.0] * 8, 0.05) == 0
    assert equivalence_p([0.1] * 8, [0.0] * 8, 0.05) == 1
    assert equivalence_p(values[:7], [0.0] * 7, 0.05) is None
    assert t.sf(0, 7) == 0.5


def test_prompts_have_their_own_pictures_and_a_spread():
    """With `snow` the last picture has no edit that counts."""
    rows = {(row["arm"], row["prompt"], row["control"]): row for row in prompt_rows(measured(), CONFIG)}
    controls = (NOISE_LINF, SEED)
    prompts = ("snow", "door", "spread")
    assert set(rows) == {(arm, prompt, control) for arm in ARMS for prompt in prompts for control in controls}
    snow, door, spread = (rows["photoguard", prompt, NOISE_LINF] for prompt in ("snow", "door", "spread"))
    assert tuple(snow) == PROMPT_COLUMNS
    about = (snow["editor"], snow["mode"], snow["budget_levels"], snow["objective"], snow["metric"])
    assert about == ("an editor", "", 16, "2", "flip")
    assert (snow["n"], snow["kept"]) == (8, pytest.approx(8 / 9))
    assert (door["n"], door["kept"]) == (9, 1)
    assert (snow["effect"], snow["noise_effect"]) == (pytest.approx(0.145), pytest.approx(0.1))
    assert (snow["ratio"], snow["difference"]) == (pytest.approx(1.45), pytest.approx(0.045))
    assert (snow["p"], snow["win_rate"]) == (pytest.approx(2 / 256), 1)
    assert door["difference"] == pytest.approx(0.05)
    assert door["p"] == pytest.approx(2 / 512)
    assert snow["p_holm"] == door["p_holm"] == pytest.approx(2 / 256)
    assert door["ci_low"] < door["difference"] < door["ci_high"]
    assert spread["difference"] == pytest.approx(0.0475)
    assert spread["spread"] == pytest.approx(0.005 / 2**0.5 / 0.0475), (
        "the deviation of two is their distance over sqrt 2"
    )
    assert (snow["spread"], spread["effect"], spread["n"]) == (None, None, None)
    assert rows["pca-diffusion", "door", NOISE_LINF]["mode"] == "diffusion"
    for prompt, line in (("snow", 0.3), ("door", 0.1)):
        assert rows["photoguard", prompt, SEED]["noise_effect"] == pytest.approx(line)


def test_the_frontier_stands_beside_the_published_loop():
    rows = {(row["arm"], row["metric"]): row for row in frontier_rows(measured(), CONFIG)}
    arms = {NOISE_LINF: LINF, **dict(zip(ARMS, ARMS, strict=True))}
    assert set(rows) == {(arm, metric) for arm in arms for metric in ("flip", "haarpsi")}
    for (arm, metric), row in rows.items():
        assert tuple(row) == FRONTIER_COLUMNS
        assert (row["editor"], row["budget_levels"], row["n"]) == ("an editor", 16, 9)
        visible, published = VISIBLE[arms[str(arm)]], VISIBLE["pca-diffusion"]
        if metric == "haarpsi":
            visible, published = visible**2, published**2
        assert row["visibility"] == pytest.approx(visible)
        for column in ("share", "ci_low", "ci_high"):
            assert row[column] == pytest.approx(visible / published)
        effect = sum(apart(arms[str(arm)], number) for number in range(len(PICTURES))) / 9
        assert row["effect"] == pytest.approx(effect)
        assert row["seed_line"] == pytest.approx(LINE)
        assert row["effect_share"] == pytest.approx(effect / (0.1 + 0.39 / 9))
        assert row["effect_ci_low"] <= row["effect_share"] <= row["effect_ci_high"]
        seconds = SECONDS[arms[str(arm)]]
        assert (row["seconds"], row["seconds_share"]) == (seconds, pytest.approx(seconds / 8))


def test_without_an_edit_that_counts_there_is_no_row():
    whole = measured()
    failed = {"edits": {"snow/0": {"to_target": 0.5, "to_target_without": 0.1}}}
    entries = {picture: {**found, "clean": failed} for picture, found in whole.entries.items()}
    nothing = replace(whole, entries=entries)
    for rows in (editing_rows, outcome_rows, rival_rows, prompt_rows, frontier_rows):
        assert rows(nothing, CONFIG) == []


def ranked(editor: str, effects: dict[str, tuple[float, float]]) -> list[Row]:
    """Rows of the table `editing`: arm -> (effect, effect above noise of equal visibility)."""
    common = {"editor": editor, "objective": "2", "metric": "flip", "budget_levels": 16}
    noise: Row = {**common, "arm": "noise-linf", "control": None, "effect": 0.0, "difference": None}
    return [
        noise,
        *(
            {**common, "arm": arm, "control": control, "effect": effect, "difference": difference}
            for arm, (effect, beyond) in effects.items()
            for control, difference in (("noise-linf", effect), ("noise-visible", beyond))
        ),
    ]


def test_the_order_of_arms_is_compared_between_editors():
    one = ranked("one", {"photoguard": (0.1, 0.3), "mist": (0.2, 0.2), "pid": (0.3, 0.1)})
    same_order = ranked("two", {"photoguard": (0.5, 0.1), "mist": (0.6, 0.2), "pid": (0.9, 0.3), "advdm": (0.1, 0.9)})
    effect, beyond = rank_rows([*one, *same_order])
    assert tuple(effect) == tuple(beyond) == RANK_COLUMNS
    assert (effect["editor"], effect["other"], effect["value"], effect["n"]) == ("one", "two", "effect", 4)
    assert effect["correlation"] == pytest.approx(1)
    assert (beyond["value"], beyond["n"], beyond["correlation"]) == ("above noise-visible", 3, pytest.approx(-1))


def test_two_arms_have_no_order_worth_comparing():
    rows = [*ranked("one", {"photoguard": (0.1, 0.3)}), *ranked("two", {"photoguard": (0.1, 0.3)})]
    assert rank_rows(rows) == []


def test_a_verdict_that_no_picture_could_give_is_left_open():
    assert decidable(8, 6)
    assert not decidable(8, 7)
    eight = measured()
    few = replace(eight, pictures=eight.pictures[:8])
    rows = {str(row["arm"]): row for row in outcome_rows(few, CONFIG)}
    assert {row["fails"] for row in rows.values()} == {None}, (
        "12 tests of 8 pairs are at least 0.09 after the adjustment"
    )
    assert rows["photoguard"]["moves"] is not None
