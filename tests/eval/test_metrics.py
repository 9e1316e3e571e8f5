"""Metrics measure what they say, in the direction they say, and what cannot be had is refused in one sentence."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter
from tiny_editors import clip_tokenizer, t5_tokenizer
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
)

from pca_protect import ModelError, UsageError
from pca_protect.eval.metrics import classical, jpegxl
from pca_protect.eval.metrics.embeddings import SOURCE_TEXT, load_image_metric, load_prompt_metric
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.metrics.pool import metric_pool, workers_beside
from pca_protect.eval.metrics.registry import DEFAULT_METRICS, METRICS, MOST_DB, VISIBILITY, metrics_named
from pca_protect.eval.pictures import Rgb

PAIRS = (
    *(name for name, metric in METRICS.items() if metric.of == "pair" and not metric.weights and not metric.needs),
    "ssimulacra2",
    pytest.param(
        "butteraugli",
        marks=pytest.mark.skipif(shutil.which("butteraugli_main") is None, reason="libjxl's tools are not there"),
    ),
)
CPU = torch.device("cpu")


def side_for(name: str) -> int:
    """In pixels; an odd one where the metric leaves the choice."""
    return max(METRICS[name].smallest_px, 45)


def picture(name: str, seed: int = 0) -> Rgb:
    """Non-square, of a size that a metric takes."""
    side = side_for(name)
    return np.asarray(smooth_picture(side + 6, side, seed=seed))


def noisy(original: Rgb, sigma: float) -> Rgb:
    noise = np.random.default_rng(0).normal(0, sigma, original.shape)
    return (original + noise).round().clip(0, 255).astype(np.uint8)


def value(name: str, reference: Rgb, test: Rgb) -> float:
    return load_metrics([name], size_px=min(reference.shape[:2])).pairs[name](reference, test)


def distance(name: str, reference: Rgb, test: Rgb) -> float:
    return METRICS[name].distance(value(name, reference, test))


@pytest.mark.parametrize("name", PAIRS)
def test_equal_pictures_are_at_no_distance_and_noise_moves_them_apart(name: str):
    original = picture(name)
    distances = [distance(name, original, noisy(original, sigma)) for sigma in (1, 4, 16, 64)]
    assert distance(name, original, original.copy()) == pytest.approx(0, abs=1e-6)
    assert 1e-6 < distances[0] < distances[1] < distances[2] < distances[3]


@pytest.mark.parametrize("name", PAIRS)
def test_values_lie_in_the_range_of_the_table(name: str):
    original, metric = picture(name), METRICS[name]
    flat = [np.full_like(original, level) for level in (0, 128, 255)]
    others = [picture(name, seed=1), 255 - original, noisy(original, 64), *flat]
    pairs = [(original, other) for other in (original, *others)] + [(flat[0], flat[2]), (flat[1], original)]
    for reference, test in pairs:
        assert metric.low - 1e-6 <= value(name, reference, test) <= metric.high + 1e-6
    best = metric.high if metric.better == "higher" else metric.low
    if np.isfinite(best):
        assert value(name, original, original.copy()) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_the_smallest_picture_that_a_metric_takes(name: str):
    smallest = METRICS[name].smallest_px
    whole = np.asarray(smooth_picture(smallest, smallest))
    assert np.isfinite(value(name, whole, noisy(whole, 8)))
    first = "flip" if smallest == METRICS["flip"].smallest_px else name  # which is always measured, and looked at first
    with pytest.raises(UsageError, match=f"metric {first}: takes pictures from {smallest} px up .* {smallest - 1} px"):
        load_metrics([name], size_px=smallest - 1)
    if name in ("ms-ssim", "vif"):  # what the limit is there for
        smaller = np.ascontiguousarray(whole[1:, 1:])
        with pytest.raises(ValueError, match=r"size|height"):
            {"ms-ssim": classical.ms_ssim, "vif": classical.vif}[name](smaller, smaller)


def test_psnr_is_that_of_a_known_difference():
    original = np.full((20, 30, 3), 100, np.uint8)
    assert value("psnr", original, original + 10) == pytest.approx(20 * np.log10(255 / 10))
    assert distance("psnr", original, original + 10) == pytest.approx(10 / 255)
    one = original.copy()
    one[3, 4, 1] = 0  # 100 levels at one of 1800 places; in 8 bits the square would wrap around
    assert value("psnr", original, one) == pytest.approx(10 * np.log10(255**2 * 1800 / 100**2))
    assert value("psnr", original, original) == MOST_DB


def test_ssim_agrees_with_its_formula():
    """Wang et al. 2004, equation 13, in float64; borders are mirrored and count."""
    original = picture("ssim")
    blurred = partial(gaussian_filter, sigma=1.5, truncate=3.5, axes=(0, 1), mode="mirror")
    for sigma in (2, 8, 32):
        test = noisy(original, sigma)
        x, y = original / 255, test / 255
        mean_x, mean_y = blurred(x), blurred(y)
        variances = blurred(x * x) - mean_x**2 + blurred(y * y) - mean_y**2
        covariance = blurred(x * y) - mean_x * mean_y
        similarity = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
        similarity /= (mean_x**2 + mean_y**2 + 0.01**2) * (variances + 0.03**2)
        assert value("ssim", original, test) == pytest.approx(similarity.mean(), abs=5e-5), "variances in float32"


def gmsd(reference: Rgb, test: Rgb) -> float:
    """Xue et al. 2014, equations 1 to 5, away from the border."""

    def gradients(channel: np.ndarray) -> np.ndarray:
        halved = cv2.blur(channel.astype(np.float64), (2, 2))[1::2, 1::2] / 255
        prewitt = np.array([[1, 0, -1]] * 3) / 3
        along, across = (cv2.filter2D(halved, -1, kernel)[1:-1, 1:-1] for kernel in (prewitt, prewitt.T))
        return np.hypot(along, across)

    deviations = []
    for channel in range(3):
        one, other = (gradients(rgb[..., channel]) for rgb in (reference, test))
        similarity = (2 * one * other + 170 / 255**2) / (one**2 + other**2 + 170 / 255**2)
        deviations.append(similarity.std())
    return float(np.mean(deviations))


def test_gmsd_agrees_with_its_formula():
    original = np.asarray(smooth_picture(150, 130))
    for sigma in (8, 32):
        test = noisy(original, sigma)
        assert value("gmsd", original, test) == pytest.approx(gmsd(original, test), rel=0.05), (
            "borders are treated otherwise"
        )


def test_vif_knows_which_picture_is_the_reference():
    """A copy with more contrast tells more than the original: over 1, and under 1 the other way round."""
    rich = np.asarray(smooth_picture(64, 64))
    faint = (rich * 0.5 + 64).round().astype(np.uint8)
    assert value("vif", faint, rich) > 1.2
    assert value("vif", rich, faint) < 0.8


@pytest.mark.parametrize("name", ["flip", "ssim", "ms-ssim", "psnr", "gmsd", "haarpsi"])
def test_the_other_metrics_do_not_care_which_is_the_reference(name: str):
    original = picture(name)
    changed = cv2.GaussianBlur(noisy(original, 8), (5, 5), 1.0)
    assert value(name, original, changed) == pytest.approx(value(name, changed, original), rel=1e-5)


def test_vif_of_a_reference_without_information():
    original = picture("vif")
    for level in (0, 128):
        flat = np.full_like(original, level)
        assert value("vif", flat, flat.copy()) == 1
        assert value("vif", flat, original) == 0
    for level in (0, 128):
        without_red, changed = original.copy(), noisy(original, 8)
        without_red[..., 0] = level
        rest = [np.repeat(rgb[..., 1:2], 3, axis=2) for rgb in (original, changed)]
        rest += [np.repeat(rgb[..., 2:], 3, axis=2) for rgb in (original, changed)]
        mean_of_others = (value("vif", *rest[:2]) + value("vif", *rest[2:])) / 2
        assert value("vif", without_red, changed) == pytest.approx(mean_of_others, abs=1e-6)


def test_flip_of_what_everybody_sees():
    black, white = (np.full((45, 51, 3), level, np.uint8) for level in (0, 255))
    assert value("flip", black, white) > 0.9
    grey = np.full_like(black, 128)
    assert value("flip", grey, grey + 1) < 0.05


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rolled": lambda picture: np.roll(picture, 1, axis=(0, 1)),
    "coarse": lambda picture: picture // 32 * 32 + 16,
    "brighter": lambda picture: np.minimum(picture, 239) + 16,
    "swapped": lambda picture: picture[..., ::-1],
    "inverse": lambda picture: 255 - picture,
}

# piq 0.8.0 in float64 with torch 2.13: haarpsi and mdsi(changed, original, data_range=1.0).
OTHERS_VALUES = {
    ("face", "rolled"): (0.707298, 0.397571),
    ("face", "coarse"): (0.900138, 0.365765),
    ("face", "brighter"): (0.992503, 0.149937),
    ("face", "swapped"): (0.896275, 0.408855),
    ("face", "inverse"): (0.838186, 0.400951),
    ("odd", "rolled"): (0.703921, 0.397524),
    ("odd", "coarse"): (0.837756, 0.339739),
    ("odd", "brighter"): (0.997366, 0.111074),
    ("odd", "swapped"): (0.915363, 0.503416),
    ("odd", "inverse"): (0.778765, 0.496744),
    ("whole", "coarse"): (0.818335, 0.314491),
}


@pytest.mark.parametrize(("part", "change"), OTHERS_VALUES)
def test_haarpsi_and_mdsi_agree_with_another_program(part: str, change: str):
    """The whole picture is one that MDSI makes smaller first. Swapped and inverse ones have complex roots in MDSI."""
    picture = np.asarray(Image.open(ASTRONAUT).convert("RGB"))
    place = {"face": np.s_[60:156, 170:266], "odd": np.s_[40:291, 100:343], "whole": np.s_[:]}[part]
    original = np.ascontiguousarray(picture[place])
    changed = np.ascontiguousarray(CHANGES[change](original))
    found = [value(name, original, changed) for name in ("haarpsi", "mdsi")]
    assert found == pytest.approx(OTHERS_VALUES[part, change], abs=2e-6), "six digits, and roots of float64"


def test_mdsi_makes_large_pictures_smaller_as_another_program_does():
    """By three and by four; piq 0.8.0 again. Pixels in between are those that a picture of 37 px has, enlarged."""
    for side, expected in ((781, 0.307973), (1030, 0.310829)):
        rows, columns = np.indices((side, side + 7)) * 37 // side
        original = np.stack([rows * 5 % 256, columns * 7 % 256, rows * columns % 256], axis=-1).astype(np.uint8)
        assert value("mdsi", original, CHANGES["coarse"](original)) == pytest.approx(expected, abs=2e-6)


def test_black_pictures_are_alike():
    black = np.zeros((40, 30, 3), np.uint8)
    assert value("haarpsi", black, black) == 1


def test_ssimulacra2_is_the_packages_away_from_the_border():
    """What is equal in both pictures does not count; with an equal frame, neither does how its border is blurred."""
    from ssimulacra2 import compute_ssimulacra2

    original = np.asarray(smooth_picture(480, 460))
    changed = original.copy()
    changed[200:260, 200:280] = noisy(original, 16)[200:260, 200:280]
    files = [io.BytesIO(), io.BytesIO()]
    for file, rgb in zip(files, (original, changed), strict=True):
        Image.fromarray(rgb).save(file, "PNG")
    assert value("ssimulacra2", original, changed) == pytest.approx(compute_ssimulacra2(*files), abs=1e-6)


def test_ssimulacra2_sees_black_outside():
    """As libjxl, whose blur begins and ends with zeros in both directions: at a border half of the bell is missing."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    half = weights[5:].sum() / weights.sum()
    blurred = jpegxl._blurred(np.ones((20, 30, 3)))
    assert blurred[10, 15] == pytest.approx(1)
    assert [*blurred[0, 15], *blurred[10, -1]] == pytest.approx([half] * 6)
    assert blurred[-1, 0] == pytest.approx(half**2)


def test_ssimulacra2_treats_both_axes_alike():
    original = picture("ssimulacra2")
    changed = noisy(original, 8)
    turned = [np.ascontiguousarray(rgb.swapaxes(0, 1)) for rgb in (original, changed)]
    assert value("ssimulacra2", *turned) == pytest.approx(value("ssimulacra2", original, changed), abs=1e-6)


def test_metrics_for_compression_know_which_is_the_reference():
    original = picture("ssimulacra2")
    blurred = cv2.GaussianBlur(original, (5, 5), 1.0)
    for name in ("mdsi", "ssimulacra2"):
        assert value(name, original, blurred) != pytest.approx(value(name, blurred, original), rel=1e-3)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    with pytest.raises(ModelError, match=r"^ssimulacra2: needs the package ssimulacra2 \(.+\); pip install") as no:
        load_metrics(["ssimulacra2"], size_px=256)
    assert "\n" not in str(no.value)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"^butteraugli: needs the program butteraugli_main, which is not on the PATH; "
    ):
        load_metrics(["butteraugli"], size_px=256)


def program(folder: Path, text: str) -> None:
    path = folder / "butteraugli_main"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="no scripts without an ending")
def test_butteraugli_reads_what_its_program_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Reference first, whole files, the settings it promises; its stderr is chatter unless it fails."""
    monkeypatch.setenv("PATH", str(tmp_path))
    program(
        tmp_path,
        "import sys\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from PIL import Image\n"
        "reference, test = (Image.open(path).getpixel((0, 0)) for path in sys.argv[1:3])\n"
        "assert sys.argv[3:] == ['--pnorm', '3', '--intensity_target', '80']\n"
        "print('assuming sRGB', file=sys.stderr)\n"
        "print('9.5\\n3-norm:', test[0] - reference[0])",
    )
    dark, light = (np.full((20, 30, 3), level, np.uint8) for level in (40, 47))
    assert value("butteraugli", dark, light) == 7
    program(tmp_path, "import sys; sys.exit('first\\nno colours')")
    with pytest.raises(ModelError, match=r"^butteraugli: .+butteraugli_main failed \(no colours\); run it by hand"):
        value("butteraugli", dark, light)
    program(tmp_path, "import sys; print('3-norm: 1'); sys.exit('died')")
    with pytest.raises(ModelError, match=r"failed \(died\)"):
        value("butteraugli", dark, light)
    program(tmp_path, "print('9.5')")
    with pytest.raises(ModelError, match=r"failed \(no error message\)"):
        value("butteraugli", dark, light)


def test_nothing_has_to_be_fetched_or_installed_for_the_metrics_of_default():
    for name in DEFAULT_METRICS:
        assert not METRICS[name].weights
        assert not METRICS[name].needs


def test_blur_is_lower_for_sharper_pictures():
    blur = load_metrics(["blur"], size_px=45).pictures["blur"]
    original = noisy(picture("flip"), 8)
    blurs = [blur(original), *(blur(cv2.GaussianBlur(original, (0, 0), sigma)) for sigma in (0.7, 1.5, 3))]
    assert 0 <= blurs[0] < blurs[1] < blurs[2] < blurs[3] <= 1


def test_metrics_come_in_the_order_of_the_table_with_visibility():
    assert [metric.name for metric in metrics_named(["blur", "ssim", "ssim"])] == ["flip", "ssim", "blur"]
    metrics = load_metrics(["blur", "ssim"], size_px=45)
    assert (list(metrics.pairs), list(metrics.pictures), list(metrics.prompts)) == (["flip", "ssim"], ["blur"], [])
    original, changed = picture("ssim"), noisy(picture("ssim"), 8)
    assert metrics.distances(original, changed) == {
        name: distance(name, original, changed) for name in ("flip", "ssim")
    }
    assert visibility(original, changed) == metrics.distances(original, changed)[VISIBILITY]


def test_an_unknown_metric_is_refused_with_a_hint():
    with pytest.raises(UsageError, match=r"^unknown metric 'ssmi'; did you mean ssim\?$"):
        load_metrics(["flip", "ssmi"], size_px=256)
    with pytest.raises(UsageError, match=f"^unknown metric '\\?'; known ones are {', '.join(METRICS)}$"):
        load_metrics(["?"], size_px=256)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is there")
@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_metrics_that_need_torchvision_say_so(name: str):
    with pytest.raises(ModelError, match=rf"^{name}: does not load \(.*torchvision.*\); install the torchvision") as no:
        load_metrics([name], size_px=256)
    assert "\n" not in str(no.value)


TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**TEXT, "image_size": 32, "patch_size": 8}


def text_settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    return {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def save_clip(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    CLIPModel(CLIPConfig(text_config=text_settings(tokenizer), vision_config=VISION, projection_dim=8)).save_pretrained(
        folder
    )
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)


def save_siglip(folder: Path) -> None:
    """With a tokenizer that hands out attention masks, as SigLIP's own does in some versions of transformers."""
    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    config = SiglipConfig(text_config=text_settings(tokenizer), vision_config=VISION)
    SiglipModel(config).save_pretrained(folder)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)


MODELS: dict[str, tuple[type[PreTrainedModel], Callable[[Path], None]]] = {
    "clip": (CLIPModel, save_clip),
    "siglip": (SiglipModel, save_siglip),
}


def load(name: str, weights: object) -> Callable[[Rgb, str], float]:
    """(edit, prompt) -> value; the original has no influence."""
    measure = load_prompt_metric(replace(METRICS[name], weights=str(weights)), CPU, offline=True)
    return lambda edit, prompt: measure(255 - edit, edit, prompt)


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, name: str) -> Path:
    MODELS[name][1](tmp_path / "model")
    return tmp_path / "model"


def test_prompt_metrics_depend_on_picture_and_prompt(name: str, folder: Path):
    measure = load(name, folder)
    original, other = (np.asarray(smooth_picture(40, 30, seed=seed)) for seed in (0, 1))
    values = [measure(original, "at night"), measure(original, "add some snow"), measure(other, "at night")]
    assert len(set(values)) == 3
    assert all(-1 <= one <= 1 for one in values)
    assert measure(original.copy(), "at night") == values[0]
    assert np.isfinite(measure(original, "at night, " * 50)), "a prompt that is too long is cut"


def test_prompt_metrics_are_the_cosine_behind_the_models_own_scores(name: str, folder: Path):
    """The logit of a pair is its cosine, scaled and for SigLIP shifted."""
    original = np.asarray(smooth_picture(32, 32))
    model = MODELS[name][0].from_pretrained(folder)
    tokenizer = clip_tokenizer() if name == "clip" else t5_tokenizer()
    words = tokenizer("at night").input_ids
    padded = words + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(words))
    mean, deviation = (
        (torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711]))
        if name == "clip"
        else (torch.tensor(0.5), torch.tensor(0.5))
    )
    pixels = ((torch.from_numpy(original.copy()) / 255 - mean) / deviation).movedim(-1, 0)[None]
    with torch.no_grad():
        logit = model(input_ids=torch.tensor([padded]), pixel_values=pixels).logits_per_image[0, 0]
        cosine = float((logit - (model.logit_bias if name == "siglip" else 0)) / model.logit_scale.exp())
    assert load(name, folder)(original, "at night") == pytest.approx(cosine, abs=1e-5)


def test_models_saved_in_half_precision_are_computed_in_full(name: str, folder: Path):
    original = np.asarray(smooth_picture(32, 32))
    before = load(name, folder)(original, "at night")
    MODELS[name][0].from_pretrained(folder).half().save_pretrained(folder)
    assert load(name, folder)(original, "at night") == pytest.approx(before, abs=0.01), "eleven bits of mantissa"


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights[next(name for name in weights if name.endswith("q_proj.weight"))]
    save_file(weights, path, metadata={"format": "pt"})


def remove(folder: Path, file: str) -> None:
    (folder / file).unlink()


def break_heads(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["num_attention_heads"] = 3
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "damage",
    [
        cut_weights,
        lose_weight,
        break_heads,
        *(partial(remove, file=file) for file in ("model.safetensors", "config.json", "tokenizer.json")),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(name: str, folder: Path, damage: Callable[[Path], None]):
    damage(folder)
    with pytest.raises(ModelError, match=rf"^{name}: {folder} does not load \(.+\); ") as refused:
        load(name, folder)
    assert "\n" not in str(refused.value)


def test_missing_weights_are_named_offline(name: str):
    with pytest.raises(
        ModelError, match=rf"^{name}: {METRICS[name].weights} does not load \(.+\); go online once$"
    ) as no:
        load_metrics([name], size_px=256, offline=True)
    assert "\n" not in str(no.value)


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="the library is there")
def test_a_missing_library_is_named(tmp_path: Path):
    save_siglip(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "SiglipTokenizer"}))
    with pytest.raises(ModelError, match=r"needs a library that is not installed \(.*SentencePiece.*\); install it$"):
        load("siglip", tmp_path)


def embeddings(folder: Path, picture: Rgb, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """By transformers itself."""
    inputs = CLIPProcessor.from_pretrained(folder)(
        text=[text], images=[Image.fromarray(picture)], padding="max_length", max_length=24, return_tensors="pt"
    )
    with torch.no_grad():
        output = CLIPModel.from_pretrained(folder)(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"])
    return output.image_embeds[0], output.text_embeds[0]


def test_pickscore_is_the_models_own_logit_with_the_processor_of_another_model(tmp_path: Path):
    save_clip(tmp_path / "processor")
    save_clip(tmp_path / "model")
    model = CLIPModel.from_pretrained(tmp_path / "model")
    model.logit_scale.data.fill_(3)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    folders = {"weights": str(tmp_path / "model"), "processor": str(tmp_path / "processor")}
    measure = load_prompt_metric(replace(METRICS["pickscore"], **folders), CPU, offline=True)
    edit = np.asarray(smooth_picture(40, 40))
    inputs = CLIPProcessor.from_pretrained(tmp_path / "processor")(
        text=["at night"], images=[Image.fromarray(edit)], padding="max_length", max_length=24, return_tensors="pt"
    )
    with torch.no_grad():
        logit = model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"]).logits_per_image[0, 0]
    assert measure(255 - edit, edit, "at night") == pytest.approx(float(logit), abs=1e-3)
    assert abs(float(logit)) > 1, "a cosine would not be"


def test_the_direction_of_an_edit_is_a_cosine_of_differences(tmp_path: Path):
    save_clip(tmp_path)
    measure = load_prompt_metric(replace(METRICS["clip-direction"], weights=str(tmp_path)), CPU, offline=True)
    original, edit = (np.asarray(smooth_picture(40, 40, seed=seed)) for seed in (0, 1))
    (before, source), (after, wanted) = (
        embeddings(tmp_path, original, SOURCE_TEXT),
        embeddings(tmp_path, edit, "at night"),
    )
    cosine = torch.nn.functional.cosine_similarity(after - before, wanted - source, dim=0)
    assert measure(original, edit, "at night") == pytest.approx(float(cosine), abs=1e-4)
    assert measure(original, original, "at night") == 0


def test_clip_compares_pictures(tmp_path: Path):
    save_clip(tmp_path)
    measure = load_image_metric(replace(METRICS["clip-image"], weights=str(tmp_path)), CPU, offline=True)
    one, other = (np.asarray(smooth_picture(40, 40, seed=seed)) for seed in (0, 1))
    cosine = torch.dot(*(embeddings(tmp_path, picture, "at night")[0] for picture in (one, other)))
    assert measure(one, other) == pytest.approx(float(cosine), abs=1e-5)
    assert METRICS["clip-image"].distance(measure(one, one)) == pytest.approx(0, abs=1e-6)


def test_dino_compares_pictures(tmp_path: Path):
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28))
    model.save_pretrained(tmp_path)
    sides = {"height": 28, "width": 28}
    processor = BitImageProcessorPil(size={"shortest_edge": 28}, crop_size=sides)
    processor.save_pretrained(tmp_path)
    measure = load_image_metric(replace(METRICS["dino"], weights=str(tmp_path)), CPU, offline=True)
    one, other = (np.asarray(smooth_picture(40, 40, seed=seed)) for seed in (0, 1))
    with torch.no_grad():
        pooled = [
            model(**processor(images=[Image.fromarray(picture)], return_tensors="pt")).pooler_output[0]
            for picture in (one, other)
        ]
    cosine = torch.nn.functional.cosine_similarity(*pooled, dim=0)
    assert measure(one, other) == pytest.approx(float(cosine), abs=1e-5)
    assert measure(one, one) == pytest.approx(1, abs=1e-6)


def test_an_image_metric_without_its_weights_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=r"dino: .*does not load"):
        load_image_metric(replace(METRICS["dino"], weights=str(tmp_path)), CPU, offline=True)


def test_a_pool_measures_the_same():
    pairs = [(picture("flip"), noisy(picture("flip"), sigma)) for sigma in (2, 20)]
    alone = load_metrics(["flip", "gmsd", "blur"], size_px=64)
    with metric_pool(1) as pool:
        shared = load_metrics(["flip", "gmsd", "blur"], size_px=64, pool=pool)
        assert shared.pool is not None
        assert shared.distances_of(pairs) == alone.distances_of(pairs)
        assert shared.visibilities(pairs) == [visibility(*pair) for pair in pairs]
        assert shared.visibilities([]) == []
    assert list(alone.distances(*pairs[0])) == ["flip", "gmsd"]


def test_no_process_measures_while_the_cpu_edits():
    assert workers_beside(torch.device("cpu")) == 0
    with metric_pool(0) as pool:
        assert pool is None
