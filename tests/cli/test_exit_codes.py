"""Mistakes and missing things end with the documented exit code and one short sentence, whatever its words."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from filelock import FileLock
from huggingface_hub import constants
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pretended_device import pretending

import pca_protect.frames
from pca_protect import PcaProtectError
from pca_protect import device as device_module
from pca_protect.cli.main import app, protect_app
from pca_protect.memory import MemoryPlan

LONGEST = 300
"""Characters of an error."""

QUICK = "--vae pocket --steps 1"

BEFORE = [
    f"protect photo.png {QUICK}",
    f"protect photos/photo.png {QUICK}",
    f"protect changed -o changed-out {QUICK}",
    f"protect settings -o settings-out {QUICK}",
]
"""What was done before the mistakes."""

COMMANDS = {
    0: [
        f"protect photo.png -o lossy.jpg --allow-lossy {QUICK}",
        f"protect texts.png -o texts.webp {QUICK}",
        f"protect cmyk.jpg {QUICK}",
        f"protect maker.jpg {QUICK}",
        "protect photo.png --steps 1 -o auto.png",
        "protect photo.png --vae pocket-tiny --steps 1 -o tiny-vae.png",
        "protect --from-file nothing.txt -o listed",
    ],
    1: [
        f"protect photo.png --max-visibility 0.001 -o faint.png {QUICK}",
        "protect missing.png",
        "protect words.png",
        "protect empty.png",
        f"protect cut.png {QUICK}",
        "protect tiny.png",
        "protect photo.png --max-megapixels 0.001 -o large.png",
        f"protect clear.png {QUICK}",
        f"protect photo.png --mask small-mask.png {QUICK} -o masked.png",
        f"protect photo.png --region 900,900,10,10 {QUICK} -o region.png",
        f"protect deep.png -o deep.webp {QUICK}",
        f"protect clear-corner.png -o corner.jpg --allow-lossy {QUICK}",
        "protect photo.png --max-memory 100 --vae pocket -o memory.png",
        f"protect many -o many-out {QUICK}",
    ],
    2: [
        f"protect photo.png {QUICK}",
        "protect photos",
        "protect photo.png -o new/photo.png",
        "protect photo.png -o photo.png --overwrite",
        "protect same/photo.jpg same/photo.png -o out",
        "protect photos/photo.test-only.png",
        "protect s3://bucket/photos -o s3://bucket/protected",
        "protect photo.png --mode ruin",
        "protect photo.png --vae sdx -o sdx.png",
        "protect photo.png --vae pocket --vae pocket",
        "protect photo.png --mode subtle --direction down",
        "protect photo.png --max-visibility 0",
        "protect photo.png --survive instagram",
        "protect photo.png --preset instant --survive social --vae pocket -o instant.png",
        "protect photo.png --preset instant --budget 40 --vae pocket -o larger.png",
        "protect photo.png --preset instant --universal missing.safetensors --vae pocket -o missing-tile.png",
        "protect photo.png --preset instant --vae pocket --vae pocket-b -o two-encoders.png",
        "protect photo.png --vae pocket-tiny --target-variance posterior -o variance.png",
        "protect photo.png -o safe.jpg",
        "protect photo.png -o safe.gif",
        f"protect changed -o changed-out {QUICK}",
        "protect settings -o settings-out --vae pocket --steps 2",
        f"protect photos -o locked {QUICK}",
        "pca-protect check photo.png --editor pocket-editor",
        "pca-protect check photo.png --original half.png --vae pocket",
        "pca-protect bench editing --images nowhere --quick",
    ],
    3: [
        "protect photo.png --vae sd --offline -o sd.png",
        "protect photo.png --vae weights.ckpt -o weights.png",
        "protect photo.png --vae no-vae -o folder.png",
        "protect photo.png --precision fp16 --device cpu --vae pocket -o fp16.png",
    ],
}
"""By exit code."""

WITHOUT = {
    "pillow_heif": (1, "protect phone.heic"),
    "skimage.feature": (2, f"protect photo.png --region face {QUICK} -o face.png"),
    "ray": (2, "protect photos -o ray-out --engine ray"),
    "pca_protect.eval.check.run": (2, "pca-protect check photo.png"),
    "pca_protect.cli.web.server": (2, "pca-protect ui"),
}
"""A package that is not installed, and the code and command that need it; ours stand for those that they import."""


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


def outcome(command: str) -> tuple[int, str]:
    """The exit code of a command, and its error message, empty if it raises none."""
    program, *words = shlex.split(command)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return (protect_app if program == "protect" else app)(words, standalone_mode=False) or 0, ""
        except PcaProtectError as error:
            return error.exit_code, str(error)


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """In a folder of pictures of every kind that the commands name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mistakes"))
        patch.setattr(torch.cuda, "is_available", lambda: False)
        prepare()
        for command in BEFORE:
            assert outcome(command) == (0, ""), command
        smooth_picture(20, 20, seed=1).save("changed/a.png")
        yield patch


def assert_ends(command: str, code: int) -> None:
    found, message = outcome(command)
    assert found == code, f"{command}: {message}"
    assert len(message) <= LONGEST, message
    assert "\n" not in message


@pytest.mark.usefixtures("patch")
@pytest.mark.parametrize("code", COMMANDS)
def test_commands_end_with_their_code(code: int):
    with FileLock("locked/.pca_protect/lock"):
        for command in COMMANDS[code]:
            assert_ends(command, code)


@pytest.mark.usefixtures("patch")
def test_other_machines_end_with_their_code():
    for code, command in elsewhere():
        assert_ends(command, code)


def elsewhere() -> Iterator[tuple[int, str]]:
    """Commands with their exit codes on other machines: with no GPU, no network, little memory, few packages. Each has to run
    before the next is asked for."""
    yield 3, f"protect photo.png {QUICK} --device cuda -o cuda.png"
    with pretending("cuda"):
        yield 3, f"protect photo.png {QUICK} --device cuda:7 -o seventh.png"
    with pretending("mps") as machine:
        machine.breaks_padding_over = 256
        yield 3, f"protect photo.png {QUICK} --device mps -o mps.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_module, "cpu_has_bf16", lambda: False)
        yield 3, f"protect photo.png {QUICK} --precision bf16 --device cpu -o bf16.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        yield 3, "protect photo.png --vae nobody/nothing -o hub.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pca_protect.frames, "choose_plan", lambda *_, **__: MemoryPlan(1024, checkpointed=True))
        yield 0, f"protect photo.png {QUICK} -o smaller.png"
        patch.setattr(pca_protect.frames, "_attempt", lambda *_: None)
        yield 3, f"protect photo.png {QUICK} -o never.png"
    for package, (code, command) in WITHOUT.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            patch.delitem(Image.OPEN, "HEIF", raising=False)
            yield code, command
