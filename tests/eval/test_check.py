"""`pca-protect check`: what it measures moves the way protection moves it, and it claims no more than it measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, ROOT, smooth_picture, tiny_kl
from fresh_python import run_python
from PIL import Image
from tiny_editors import SIDE, save, stable_diffusion

from pca_protect import ModelError, PictureError, ProtectConfig, Surrogate, UsageError, load_surrogate, protect
from pca_protect.cli.flags import in_flags
from pca_protect.cli.main import app
from pca_protect.eval.check import verdict
from pca_protect.eval.check.edits import Edits, encoder_warning
from pca_protect.eval.check.encoders import load_encoders
from pca_protect.eval.check.posterior import FIGURES, LARGEST_SIDE_PX, Figures, Shift, figures_of, middle, shift_of
from pca_protect.eval.check.protection import UNKNOWN, Protection, protection_of
from pca_protect.eval.check.reference import Reference, measured_reference, quantiles_of, stored_reference
from pca_protect.eval.check.run import check_picture
from pca_protect.eval.check.verdict import NO_PROOF, REMOVABLE, TEST_BED, edit_verdict, judge
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.pictures import to_pixels
from pca_protect.io.header import read_header
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture
from pca_protect.io.write import encode_picture
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.noise_control import with_noise
from pca_protect.surrogates.registry import REGISTRY

EMBEDDED = [entry.name for entry in REGISTRY.values() if entry.embedded]


@pytest.fixture(scope="module")
def original() -> Picture:
    """A face, odd-sized and not square."""
    return Picture(np.asarray(Image.open(ASTRONAUT).crop((170, 60, 305, 189))), source="original")


@pytest.fixture(scope="module")
def protected(original: Picture, pocket: Surrogate) -> dict[str, Picture]:
    return {
        mode: protect(original, ProtectConfig(mode=mode, preset="fast", steps=8), surrogate=pocket).picture
        for mode in PUBLISHED_MODES
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, original: Picture, protected: dict[str, Picture]) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, picture in {"original": original, **protected}.items():
        Image.fromarray(picture.rgb).save(folder / f"{name}.png")
    smooth_picture(40, 52).save(folder / "smaller.png")
    (folder / "text.png").write_text("no picture")
    (folder / "a.test-only.png").write_text("no picture either")
    return folder


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes pictures of 64x64 px."""
    return save(stable_diffusion(), tmp_path_factory.mktemp("editor") / "pipeline")


def check(*arguments: object) -> None:
    app(["check", *map(str, arguments), "--device", "cpu", "--offline"], standalone_mode=False)


def test_figures_move_as_the_modes_say(original: Picture, protected: dict[str, Picture], pocket: Surrogate):
    clean, up, down = (figures_of(picture, pocket) for picture in (original, *protected.values()))
    assert down.norm < 0.8 * clean.norm < clean.norm < 0.8 * up.norm
    assert down.nats < clean.nats < up.nats
    assert up.smoothed < clean.smoothed < down.smoothed
    assert up.recompressed < clean.recompressed < down.recompressed
    assert down.recompressed > verdict.RISE


def test_figures_are_those_of_their_formulas(original: Picture, pocket: Surrogate):
    with torch.no_grad():
        posterior = pocket.posterior(to_pixels(original))
    normal = torch.distributions.Normal(posterior.mean.double(), (posterior.logvar.double() / 2).exp())
    kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    figures = figures_of(original, pocket)
    assert figures.norm == pytest.approx(float(posterior.mean.square().mean().sqrt()), rel=1e-5)
    assert figures.nats == pytest.approx(float(kl.mean()), rel=1e-4)
    even = replace(original, rgb=np.full((24, 40, 3), 90, np.uint8))
    assert figures_of(even, pocket).smoothed == pytest.approx(1, abs=1e-4), "there is nothing to smooth away"


def test_an_encoder_that_returns_nothing_finite_is_refused(original: Picture, tiny_folder: Path):
    broken = load_surrogate(str(tiny_folder), device="cpu")
    next(broken.encoder.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="its posterior is not finite; download or copy"):
        figures_of(original, broken)


def test_of_large_pictures_the_middle_is_looked_at():
    rgb = np.zeros((40, LARGEST_SIDE_PX + 21, 3), np.uint8)
    rgb[:, 10] = 7
    part = middle(Picture(rgb))
    assert part.rgb.shape == (40, LARGEST_SIDE_PX, 3)
    assert (part.rgb[:, 0] == 7).all()
    assert middle(part).rgb.shape == part.rgb.shape


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_a_picture_protected_for_one_size_is_measured_at_it(
    tmp_path: Path, pocket: Surrogate, suffix: str, capsys: pytest.CaptureFixture[str]
):
    photo = Picture(np.asarray(Image.open(ASTRONAUT).crop((60, 0, 460, 390))), source="photo")
    target = tmp_path / f"small{suffix}"
    result = protect(photo, ProtectConfig(preset="fast", scales=(160,)), surrogate=pocket)
    result.save(target)
    Image.fromarray(photo.rgb).save(tmp_path / "photo.png")
    check(target, "--original", tmp_path / "photo.png", "--vae", "pocket", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["seen_px"], found["looked_at_px"]) == ([164, 160], [164, 160])
    (vae,) = found["vaes"]
    assert vae["verdict"]["looks"] == "protected"
    assert vae["shift"]["gain_over_noise"] == pytest.approx(result.record.gain_over_noise, rel=0.01)
    check(target, "--vae", "pocket")
    assert "400x390 px, measured at 164x160 px, the size that it was protected for" in capsys.readouterr().out
    protect(photo, ProtectConfig(preset="instant"), surrogate=pocket).save(target, overwrite=True)
    with target.open("rb") as file:
        protection = protection_of(file)
    assert protection == Protection(("native",), "pocket")
    both = replace(protection, scales=(256, "native"))
    shown, _ = check_picture(read_picture(target), vaes=["pocket-tiny"], protection=both, device="cpu")
    assert shown.seen_px == (shown.width_px, shown.height_px), "its own size is among those that it was protected for"


@pytest.mark.parametrize("scales", ["512", '[4, "2mp"]', "null"])
def test_sizes_of_a_foreign_marker_are_ignored(scales: str):
    data = BytesIO(encode_picture(Picture(np.asarray(smooth_picture(40, 52))), "PNG", marker=_marker(scales)))
    assert protection_of(data) == UNKNOWN


def _marker(scales: str) -> str:
    return f'{{"version": "1", "budget_levels": 16, "scales": {scales}}}'


def test_shares_count_the_picture_itself_as_a_clean_one():
    reference = Reference("made", 100, 1, {"norm": tuple(np.linspace(1, 2, 100).tolist())})
    assert reference.shares("norm", 0.5) == pytest.approx((1 / 101, 1))
    assert reference.shares("norm", 9.0) == pytest.approx((1, 1 / 101))
    assert reference.shares("norm", 1.25) == pytest.approx((26 / 101, 76 / 101))
    assert reference.value_at("norm", 0.5) == pytest.approx(1.5)
    found = [Figures(value, 2 * value, 1, 1) for value in (3.0, 1.0, 2.0)]
    assert quantiles_of(found)["nats"] == (2, 4, 6)
    assert quantiles_of(found, 5)["norm"] == (1, 1.5, 2, 2.5, 3)


@pytest.mark.parametrize("name", EMBEDDED)
def test_clean_pictures_are_stored_for_the_embedded_weights(name: str):
    surrogate = load_surrogate(name, device="cpu")
    reference, why_not = stored_reference(surrogate)
    assert not why_not
    assert reference is not None, "run `pca-protect bench check --reference` again after training"
    assert reference.pictures >= verdict.FEWEST
    for figure in FIGURES:
        assert list(reference.quantiles[figure]) == sorted(reference.quantiles[figure])
    for wash in ("smoothed", "recompressed"):
        assert 0.8 < reference.value_at(wash, 0.5) < 1.05, "washing moves the norms of clean pictures little"
    copy = replace(surrogate, name="/models/copy")
    assert stored_reference(copy)[0] == reference, "weights count, names do not"


def test_other_weights_under_a_stored_name_are_not_compared(pocket: Surrogate, tiny: Surrogate):
    reference, why_not = stored_reference(replace(pocket, digest="0" * 64))
    assert reference is None
    assert "measured with other weights than these and are not used" in why_not
    reference, why_not = stored_reference(tiny)
    assert reference is None
    assert "no figures of clean pictures are stored" in why_not


SPREAD = tuple(np.linspace(0.8, 1.2, 200).tolist())
CLEAN = Reference("made", 200, 64, dict.fromkeys(FIGURES, SPREAD))
TIGHT = replace(CLEAN, quantiles={**CLEAN.quantiles, "recompressed": tuple(np.linspace(0.96, 1.04, 200).tolist())})
USUAL = Figures(1.0, 1.0, 1.0, 1.0)
UNMOVED = Shift(0.1, 0.2, 1.0, 1.0, 0.5)
RAISED = Shift(2.0, 0.2, 2.0, 1.0, 10.0)
LOWERED = Shift(0.5, 0.2, 0.5, 1.0, 2.5)


@pytest.mark.parametrize(
    ("figures", "reference", "shift", "looks", "mode", "why"),
    [
        (USUAL, CLEAN, None, "clean", None, "extreme in every figure"),
        (
            Figures(1.3, 1.0, 0.7, 1.0),
            CLEAN,
            None,
            "protected",
            "diffusion",
            "smoothing lowers the norm by 30%, as in 0.5%",
        ),
        (
            Figures(0.7, 1.0, 1.3, 1.3),
            CLEAN,
            None,
            "protected",
            "concentration",
            "recompression raises the norm by 30%",
        ),
        (Figures(0.7, 1.0, 1.3, 1.05), TIGHT, None, "unclear", None, "lacks the pattern"),
        (Figures(1.3, 1.0, 1.0, 0.7), CLEAN, None, "unclear", None, "lacks the pattern"),
        (Figures(0.7, 1.0, 1.3, 1.0), CLEAN, None, "unclear", None, "lacks the pattern"),
        (Figures(0.7, 1.0, 1.0, 1.3), CLEAN, None, "unclear", None, "lacks the pattern"),
        (Figures(1.0, 1.0, 1.3, 1.3), CLEAN, None, "unclear", None, "lacks the pattern"),
        (Figures(1.0, 1.0, 0.7, 1.0), CLEAN, None, "unclear", None, "lacks the pattern"),
        (Figures(1.3, 1.0, 1.3, 1.0), CLEAN, None, "unclear", None, "lacks the pattern"),
        (Figures(1.0, 1.3, 1.0, 1.0), CLEAN, None, "unclear", None, "lacks the pattern"),
        (USUAL, None, None, "unclear", None, "nothing to compare with; `original` helps"),
        (USUAL, replace(CLEAN, pictures=98), None, "unclear", None, "98 clean pictures are too few"),
        (USUAL, replace(CLEAN, smallest_side_px=101), None, "unclear", None, "100 px is too small"),
        (
            USUAL,
            None,
            RAISED,
            "protected",
            "diffusion",
            "10 times that of noise of the same size, and the norm is 2.00",
        ),
        (USUAL, CLEAN, LOWERED, "protected", "concentration", "2.5 times that of noise"),
        (USUAL, None, UNMOVED, "clean", None, "at most that of noise"),
        (USUAL, None, replace(UNMOVED, latent=0.3), "unclear", None, "above that of noise"),
        (
            USUAL,
            CLEAN,
            replace(RAISED, gain_over_noise=1.2),
            "unclear",
            None,
            "threshold of 1.25",
        ),
        (USUAL, CLEAN, replace(RAISED, norm=1.2), "unclear", None, "but the norm is 1.20"),
        (Figures(0.7, 1.0, 1.3, 1.3), CLEAN, UNMOVED, "unclear", None, "the original may itself be protected"),
        (
            Figures(0.7, 1.0, 1.3, 1.3),
            CLEAN,
            replace(LOWERED, gain_over_noise=0.5),
            *("protected", "concentration", "recompression raises"),
        ),
    ],
)
def test_verdicts(figures, reference, shift, looks, mode, why):
    found = judge(figures, reference, shorter_side_px=100, shift=shift)
    assert (found.looks, found.mode) == (looks, mode)
    assert why in found.why


def test_a_change_is_measured_beside_noise_as_large(
    original: Picture, protected: dict[str, Picture], pocket: Surrogate
):
    for picture in protected.values():
        shift = shift_of(picture, original, pocket, levels=16, seed=3)
        assert shift.latent > shift.noise_latent > 0
        assert shift.gain_over_noise == shift.latent / shift.noise_latent > verdict.MIN_GAIN
    subtle = protect(original, ProtectConfig(mode="subtle", steps=8), surrogate=pocket).picture
    found = judge(
        figures_of(subtle, pocket),
        None,
        shorter_side_px=min(original.rgb.shape[:2]),
        shift=shift_of(subtle, original, pocket, levels=16, seed=3),
    )
    assert (found.looks, found.mode) == ("protected", "diffusion"), "mode subtle leaves the traces of this one"
    control = shift_of(with_noise(original, 16, 3), original, pocket, levels=16, seed=3)
    assert control.gain_over_noise == pytest.approx(1.0, abs=0.05)
    other = shift_of(with_noise(original, 16, 3), original, pocket, levels=16, seed=4)
    assert other.noise_latent != control.noise_latent, "the seed draws the noise"


def test_a_check_says_everything_as_json(files: Path, capsys: pytest.CaptureFixture[str]):
    check(files / "concentration.png", "--original", files / "original.png", "--vae", "pocket", "--json")
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    found = json.loads(line)
    (vae,) = found["vaes"]
    assert vae["verdict"]["looks"] == "protected"
    assert vae["verdict"]["mode"] == "concentration"
    assert vae["weights_sha256"] == load_surrogate("pocket", device="cpu").digest
    assert vae["embedded"]
    assert set(vae["compared"]) == set(FIGURES)
    change = np.abs(
        np.asarray(Image.open(files / "concentration.png")).astype(int) - np.asarray(Image.open(files / "original.png"))
    )
    assert found["change"]["max_change_levels"] == change.max() <= 16
    assert found["change"]["psnr_db"] == pytest.approx(10 * np.log10(255**2 / np.square(change).mean()))
    assert 0 < found["change"]["flip"] < 0.5
    assert (found["width_px"], found["height_px"]) == (135, 129)
    assert found["summary"][-2:] == [TEST_BED, REMOVABLE]
    assert found["sheet"] is None
    assert err == "", "nothing has to be warned of"


def test_a_check_reads_as_text(files: Path, capsys: pytest.CaptureFixture[str]):
    words = (files / "original.png", "--original", files / "original.png", "--vae", "pocket-16", "--vae", "pocket-tiny")
    check(*words)
    out, err = capsys.readouterr()
    first, second, *_ = out.splitlines()
    assert "135x129 px" in first
    assert "no pixel differs" in second, "what was found comes first"
    for part in ("pocket-16", "clean picture", in_flags(TEST_BED), REMOVABLE):
        assert part in out
    assert "nats per element" not in out
    check(*words, "-v")
    detailed = capsys.readouterr().out
    assert detailed.startswith(out)
    for part in ("pocket-16, compared", "nats per element"):
        assert part in detailed
    assert "noise of the same size" not in out, "nothing was changed, so nothing is compared"
    assert err == ""
    assert ("see a clean picture" in out) == (NO_PROOF in out)


def test_without_names_every_encoder_at_hand_is_asked():
    surrogates, _ = load_encoders([], device="cpu", offline=True)
    assert [surrogate.name for surrogate in surrogates][: len(EMBEDDED)] == EMBEDDED
    surrogates, warnings = load_encoders(["pocket", "pocket"], device="cpu", offline=True)
    assert len(surrogates) == 1
    assert "pocket has the weights of pocket and is not checked again" in warnings


def test_a_copy_in_bf16_is_not_checked_again(tiny_folder: Path, tmp_path: Path):
    tiny_kl().bfloat16().save_pretrained(tmp_path, variant="bf16")
    surrogates, warnings = load_encoders([str(tiny_folder), str(tmp_path)], device="cpu", offline=True)
    assert [surrogate.name for surrogate in surrogates] == [str(tiny_folder)]
    assert warnings == (f"{tmp_path} has the weights of {tiny_folder} and is not checked again",)


def test_clean_pictures_of_ones_own(tiny_folder: Path, tiny: Surrogate, tmp_path: Path):
    for number in range(3):
        smooth_picture(30 + number, 50, seed=number).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"")
    reference, left_out = measured_reference(tiny, tmp_path, on_progress=lambda label, done, in_all: None)
    assert (reference.pictures, reference.smallest_side_px) == (3, 15)
    assert len(left_out) == 1
    assert "0 bytes" in left_out[0]
    own = figures_of(read_picture(tmp_path / "1.png"), tiny)
    assert own.norm in reference.quantiles["norm"]
    picture = read_picture(tmp_path / "0.png")
    found, sheet = check_picture(picture, vaes=[str(tiny_folder), "pocket"], clean=tmp_path, device="cpu")
    assert sheet is None
    assert [vae.clean_pictures for vae in found.vaes] == [3, 400]
    assert "too few" in found.vaes[0].verdict.why
    found, _ = check_picture(picture, vaes=["pocket"], clean=tmp_path, device="cpu")
    assert any("was not used" in warning for warning in found.warnings)
    found, _ = check_picture(picture, vaes=[str(tiny_folder)], device="cpu")
    assert found.vaes[0].compared == {}
    assert "nothing to compare with" in found.vaes[0].verdict.why


def test_edits_side_by_side(files: Path, editor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sheet = tmp_path / "sheet.png"
    arguments = [files / "diffusion.png", "--vae", "pocket-tiny", "--edit", "at night", "--editor", editor, "--seed", 5]
    check(*arguments, "--original", files / "original.png", "--output", sheet, "--json")
    found = json.loads(capsys.readouterr().out)
    edits = found["edits"]
    assert (edits["prompt"], edits["seed"], edits["size_px"], edits["fitted"]) == ("at night", 5, SIDE, True)
    assert edits["apart"] > 0
    assert edits["noise_apart"] > 0
    assert edits["seed_apart"] > 0
    assert edits["from_original"] != edits["original_from_original"]
    assert found["sheet"] == str(sheet)
    assert any(
        "cropped and resized" in sentence and "one prompt and one seed" in sentence for sentence in found["summary"]
    )
    with Image.open(sheet) as shown:
        assert shown.format == "PNG"
        assert shown.width >= 4 * SIDE
    assert any("downscaling removes" in warning for warning in found["warnings"]), (
        "the editor's size is not the picture's"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    header = read_header(sheet)
    assert header is not None
    assert header.ours, "no input of a later run"
    check(*arguments, "--output", sheet)
    Image.new("RGB", (8, 8)).save(sheet)
    before = sheet.read_bytes()
    with pytest.raises(UsageError, match="exists already and is not replaced; choose another name"):
        check(*arguments, "--output", sheet)
    assert sheet.read_bytes() == before


def test_an_edit_of_an_unchanged_picture_is_the_same_edit(files: Path, editor: Path):
    picture = read_picture(files / "original.png")
    found, sheet = check_picture(
        picture, picture, vaes=["pocket-tiny"], prompt="at night", editor=str(editor), device="cpu"
    )
    assert found.edits is not None
    assert (found.edits.apart, found.edits.noise_apart) == (0, None)
    assert sheet is not None
    alone, narrow = check_picture(picture, vaes=["pocket-tiny"], prompt="at night", editor=str(editor), device="cpu")
    assert alone.edits is not None
    assert alone.edits.apart is None
    assert alone.edits.from_picture == pytest.approx(found.edits.from_original)
    assert narrow is not None
    assert narrow.width < sheet.width


@pytest.mark.parametrize(
    ("apart", "says"),
    [
        (0.1, "No effect shown"),
        (0.3, "No effect shown"),
        (0.35, "Effect unclear"),
        (0.48, "Effect unclear"),
        (0.6, "Effect shown: this edit was disturbed 1.5 times"),
    ],
)
def test_an_edit_is_judged_beside_noise_and_another_seed(apart: float, says: str):
    edits = Edits("editor", "0", "snow", 0, 64, False, True, 0.5, apart=apart, noise_apart=0.15, seed_apart=0.4)
    assert says in edit_verdict(edits)
    assert edit_verdict(replace(edits, noise_apart=None)) == "", "nothing was changed"
    assert "not trained" in edit_verdict(replace(edits, trained=False))


def test_an_edit_by_another_encoder_says_so(editor: Path):
    test_editor, real = (load_editor(name, device="cpu", offline=True) for name in ("pocket-editor", str(editor)))
    for vae, warned in (("pocket", False), ("", False), ("sd + pocket", False), ("sd", True), ("0a1b2c", True)):
        assert bool(encoder_warning(test_editor, vae)) == warned
    for vae, warned in (("pocket + pocket-16", True), ("", False), ("sd + pocket", False), ("0a1b2c", False)):
        assert bool(encoder_warning(real, vae)) == warned


BAD_REQUESTS = {
    "missing picture": (["nowhere.png"], PictureError, "nowhere.png: no such file"),
    "named as if protected": (["a.protected.png"], PictureError, "no such file; a.test-only.png exists"),
    "text named png": (["text.png"], PictureError, "recognised image format"),
    "folder": (["."], UsageError, "is a folder"),
    "other size": (
        ["original.png", "--original", "smaller.png"],
        UsageError,
        "original.png has 135x129 px and `original` smaller.png 40x52 px, which cannot be compared pixel by pixel; give",
    ),
    "unknown vae": (["original.png", "--vae", "pokcet"], UsageError, "did you mean pocket?"),
    "absent vae": (["original.png", "--vae", "sd"], ModelError, "not in the local cache"),
    "unknown editor": (["original.png", "--edit", "snow", "--editor", "pocket-editr"], UsageError, "pocket-editor"),
    "empty prompt": (["original.png", "--edit", " "], UsageError, "is empty"),
    "style without a prompt": (["original.png", "--edit", "none"], UsageError, "is not an instruction"),
    "output without edit": (["original.png", "--output", "x.png"], UsageError, "add --edit PROMPT"),
    "editor without edit": (["original.png", "--editor", "pocket-editor"], UsageError, "add --edit PROMPT"),
    "output is the input": (
        ["original.png", "--edit", "snow", "--output", "original.png"],
        UsageError,
        "exists already",
    ),
    "output no png": (["original.png", "--edit", "snow", "--output", "x.jpg"], UsageError, "name ending in .png"),
    "output folder missing": (
        ["original.png", "--edit", "snow", "--output", "out/x.png"],
        UsageError,
        "no such folder",
    ),
    "no clean folder": (["original.png", "--clean", "nowhere"], UsageError, "--clean nowhere: no such folder"),
    "negative seed": (["original.png", "--seed", "-1"], UsageError, "seed -1"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests_end_in_one_sentence_with_nothing_written(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
):
    monkeypatch.chdir(files)
    before = sorted(path.name for path in files.iterdir())
    arguments, kind, says = BAD_REQUESTS[name]
    with pytest.raises(kind) as refused:
        check(*arguments, *([] if "--vae" in arguments else ["--vae", "pocket-tiny"]))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in files.iterdir()) == before


def test_what_needs_the_extra_says_so_and_the_rest_works_without_it(files: Path):
    """As where only the core is installed."""
    code = (
        "import sys\n"
        "for name in ('cv2', 'flip_evaluator', 'scipy', 'skimage', 'torchmetrics'):\n    sys.modules[name] = None\n"
        "from pca_protect.cli.main import app, main\n"
        "command = ['check', 'original.png', '--vae', 'pocket-tiny', '--device', 'cpu']\n"
        "app(command, standalone_mode=False)\n"
        "print('then')\n"
        "sys.argv = ['pca-protect', *command, '--original', 'diffusion.png']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=files, capture_output=True, text=True, check=False)
    worked, then = done.stdout.split("then")
    assert in_flags(TEST_BED) in worked
    assert then.strip() == ""
    assert done.returncode == UsageError.exit_code, done.stderr
    assert re.search(r"pip install .*\[eval\]'", done.stderr)


def test_a_missing_extra_is_found_before_anything_is_loaded(files: Path):
    run_python(
        "import os, sys\n"
        f"os.chdir({str(files)!r})\n"
        "sys.modules['flip_evaluator'] = None\n"
        "from pca_protect.cli.main import app\n"
        "from pca_protect.errors import UsageError\n"
        "try:\n"
        "    app(['check', 'original.png', '--original', 'diffusion.png'], standalone_mode=False)\n"
        "except UsageError as error:\n"
        "    assert 'flip_evaluator is not installed' in str(error)\n"
        "assert 'torch' not in sys.modules\n"
    )


def test_the_reference_is_measured_as_the_shipped_one_was(
    tmp_path: Path, pocket: Surrogate, capsys: pytest.CaptureFixture[str]
):
    for number in range(3):
        smooth_picture(70, 64, seed=number).save(tmp_path / f"{number}.png")
    arguments = ["--reference", "--source", "made", "--size", "64", "--vae", "pocket", "--device", "cpu"]
    folder = tmp_path / "out"
    app(["bench", "check", "--images", str(tmp_path), "--out", str(folder), *arguments], standalone_mode=False)
    out = folder / "clean.json"
    assert capsys.readouterr().out.strip() == str(out)
    content = json.loads(out.read_text())
    assert (content["source"], content["pictures"], content["size_px"]) == ("made", 3, 64)
    assert content["vaes"]["pocket"]["weights_sha256"] == pocket.digest
    assert str(tmp_path) not in out.read_text()
    shipped = json.loads((ROOT / "eval" / "check" / "clean.json").read_text())
    assert shipped.keys() == content.keys()
    assert set(shipped["vaes"]) == set(EMBEDDED)
