"""Every message that docs/troubleshooting.md quotes is one that the program says, word for word."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, smooth_picture
from filelock import FileLock
from huggingface_hub import constants
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pretended_device import pretending

import pca_protect.protection
from pca_protect import PcaProtectError
from pca_protect import device as device_module
from pca_protect.cli import console
from pca_protect.cli.flags import in_flags
from pca_protect.cli.main import app, protect_app
from pca_protect.memory import MemoryPlan

GUIDE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = [text.strip() for _, text in re.findall(r"^- (`+)(.+)\1$", GUIDE, re.MULTILINE)]

QUICK = "--vae pocket --steps 1"

BEFORE = [
    f"protect photo.png {QUICK}",
    f"protect photos/photo.png {QUICK}",
    f"protect changed -o changed-out {QUICK}",
    f"protect settings -o settings-out {QUICK}",
]
"""What was done when the trouble begins."""

COMMANDS = [
    f"protect photo.png {QUICK}",
    "protect photos",
    "protect photo.png -o new/photo.png",
    "protect photo.png -o photo.png --overwrite",
    "protect same/photo.jpg same/photo.png -o out",
    "protect photos/photo.protected.png",
    "protect s3://bucket/photos -o s3://bucket/protected",
    "protect photo.png --mode ruin",
    "protect photo.png --vae sdx -o sdx.png",
    "protect photo.png --vae pocket --vae pocket",
    "protect photo.png --mode subtle --direction down",
    "protect photo.png --max-visibility 0",
    "protect photo.png --survive instagram",
    f"protect photo.png --max-visibility 0.001 -o faint.png {QUICK}",
    "protect photo.png --preset instant --survive social --vae pocket -o instant.png",
    "protect photo.png --vae pocket-tiny --target-variance posterior -o variance.png",
    "protect missing.png",
    "protect words.png",
    "protect empty.png",
    f"protect cut.png {QUICK}",
    "protect tiny.png",
    "protect photo.png --max-megapixels 0.001 -o large.png",
    f"protect clear.png {QUICK}",
    f"protect photo.png --mask small-mask.png {QUICK} -o masked.png",
    f"protect photo.png --region 900,900,10,10 {QUICK} -o region.png",
    "protect photo.png -o safe.jpg",
    f"protect photo.png -o lossy.jpg --allow-lossy {QUICK}",
    "protect photo.png -o safe.gif",
    f"protect deep.png -o deep.webp {QUICK}",
    f"protect clear-corner.png -o corner.jpg --allow-lossy {QUICK}",
    f"protect texts.png -o texts.webp {QUICK}",
    f"protect cmyk.jpg {QUICK}",
    f"protect maker.jpg {QUICK}",
    "protect photo.png --steps 1 -o auto.png",
    "protect photo.png --vae sd --offline -o sd.png",
    "protect photo.png --vae weights.ckpt -o weights.png",
    "protect photo.png --vae no-vae -o folder.png",
    "protect photo.png --vae pocket-tiny --steps 1 -o tiny-vae.png",
    "protect photo.png --max-memory 100 --vae pocket -o memory.png",
    "protect photo.png --precision fp16 --device cpu --vae pocket -o fp16.png",
    f"protect changed -o changed-out {QUICK}",
    "protect settings -o settings-out --vae pocket --steps 2",
    f"protect photos -o locked {QUICK}",
    f"protect many -o many-out {QUICK}",
    "protect --from-file nothing.txt -o listed",
    "pca-protect check photo.png --editor pocket-editor",
    "pca-protect check photo.png --original half.png --vae pocket",
    "pca-protect bench editing --images nowhere --quick",
]

WITHOUT = {
    "pillow_heif": "protect phone.heic",
    "skimage.feature": f"protect photo.png --region face {QUICK} -o face.png",
    "ray": "protect photos -o ray-out --engine ray",
    "pca_protect.eval.check.run": "pca-protect check photo.png",
    "pca_protect.cli.web.server": "pca-protect ui",
}
"""A package that is not installed, and what needs it; ours stand for those that they import."""

NOT_PRODUCED = {
    "is gated": "needs the hub",
    "is not finite": "needs an encoder that overflows",
    "does not fit into memory": "would take all memory",
    "the disk is full": "needs a disk that is; tests/test_write.py makes one where it may",
    "nothing more can be written": "the same; tests/test_folders.py",
    "interrupted": "ends the process; tests/test_cli.py sends the signal",
    "journal of finished pictures cannot": "needs a user who may not read everything",
    "cannot be listened on": "serves a page; tests/test_web_parts.py does",
    "this page is bound to": "the same",
    "is not here any more": "said by the page; the same, and tests/test_web.py",
    "is not kept any more": "the same",
    "your last job is still running": "the same",
    "nothing is painted": "the same",
    "reads pictures with the encoder": "the same; tests/test_web_work.py",
    "was given the picture at": "the same",
    "are too small for an encoder": "needs an encoder with a coarse grid; tests/test_kinds.py has one",
    "was measured with other settings": "takes two benchmarks; tests/test_results.py",
}
"""Messages that are looked for in the source instead, and why."""


def prepare() -> None:
    """Pictures of every kind that the commands name, in the current folder."""
    photo = smooth_picture(45, 37)
    for folder in ("photos", "same", "changed", "settings", "many", "out", "locked/.pca_protect", "no-vae"):
        Path(folder).mkdir(parents=True)
    for name in ("photo", "photos/photo", "same/photo", "changed/a", "settings/a"):
        photo.save(f"{name}.png")
    photo.save("same/photo.jpg")
    for name, size in (("half", (22, 18)), ("small-mask", (20, 20)), ("tiny", (5, 5))):
        photo.resize(size).save(f"{name}.png")
    Path("words.png").write_text("no picture")
    for name in ("empty.png", "weights.ckpt", "nothing.txt"):
        Path(name).touch()
    for name, least in (("clear.png", 0), ("clear-corner.png", 255)):
        alpha = np.full((37, 45), least, np.uint8)
        alpha[0, 0] = 0
        picture = photo.copy()
        picture.putalpha(Image.fromarray(alpha))
        picture.save(name)
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save("deep.png")
    photo.convert("CMYK").save("cmyk.jpg")
    text = PngInfo()
    text.add_text("Title", "Beach")
    photo.save("texts.png", pnginfo=text)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"Maker\0\xff\xd8\xff" + bytes(range(256))
    photo.save("maker.jpg", exif=exif.tobytes())
    Path("phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    half = Path("photo.png").read_bytes()[:2000]
    for name in ("cut.png", *(f"many/{number}.png" for number in range(22))):
        Path(name).write_bytes(half)


def lines_of(command: str) -> list[str]:
    """What a command prints, its error as the program would print it."""
    program, *words = shlex.split(command)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            (protect_app if program == "protect" else app)(words, standalone_mode=False)
        except PcaProtectError as error:
            console.error(str(error))
    return said.getvalue().splitlines()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What every command prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trouble"))
        patch.setattr(torch.cuda, "is_available", lambda: False)
        prepare()
        for command in BEFORE:
            lines_of(command)
        smooth_picture(20, 20, seed=1).save("changed/a.png")
        with FileLock("locked/.pca_protect/lock"):
            found = {command: lines_of(command) for command in COMMANDS}
        return found | dict(_elsewhere())


def _elsewhere() -> Iterator[tuple[str, list[str]]]:
    """On other machines: with no GPU, no network, little memory, few packages."""
    command = f"protect photo.png {QUICK} --device cuda -o cuda.png"
    yield command, lines_of(command)
    with pretending("cuda"):
        command = f"protect photo.png {QUICK} --device cuda:7 -o seventh.png"
        yield command, lines_of(command)
    with pretending("mps") as machine:
        machine.breaks_padding_over = 256
        command = f"protect photo.png {QUICK} --device mps -o mps.png"
        yield command, lines_of(command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_module, "cpu_has_bf16", lambda: False)
        command = f"protect photo.png {QUICK} --precision bf16 --device cpu -o bf16.png"
        yield command, lines_of(command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        command = "protect photo.png --vae nobody/nothing -o hub.png"
        yield command, lines_of(command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pca_protect.protection, "choose_plan", lambda *_, **__: MemoryPlan(192, checkpointed=True))
        command = f"protect photo.png {QUICK} -o smaller.png"
        yield command, lines_of(command)
        patch.setattr(pca_protect.protection, "_attempt", lambda *_: None)
        command = f"protect photo.png {QUICK} -o never.png"
        yield command, lines_of(command)
    for package, command in WITHOUT.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            patch.delitem(Image.OPEN, "HEIF", raising=False)
            yield command, lines_of(command)


def is_quoted(line: str, quoted: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, quoted.split("…"))), line) is not None


def why_not_produced(quoted: str) -> str | None:
    return next((reason for part, reason in NOT_PRODUCED.items() if part in quoted), None)


def test_there_are_messages():
    assert len(QUOTED) > 50
    assert len(QUOTED) == len(re.findall(r"^- ", GUIDE, re.MULTILINE))


@pytest.mark.parametrize("quoted", [quoted for quoted in QUOTED if not why_not_produced(quoted)])
def test_message_is_produced(said: dict[str, list[str]], quoted: str):
    assert any(is_quoted(line, quoted) for lines in said.values() for line in lines), "nothing says this"


def test_every_command_produces_a_message(said: dict[str, list[str]]):
    useless = [
        command
        for command, lines in said.items()
        if not any(is_quoted(line, text) for line in lines for text in QUOTED)
    ]
    assert useless == []


@pytest.mark.parametrize("part", NOT_PRODUCED)
def test_message_is_in_the_source(part: str):
    """Every piece between `…` is in a string of the program; a message may be put together from several."""
    (quoted,) = [quoted for quoted in QUOTED if part in quoted]
    for piece in re.sub(r"^(error|warning|stopped): ", "", quoted).split("…"):
        assert any(piece.removesuffix("delete that file or choose another --out") in text for text in STRINGS), piece


def _strings() -> Iterator[str]:
    """Every string of the program, with `…` for what is put in."""
    for folder in ("pca_protect", "cli", "eval"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield in_flags(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                    yield in_flags("".join(parts))


STRINGS = list(_strings())
