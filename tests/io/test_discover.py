"""Which pictures are meant by files, folders, patterns and lists."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import smooth_picture

from pca_protect.errors import UsageError
from pca_protect.io.discover import discover
from pca_protect.io.filters import Filter
from pca_protect.io.picture import Picture
from pca_protect.io.read import from_pil
from pca_protect.io.source import Found, Listed
from pca_protect.io.write import encode_picture

NOTE = '{"version": "1", "mode": "diffusion", "vae": "pocket", "budget_levels": 16, "warnings": []}'


def places(found: Found) -> list[str]:
    return [source.place for source in found.sources]


def put(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    smooth_picture(16, 24, seed=seed).save(path, "PNG")
    return path


def ours() -> bytes:
    picture: Picture = from_pil(smooth_picture(16, 24))
    return encode_picture(picture, "PNG", marker=NOTE)


def test_content_decides_what_is_a_picture(tmp_path: Path):
    put(tmp_path / "no extension")
    put(tmp_path / "photo.txt")
    put(tmp_path / ".hidden.png")
    put(tmp_path / ".folder" / "photo.png")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "newer.jxl").write_bytes(b"hello" * 10)
    (tmp_path / "notes.md").write_text("hello")
    found = discover([str(tmp_path)], recursive=True)
    named_as_pictures = {"text.png", "empty.png", "newer.jxl"}
    assert set(places(found)) == {"no extension", "photo.txt"} | named_as_pictures
    assert (found.listed, found.not_pictures, found.hidden) == (8, 1, 2)
    assert "not in a recognised image format" in " ".join(found.messages())
    assert {(source.width_px, source.height_px) for source in found.sources if source.place == "photo.txt"} == {
        (16, 24)
    }


def test_what_is_named_is_kept_to_fail_with_its_sentence(tmp_path: Path):
    (tmp_path / "text.png").write_text("hello")
    found = discover([str(tmp_path / "text.png"), str(tmp_path / "nowhere.png")])
    assert places(found) == ["text.png", "nowhere.png"]
    assert found.messages() == []


def test_subfolders_are_entered_on_request_and_counted_otherwise(tmp_path: Path):
    for name in ("one.png", "a/two.png", "a/b/three.png"):
        put(tmp_path / name)
    (tmp_path / "empty").mkdir()
    found = discover([str(tmp_path)])
    assert places(found) == ["one.png"]
    assert found.messages() == ["1 subfolder was not entered; add `recursive` to include them"]
    assert places(discover([str(tmp_path)], recursive=True)) == ["one.png", "a/two.png", "a/b/three.png"]


def test_links_are_followed_and_loops_end(tmp_path: Path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    put(inside / "z" / "photo.png")
    put(outside / "other.png")
    (inside / "a-loop").symlink_to(inside, target_is_directory=True)
    (inside / "z" / "up").symlink_to(inside, target_is_directory=True)
    (inside / "a-twin").symlink_to(inside / "z", target_is_directory=True)
    (inside / "more").symlink_to(outside, target_is_directory=True)
    (inside / "file.png").symlink_to(outside / "other.png")
    (inside / "self.png").symlink_to("self.png")
    found = discover([str(inside)], recursive=True)
    assert places(found) == ["file.png", "self.png", "z/photo.png", "more/other.png"]


def test_outputs_never_become_inputs(tmp_path: Path):
    put(tmp_path / "photo.png")
    put(tmp_path / "out" / "from-elsewhere.png")
    (tmp_path / "photo.protected.png").write_bytes(ours())
    found = discover([str(tmp_path)], recursive=True, output=tmp_path / "out")
    assert places(found) == ["photo.png"]
    assert found.ours == 1
    assert found.output_inside
    assert len(found.messages()) == 2
    assert discover([str(tmp_path / "photo.protected.png")]).sources == []
    assert discover([str(tmp_path)], output=tmp_path / "out").not_entered == 0


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.png", "a/b/y.png", "photo[1].png"):
        put(Path(name))
    assert places(discover(["photo[1].png"])) == ["photo[1].png"]
    found = discover(["a/**/*.png"])
    assert sorted(places(found)) == ["b/y.png", "x.png"]
    assert found.several
    assert {source.root for source in found.sources} == {"a"}
    assert places(discover(["a/*"])) == ["x.png", "b/y.png"]  # a folder that matches is a folder that was given
    assert places(discover(["a/*.png", "a/b/*.png"])) == ["x.png", "y.png"]
    assert places(discover(["a/*"], wanted=Filter(exclude=("b",)))) == ["x.png"]
    assert sorted(places(discover([str(tmp_path / "*" / "*.png")]))) == ["a/x.png"]
    with pytest.raises(UsageError, match="matches nothing"):
        discover(["b/*.png"])


def test_lists_keep_places(tmp_path: Path):
    path = put(tmp_path / "a" / "b" / "photo.png")
    (source,) = discover([], listed=[Listed(str(path), str(tmp_path / "a"))]).sources
    assert source.place == str(Path("b", "photo.png"))
    assert places(discover([], listed=[Listed(str(path)), Listed(str(path.parent))])) == ["photo.png", "photo.png"]
    with pytest.raises(UsageError, match="is not below"):
        discover([], listed=[Listed(str(path), str(tmp_path / "c"))])


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_odd_names(tmp_path: Path):
    names = [
        b"new\nline.png",
        "emoji 😀.png".encode(),
        b"undecodable \xff.png",
        b"x" * 251 + b".png",
        b" .png",
        b"-o.png",
    ]
    for name in names:
        put(tmp_path / os.fsdecode(name))
    assert sorted(map(os.fsencode, places(discover([str(tmp_path)])))) == sorted(names)


def test_what_is_named_as_a_picture_fails_by_name(tmp_path: Path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    found = discover([str(tmp_path)])
    assert (places(found), found.not_pictures) == (["empty.png", "text.png"], 0)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are a POSIX thing")
def test_pipes_are_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    (source,) = discover([str(tmp_path)]).sources
    assert "is a pipe, a socket or a device" in source.problem


def test_patterns_follow_no_loops(tmp_path: Path):
    """Two links to their own folder have 2^40 paths."""
    put(tmp_path / "photos" / "a.png")
    for name in ("loop", "twin"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "photos", target_is_directory=True)
    assert places(discover([str(tmp_path / "photos" / "**" / "*.png")])) == ["a.png"]


def test_filters(tmp_path: Path):
    for place in ("a.png", "b.jpg", "raw/c.png", "raw/deep/d.png", "e/raw.png", "e/f.png"):
        put(tmp_path / place)

    def found(include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> set[str]:
        result = discover([str(tmp_path)], recursive=True, wanted=Filter(include, exclude))
        assert result.listed == len(result.sources) + result.excluded
        return {Path(place).as_posix() for place in places(result)}

    assert found(include=("*.png",)) == {"a.png", "raw/c.png", "raw/deep/d.png", "e/raw.png", "e/f.png"}
    assert found(exclude=("raw",)) == {"a.png", "b.jpg", "e/raw.png", "e/f.png"}
    assert found(include=("*.png",), exclude=("raw/deep", "e/f.*")) == {"a.png", "raw/c.png", "e/raw.png"}
    assert found(include=("**/deep/*",)) == {"raw/deep/d.png"}
    assert places(discover([str(tmp_path / "b.jpg")], wanted=Filter(("*.png",)))) == ["b.jpg"], "was named"


def test_empty_names_are_refused():
    with pytest.raises(UsageError, match="an input is empty"):
        discover([""])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_cannot_be_listed_is_a_failure(tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o000)
    (source,) = discover([str(tmp_path)], recursive=True).sources
    assert "cannot be listed" in source.problem
