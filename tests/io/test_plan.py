"""Which output belongs to which input, and what is refused before any work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import smooth_picture
from small_disk import small_disk

from pca_protect.errors import UsageError
from pca_protect.io.discover import discover
from pca_protect.io.plan import Plan, is_url, plan
from pca_protect.io.write import output_format


def planned(*names: Path | str, output: Path | str | None = None, recursive: bool = False) -> Plan:
    folder = output if isinstance(output, Path) else None
    return plan(discover([str(name) for name in names], recursive=recursive, output=folder), output)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_default_output_is_the_sibling(tmp_path: Path, photo: Path):
    (job,) = planned(photo).jobs
    assert job.target == str(tmp_path / "photo.protected.png")
    assert planned(photo).folder is None


def test_outputs_in_a_folder(tmp_path: Path, photo: Path):
    folder = tmp_path / "out"
    folder.mkdir()
    other = tmp_path / "other.jpg"
    smooth_picture(16, 16).save(other)
    found = planned(photo, other, output=folder)
    assert [Path(job.target).name for job in found.jobs] == ["photo.protected.png", "other.protected.png"]
    assert found.folder == str(folder)


def test_folders_and_patterns_are_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for place in ("a/one.png", "a/b/two.png", "a/b/c/three.png"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        smooth_picture(16, 24).save(place)
    smooth_picture(16, 24).save("a/pages.tif", save_all=True, append_images=[smooth_picture(16, 24, seed=1)])
    targets = ["out/one.protected.png", "out/pages.protected.tiff"]
    assert [job.target for job in planned("a", output=Path("out")).jobs] == targets
    targets += ["out/b/two.protected.png", "out/b/c/three.protected.png"]
    assert [job.target for job in planned("a", output=Path("out"), recursive=True).jobs] == targets
    assert {job.target for job in planned("a/**/*.*", output=Path("out")).jobs} == set(targets)
    assert [job.target for job in planned("a/b/*.png").jobs] == ["a/b/two.protected.png"]
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("photo.png", "is one of the pictures"),
        ("link.png", "is one of the pictures"),
        ("missing/out.png", "no such folder"),
        ("missing", "no such folder"),
        ("out.jpg", "weakens the perturbation"),
        ("out.gif", "cannot write .gif"),
    ],
)
def test_refuses_outputs_before_any_work(tmp_path: Path, photo: Path, output: str, says: str):
    (tmp_path / "link.png").symlink_to(photo)
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=says):
        planned(photo, output=tmp_path / output)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (None, "add -o FOLDER"),
        ("photo.png", "is a file"),
        ("out.png", "names a picture"),
        ("photo.png/x", "created in"),
    ],
)
def test_folders_need_a_folder(tmp_path: Path, photo: Path, output: str | None, says: str):
    with pytest.raises(UsageError, match=says):
        planned(tmp_path, output=None if output is None else tmp_path / output)


def test_refuses_two_pictures_with_one_output(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pictures = [tmp_path / "a" / "same.png", tmp_path / "b" / "same.jpg"]
    for path in pictures:
        smooth_picture(16, 16).save(path)
    with pytest.raises(UsageError, match=r"a/same\.png and .*b/same\.jpg would both be written"):
        planned(*pictures, output=tmp_path)
    with pytest.raises(UsageError, match="would both be written"):
        planned(tmp_path / "a", tmp_path / "b", output=tmp_path / "out")
    assert len(planned(*pictures).jobs) == 2
    assert len(planned(pictures[0], pictures[0], tmp_path / "a", output=tmp_path).jobs) == 1
    with pytest.raises(UsageError, match="need an existing folder"):
        planned(*pictures, output=tmp_path / "out.png")


def test_a_collision_leaves_the_other_pictures(tmp_path: Path):
    for name in ("a.png", "a.jpg", "b.png"):
        smooth_picture(16, 16).save(tmp_path / name)
    jobs = planned(tmp_path, output=tmp_path / "out").jobs
    assert [bool(job.conflict) for job in jobs] == [True, True, False]
    with pytest.raises(UsageError, match="-o is empty"):
        planned(tmp_path / "b.png", output="")


def test_outputs_in_a_bucket(tmp_path: Path, photo: Path):
    (job,) = planned(photo, output="s3://bucket/out/").jobs
    assert job.target == "s3://bucket/out/photo.protected.png"


@pytest.mark.parametrize(
    ("name", "answer"), [("s3://a/b", True), ("gs://a", True), ("/a/b", False), ("a:b/c.png", False), ("C://x", False)]
)
def test_urls(name: str, answer: bool):
    assert is_url(name) is answer


def test_nothing_to_protect_says_what_there_was(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "deeper").mkdir()
    smooth_picture(16, 16).save(tmp_path / "deeper" / "photo.png")
    with pytest.raises(
        UsageError, match=r"no picture to protect \(1 subfolder was not entered; add `recursive` to.*1 file"
    ):
        planned(tmp_path, output=tmp_path / "out")
    with pytest.raises(UsageError, match="no picture given"):
        planned()


@pytest.mark.skipif(sys.platform == "win32", reason="its names have other limits")
def test_an_output_whose_name_would_be_too_long_fails_alone(tmp_path: Path, photo: Path):
    long = tmp_path / ("é" * 125 + ".png")
    photo.rename(long)
    (job,) = planned(tmp_path, output=tmp_path / "out").jobs
    assert "shorten the picture's name by 9 bytes" in job.source.problem
    shorter = long.rename(tmp_path / ("é" * 120 + "x.png"))
    (job,) = planned(shorter).jobs
    assert job.source.problem == ""
    assert len(os.fsencode(Path(job.target).name)) == 255


def test_lossy_needs_permission():
    with pytest.raises(UsageError, match="`allow_lossy`"):
        output_format(Path("x.jpg"), allow_lossy=False)
    assert output_format(Path("x.JPG"), allow_lossy=True) == "JPEG"


def test_a_read_only_disk_is_refused_before_any_work(tmp_path: Path, photo: Path):
    with small_disk(tmp_path, ",ro") as disk:
        with pytest.raises(UsageError, match="cannot be written to"):
            planned(photo, output=disk)
        with pytest.raises(UsageError, match="cannot be created in"):
            planned(tmp_path, output=disk / "new")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path, photo: Path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot be written to"):
        planned(photo, output=folder)


def test_names_that_differ_in_case_collide_where_the_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "in").mkdir()
    for name in ("IMG.jpg", "img.jpg", "other.jpg"):
        smooth_picture(16, 16).save(tmp_path / "in" / name)
    if len(list((tmp_path / "in").iterdir())) < 3:
        pytest.skip("this disk has one file of the two")
    asked: list[Path] = []

    def answer(folder: Path) -> bool:
        asked.append(folder)
        return is_exfat

    monkeypatch.setattr("pca_protect.io.plan.ignores_case", answer)
    for is_exfat in (False, True):
        jobs = planned(tmp_path / "in", output=tmp_path / "out").jobs
        assert [bool(job.conflict) for job in jobs] == [is_exfat, is_exfat, False]
    assert asked == [tmp_path / "out"] * 2
    asked.clear()
    planned(tmp_path / "in" / "other.jpg")
    assert asked == [], "nothing differs in case alone"
