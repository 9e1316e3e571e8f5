"""Names of outputs from templates."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pca_protect.errors import UsageError
from pca_protect.io.naming import NameTemplate

PICTURE = PurePosixPath("2024/may/IMG.1.jpg")


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ("{stem}_protected{ext}", "2024/may/IMG.1_protected.webp"),
        ("{name}{ext}", "2024/may/IMG.1.jpg.webp"),
        ("{number:03}-{stem}{ext}", "2024/may/007-IMG.1.webp"),
        ("{number}{ext}", "2024/may/7.webp"),
        ("./{stem}{ext}", "IMG.1.webp"),
        ("{parent}/small/{stem}{ext}", "2024/may/small/IMG.1.webp"),
        ("all/{parent}/{stem}{ext}", "all/2024/may/IMG.1.webp"),
        ("{{{stem}}}{ext}", "2024/may/{IMG.1}.webp"),
    ],
)
def test_fields(template: str, place: str):
    assert NameTemplate(template).place(PICTURE, suffix=".webp", number=7).as_posix() == place


def test_a_picture_without_a_folder_stays_at_the_top():
    named = NameTemplate("{parent}/{stem}{ext}").place(PurePosixPath("a.png"), suffix=".png", number=1)
    assert named == PurePosixPath("a.png")


def test_the_default_and_its_test_only_form():
    default = NameTemplate()
    assert default.place(PICTURE, suffix=".png", number=1).name == "IMG.1.protected.png"
    assert default.test_only(fallback=False).place(PICTURE, suffix=".png", number=1).name == "IMG.1.test-only.png"
    other = NameTemplate("{stem}_p{ext}").test_only(fallback=True)
    assert other.place(PICTURE, suffix=".png", number=1).name == "IMG.1_p.test-only.png"


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{stem}",
        "{stem}.png",
        "{stem",
        "{stem}}{ext}",
        "{}{ext}",
        "{title}{ext}",
        "{stem.__class__}{ext}",
        "{stem[0]}{ext}",
        "{stem!r}{ext}",
        "{stem:>9}{ext}",
        "{number:0999999999}{ext}",
        "{stem}{ext}{ext}",
        "protected{ext}",
        "{stem}/protected{ext}",
        "../{stem}{ext}",
        "{parent}/../{stem}{ext}",
        "/tmp/{stem}{ext}",
        "a//{stem}{ext}",
        "{parent}-{stem}{ext}",
        "{stem}\0{ext}",
    ],
)
def test_what_makes_no_name_is_refused(template: str):
    with pytest.raises(UsageError):
        NameTemplate(template)


@given(st.text(st.sampled_from("{}/.:!a0") | st.characters(), max_size=12), st.booleans())
def test_any_text_is_refused_or_names_a_place_below_the_folder(text: str, complete: bool):
    try:
        template = NameTemplate(text + "{stem}{ext}" if complete else text)
    except UsageError:
        return
    place = template.place(PICTURE, suffix=".png", number=1)
    assert not place.is_absolute()
    assert ".." not in place.parts
    assert place.suffix == ".png"
