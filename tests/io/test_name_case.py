"""Disks that take names differing in case for one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pca_protect.io.name_case import ignores_case


@pytest.mark.parametrize("below", ["", "new/folder"])
def test_one_file_under_both_names_is_a_disk_that_ignores_case(tmp_path: Path, below: str):
    (tmp_path / "IMG_1.jpg").touch()
    os.link(tmp_path / "IMG_1.jpg", tmp_path / "img_1.JPG")  # what such a disk shows
    assert ignores_case(tmp_path / below)


@pytest.mark.parametrize("names", [["IMG_1.jpg"], ["IMG_1.jpg", "img_1.JPG"], ["123"], []])
def test_other_files_or_none_under_the_other_name_are_not(tmp_path: Path, names: list[str]):
    probe = tmp_path / "Probe"
    probe.touch()
    if (tmp_path / "pROBE").exists():
        pytest.skip("the disk of this test ignores case")
    probe.unlink()
    for name in names:
        (tmp_path / name).write_text(name)
    assert not ignores_case(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
