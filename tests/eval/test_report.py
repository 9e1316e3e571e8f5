"""The page about benchmarks: whole, self-contained, and true to the tables."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pca_protect import UsageError
from pca_protect.cli.main import app
from pca_protect.eval.arms.controls import CONTROL, OWN_CONTROLS, REFERENCES, SEED, UNRELATED
from pca_protect.eval.arms.registry import ARMS, CONTROLS
from pca_protect.eval.report import drawing, figures
from pca_protect.eval.report.page import write_report
from pca_protect.eval.report.section import difference

ALONE = (*CONTROLS, SEED, UNRELATED)
OWN = ("pca-diffusion", "pca-concentration")


def controls_of(arm: str) -> tuple[str | None, ...]:
    if arm in ALONE:
        return (None,)
    return tuple(control for control in CONTROL if arm in OWN or control not in OWN_CONTROLS)


EDITING = [
    {
        "editor": "an <editor>",
        "arm": arm,
        "mode": ARMS[arm].mode if arm in ARMS else "",
        "needs": ARMS[arm].needs if arm in ARMS else "nothing",
        "budget_levels": 16,
        "visibility": None if arm in REFERENCES else 0.1 + 0.01 * number,
        "objective": objective,
        "metric": metric,
        "effect": 0.2 + 0.01 * number,
        "control": control,
        "noise_effect": None if control is None else 0.15,
        "ratio": None if control is None else 1.4,
        "difference": None if control is None else 0.05 + 0.01 * number,
        "ci_low": None if control is None else 0.02,
        "ci_high": None if control is None else 0.09,
        "p": None if control is None else 0.001,
        "p_holm": None if control is None else (0.004 if arm == "pca-diffusion" else 0.3),
        "win_rate": None if control is None else 0.9,
        "n": 24,
        "kept": 0.85,
    }
    for objective, metric in (
        *(("2", "flip"), ("2-without", "flip"), ("sets", "rms"), ("1", "flip")),
        *(("adherence", "flip"), ("quality", "blur")),
    )
    for number, arm in enumerate(("noise-linf", "noise-visible", "photoguard", *OWN, SEED, UNRELATED))
    for control in controls_of(arm)
]

OUTCOMES = [
    {
        **{"editor": "an <editor>", "arm": arm, "mode": "", "budget_levels": 16, "visibility": 0.1, "effect": effect},
        **{"seed_line": 0.2, "difference": effect - 0.2, "p_holm": 0.01, "moves": effect > 0.2, "beyond_noise": True},
        **{"own_picture": False, "fails": bool(fails), "fails_in": fails, "carried": 0.1, "success": 0.6, "n": 24},
    }
    for arm, effect, fails in (("pca-diffusion", 0.33, "adherence (flip)"), ("pca-concentration", 0.19, ""))
]

TRANSFER = [
    {
        **{"surrogate": source, "target": target, "mode": mode, "same_encoder": source == target, "budget_levels": 16},
        **{"objective": objective, "editor": None if objective == "posterior" else f"{target}-editor"},
        **{"metric": "latent" if objective == "posterior" else "flip", "effect": 0.9, "control": "noise-linf"},
        **{"noise_effect": 0.3, "ratio": 3.0 if source == target else 1.5, "difference": 0.6},
        **{"ci_low": 0.5, "ci_high": 0.7, "p": 0.01, "p_holm": 0.02, "win_rate": 1.0, "n": 9, "kept": 0.8},
        **{"seed_line": None if objective == "posterior" else 0.25, "above_seed": 0.65, "seed_ci_low": 0.5},
        **{"seed_ci_high": 0.8, "seed_p_holm": 0.01, "names": target},
    }
    for source in ("one", "two")
    for target in ("one", "two")
    for mode in ("diffusion", "concentration")
    for objective in ("posterior", "2")
]

PURIFY = [
    {
        **{"purifier": purifier, "what": f"by {purifier}", "arm": arm, "mode": "", "budget_levels": 16},
        **{"objective": "2", "metric": "flip", "effect": 0.2, "before": 0.4, "retained": 0.5, "ci_low": 0.4},
        **{"ci_high": 0.6, "retained_above_noise": 0.45, "above_ci_low": 0.3, "above_ci_high": 0.6},
        **{"noise_effect": 0.1, "noise_retained": 0.3, "difference": 0.1, "difference_ci_low": 0.05},
        **{"difference_ci_high": 0.15, "p": 0.01, "p_holm": 0.02, "seed_line": 0.25, "changes_picture": 0.07},
        **{"n": 9, "kept": 0.8},
    }
    for purifier in ("none", "jpeg-75", "blur-1", "worst")
    for arm in ("pca-diffusion", "pca-concentration")
]

PROMPTS = [
    {
        **{"editor": "e", "arm": "pca-diffusion", "mode": "diffusion", "budget_levels": 16, "prompt": prompt},
        **{"objective": "2", "metric": "flip", "effect": effect, "control": control, "noise_effect": 0.1},
        **{"ratio": 2.0, "difference": 0.1, "ci_low": None, "ci_high": None, "p": None, "p_holm": None},
        **{"win_rate": None, "n": 1, "kept": 1.0, "spread": 0.2 if prompt == "spread" else None},
    }
    for control in ("noise-linf", "seed")
    for prompt, effect in (("snow", 0.2), ("a & b", 0.25), ("spread", None))
]

TABLES = {
    "editing": EDITING,
    "outcomes": OUTCOMES,
    "transfer": TRANSFER,
    "purify": PURIFY,
    "prompts": PROMPTS,
    "cost": [{"arm": "x", "met": True}],
}


def folder_with(folder: Path, tables: dict[str, object]) -> Path:
    folder.mkdir()
    summary = {"command": "pca-protect bench x", "config": {"seed": 7}, "environment": {"cpu": "one"}, "tables": tables}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def page(tmp_path: Path) -> str:
    folder = folder_with(tmp_path / "results", TABLES)
    kept = folder / "pictures" / "editor" / "photo"
    kept.mkdir(parents=True)
    for name in ("original", "clean", "pca-diffusion-8", "pca-diffusion-8-protected", "pca-diffusion-16",
                 "pca-diffusion-16-protected", "pca-diffusion-16-shuffled", "pca-diffusion-16-shuffled-protected",
                 "clean-other-seed", "pca-diffusion-16-noise-spectrum", "secret-arm-16"):  # fmt: skip
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(kept / f"{name}.png")
    return write_report([folder], tmp_path / "page.html").read_text()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_needs_nothing_but_itself(page: str):
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    assert tags.addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in tags.addresses)
    assert "<script" not in page
    assert not re.search(r"url\((?!#)|@import", page)


def test_it_reads_on_a_phone_and_in_the_dark(page: str):
    assert 'name="viewport" content="width=device-width' in page
    assert "prefers-color-scheme: dark" in page
    assert "currentColor" in page, "figures take the colour of the text around them"


def test_it_says_what_the_tables_say_and_escapes_names(page: str):
    assert "an &lt;editor&gt;" in page
    assert "<editor>" not in page
    assert "pca-diffusion at 16 levels: edits are 0.330 from the clean edit" in page
    assert "it moves edits and makes them fail (adherence (flip))" in page
    assert "it does not move edits further than another seed does and does not make them fail" in page
    assert "24 pictures; 85% of the clean edits follow the prompt" in page
    assert "a &amp; b" in page
    assert "test bed, not Stable Diffusion" in page
    assert '"seed": 7' in page


def test_strips_show_the_largest_budget_and_known_arms(page: str):
    assert page.count("data:image/webp") == 8, "given and edit: not protected with two seeds, one arm, its control"
    assert "not protected, another seed" in page
    assert "pca-diffusion shuffled, 16 levels" in page
    assert "pca-diffusion, 16 levels" in page
    assert "secret-arm" not in page


def test_several_folders_make_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    one = folder_with(tmp_path / "one", {"editing": EDITING})
    two = folder_with(tmp_path / "two", {"purify": PURIFY})
    page = tmp_path / "new" / "both.html"
    app(["bench", "report", str(two), str(one), "-o", str(page)], standalone_mode=False)
    text = page.read_text()
    assert 0 < text.index("What is left after purifying") < text.index("Edits by")
    assert capsys.readouterr().out.strip() == str(page)


@pytest.mark.parametrize(
    ("contents", "message"),
    [(None, "no summary.json in it"), ("{", "is not JSON"), ('{"tables": {}}', "has no command, config, environment")],
)
def test_a_folder_without_results_is_refused(tmp_path: Path, contents: str | None, message: str):
    if contents is not None:
        (tmp_path / "summary.json").write_text(contents)
    with pytest.raises(UsageError, match=message):
        write_report([tmp_path], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_star_is_for_the_adjusted_test():
    rows = {row["arm"]: row for row in EDITING if row["objective"] == "2" and row["control"] == "noise-linf"}
    assert difference(rows["pca-diffusion"]) == "+0.080* [+0.020, +0.090]"
    assert difference(rows["photoguard"]) == "+0.070 [+0.020, +0.090]"


@pytest.mark.parametrize(
    ("draw", "wanted"),
    [
        (
            lambda: figures.forest(EDITING, "2"),
            ["photoguard (16)", "pca-concentration (16)", "clean edits with other seeds"],
        ),
        (
            lambda: figures.effect_by_visibility(EDITING, "2"),
            ["photoguard", "noise-linf", "clean edits with other seeds"],
        ),
        (lambda: figures.heat_map(TRANSFER, "posterior"), ["3.0", "1.5", "one"]),
        (lambda: figures.heat_map(TRANSFER, "2"), ["one-editor", "other seeds"]),
        (lambda: figures.purifier_bars(PURIFY), ["jpeg-75", "blur-1", "worst"]),
        (lambda: figures.prompt_dots(PROMPTS), ["snow", "clean edits with other seeds"]),
    ],
)
def test_figures_are_drawings_with_text_and_the_same_every_time(draw, wanted: list[str]):
    svg = drawing.svg(draw())
    texts = " ".join(ElementTree.fromstring(svg).itertext())
    for word in wanted:
        assert word in texts
    assert "spread" not in texts
    assert drawing.svg(draw()) == svg
    assert drawing.png(draw())[:8] == b"\x89PNG\r\n\x1a\n"
