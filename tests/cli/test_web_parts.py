"""Units of the web page, without a browser: choices, command, queue, downloads, uploads, server options."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import smooth_picture

from pca_protect import ProtectConfig, UsageError
from pca_protect.cli.main import protect_app
from pca_protect.cli.web import form as form_module
from pca_protect.cli.web.address import check_address
from pca_protect.cli.web.command import command
from pca_protect.cli.web.filenames import FOLDER_MARK, protected_names, safe_name, safe_path
from pca_protect.cli.web.form import (
    AIM_NOTES,
    AIMS,
    DESTINATIONS,
    EDITOR_SIZES,
    NOTICE,
    PARTS,
    PLACES,
    SIZES,
    SPEEDS,
    STRENGTHS,
    FormState,
    editor_sizes,
    local_encoders,
    remote_encoders,
)
from pca_protect.eval.check.edits import is_protected_at
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS, SURVIVE
from pca_protect.surrogates.families import FAMILIES
from pca_protect.surrogates.registry import REGISTRY

SECONDS = 10


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("-o.png", "o.png"),
        ('a"b<c>$(rm).png', "a_b_c__(rm).png"),
        ("a%22b%20c.png", "a_b_20c.png"),
        ("née Ünïcode 写真.png", "née Ünïcode 写真.png"),
        ("line\nbreak\x00.png", "line_break.png"),
        ("...", "picture"),
        ("", "picture"),
        (".png", "png"),
        ("CON.png", "_CON.png"),
        ("x" * 300 + ".png", "x" * 76 + ".png"),
    ],
)
def test_names_are_made_safe(given: str, safe: str):
    assert safe_name(given) == safe
    assert safe_name(safe) == safe


def test_names_of_outputs_differ():
    pictures = [("a.jpg", ".png"), ("a.png", ".png"), ("A.png", ".png"), ("b", ".png"), ("a.tif", ".tiff")]
    assert protected_names(pictures) == [
        "a.protected.png",
        "a-2.protected.png",
        "A-3.protected.png",
        "b.protected.png",
        "a.protected.tiff",
    ]
    folders = [("trip/a.jpg", ".png"), ("a.jpg", ".png"), ("trip/A.png", ".png")]
    assert protected_names(folders) == ["trip/a.protected.png", "a.protected.png", "trip/A-2.protected.png"]


def test_folders_of_uploads_are_marked_in_their_names():
    assert safe_path(FOLDER_MARK.join(["trip", "..", "day 2", "a.png"])) == "trip/day 2/a.png"
    assert safe_path("../a.png") == "a.png"


def test_every_choice_of_the_program_is_on_the_page():
    assert {name for _, name in AIMS} == set(MODES) == set(AIM_NOTES)
    assert {name for _, name in SPEEDS} == set(PRESETS)
    assert {name for _, name in PLACES} == {"", *SURVIVE}
    assert {one.survive for one in DESTINATIONS.values()} == {"", *SURVIVE}
    assert {one.scales for one in DESTINATIONS.values()} <= {name for _, name in SIZES}
    assert {one.mode for one in STRENGTHS} <= set(MODES)
    offered = {name: said for said, name in [*local_encoders(offline=False), *remote_encoders(offline=False)]}
    assert set(offered) == {"auto", *FAMILIES, *REGISTRY}
    assert remote_encoders(offline=True) == []
    assert {name for _, name in local_encoders(offline=True)} == {
        "auto",
        *(n for n, entry in REGISTRY.items() if entry.embedded),
    }


def test_one_megapixel_is_the_size_of_editors_of_1024_px():
    assert is_protected_at(1024, ("1mp", "native"))
    assert is_protected_at(512, (512,))
    assert not is_protected_at(512, ("1mp", "native"))
    assert not is_protected_at(1024, (512, "native"))


def test_sizes_of_editors_follow_the_encoders(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(form_module, "is_cached", lambda entry: entry.embedded)
    sizes = {
        names: editor_sizes(names, "fast", offline=True)
        for names in (("auto",), ("pocket",), ("sd",), ("sd", "pocket"), ("editors",))
    }
    assert list(sizes.values()) == ["256,native", "256,native", "512,native", "512,native", ""]
    assert editor_sizes(("auto",), "fast", offline=False) == "512,native"
    assert editor_sizes(("pocket",), "instant", offline=True) == ""


def test_defaults_of_the_page_are_those_of_the_program():
    assert FormState().config("auto") == ProtectConfig()


CHOICES = [
    FormState(
        mode=mode,
        survive=survive,
        region=region,
        vaes=vaes,
        budget_levels=budget,
        max_visibility=visible,
        strip_gps=gps,
    )
    for (mode, survive, region, vaes, budget, visible, gps) in itertools.product(
        MODES, ("", "social"), ("", "center"), (("auto",), ("pocket", "pocket-16")), (16, 5), (0.0, 0.5), (False, True)
    )
] + [
    *(FormState(preset=preset) for preset in PRESETS),
    *(FormState(survive=survive) for survive in SURVIVE),
    *(FormState(scales=scales) for _, scales in SIZES if scales != EDITOR_SIZES),
    FormState(rights_notice=NOTICE),
    FormState(strip_metadata=True),
    FormState(clear_hidden=True),
    FormState(region="face"),
]


def test_the_command_asks_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command line parses each command into the request of the page."""
    from pca_protect.batch.request import Request
    from pca_protect.cli import run as run_module

    asked: list[tuple[Request, ProtectConfig]] = []
    monkeypatch.setattr(run_module, "_preview", lambda request, config: asked.append((request, config)))
    monkeypatch.chdir(tmp_path)
    smooth_picture(16, 16).save("a photo.png")
    for selection in CHOICES:
        words = shlex.split(command(selection, ["a photo.png"]))
        assert words[:2] == ["protect", "a photo.png"]
        protect_app([*words[1:], "--dry-run"], standalone_mode=False)
        request, config = asked.pop()
        assert config == selection.config("auto")
        assert request.device_choice is None
        assert request.output_options == selection.output_options
    assert command(FormState(), ["a photo.png"]) == "protect 'a photo.png' --preset balanced"
    assert command(FormState(), list("abcdef")) == "protect a b c d e f --preset balanced"
    assert command(FormState(), ["a"], device="cpu", offline=True, max_megapixels=0.5) == (
        "protect a --preset balanced --max-megapixels 0.5 --device cpu --offline"
    )
    assert (
        command(dataclasses.replace(FormState(), region="paint"), [])
        == "protect PICTURE --preset balanced --mask mask.png"
    )


def test_no_model_is_a_sentence():
    with pytest.raises(UsageError, match="no encoder is chosen"):
        FormState(vaes=()).config("auto")
    with pytest.raises(UsageError, match="Automatic cannot be combined"):
        FormState(vaes=("auto", "pocket")).config("auto")


def test_parts_that_are_regions_are_understood():
    for _, region in PARTS:
        FormState(region=region).config("auto")


def ui(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pca_protect", "ui", *options], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_taken_port_is_a_sentence():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = ui("--port", str(port))
    assert found.returncode == 2
    assert f"127.0.0.1:{port}: cannot listen on this address (Address already in use)" in found.stderr


def test_an_address_of_another_machine_is_a_sentence():
    with pytest.raises(UsageError, match=r"^192\.0\.2\.1:7999: cannot listen on this address"):
        check_address("192.0.2.1", 7999)


def test_a_root_path_without_a_slash_is_a_sentence():
    found = ui("--root-path", "protect")
    assert found.returncode == 2
    assert "give /protect" in found.stderr


def test_a_missing_gradio_is_a_sentence():
    code = (
        "import sys; sys.modules['gradio'] = None; from pca_protect.cli.main import app, main; "
        "sys.argv = ['pca-protect', 'ui']; main()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 2
    assert re.search(r"gradio is not installed; run pip install .*\[ui\]'", found.stderr)
