"""The embedded models are what their cards say: of the right shape, informative, able to reconstruct and to edit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, ROOT
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInstructPix2PixPipeline,
)
from PIL import Image

from pca_protect import ModelError, load_surrogate, posterior_collapse
from pca_protect.eval.benches.testbed import NAMES, TEACHER
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.metrics.classical import flip
from pca_protect.eval.styles import STYLES
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.registry import REGISTRY

VAES = Path(str(resources.files("pca_protect.pocket")))
EDITORS = Path(str(resources.files("pca_protect.eval.pocket")))
KL = [name for name in NAMES if name not in TEACHER]


def kl(name: str) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(VAES / name, use_safetensors=True).float().eval()


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    array = np.asarray(Image.open(ASTRONAUT).resize((256, 256), Image.Resampling.LANCZOS))
    return torch.from_numpy(array.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255


@pytest.mark.parametrize("name", NAMES)
def test_vaes_load_by_name_and_are_what_the_registry_says(name: str):
    entry, surrogate = REGISTRY[name], load_surrogate(name, device="cpu")
    assert entry.embedded
    assert surrogate.multiple == 8
    assert (surrogate.latent_channels, surrogate.has_variance) == (entry.latent_channels, entry.has_variance)
    assert any(f"`{name}` is a test model" in warning for warning in surrogate.warnings)
    megabytes = sum(value.numel() * 4 for value in surrogate.encoder.state_dict().values()) / 1e6
    assert entry.encoder_megabytes == pytest.approx(megabytes, abs=1)


def test_encoders_are_distinct():
    assert len({load_surrogate(name, device="cpu").digest for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", KL)
def test_latents_are_centred_and_of_about_unit_variance(name: str, photograph: torch.Tensor):
    vae = kl(name)
    assert vae.config.scaling_factor == 1
    with torch.no_grad():
        latent = vae.encode(photograph * 2 - 1).latent_dist.mean
    assert 0.4 < float(latent.std()) < 2.5, "one photograph need not look like their average"


@pytest.mark.parametrize("name", KL)
def test_posteriors_are_informative(name: str, photograph: torch.Tensor):
    posterior = load_surrogate(name, device="cpu").posterior(photograph)
    divergence = posterior_collapse(posterior.mean, posterior.logvar, 1.0) / posterior.mean.numel()
    assert float(divergence) >= 1, "nats of KL to N(0, 1) per latent element"


def psnr_db(decoded: torch.Tensor, pixels: torch.Tensor) -> float:
    return -10 * float(((decoded / 2 + 0.5).clamp(0, 1) - pixels).square().mean().log10())


@pytest.mark.parametrize("name", KL)
def test_reconstructs_a_photograph(name: str, photograph: torch.Tensor):
    vae = kl(name)
    with torch.no_grad():
        decoded = vae.decode(vae.encode(photograph * 2 - 1).latent_dist.mean).sample
    assert psnr_db(decoded, photograph) > 20


def test_the_tiny_one_speaks_its_teachers_latents(photograph: torch.Tensor):
    tiny = AutoencoderTiny.from_pretrained(VAES / "pocket-tiny", use_safetensors=True).float().eval()
    with torch.no_grad():
        latent = tiny.encode(photograph * 2 - 1).latents
        through_teacher = kl("pocket").decode(latent).sample
        through_itself = tiny.decode(latent).sample
    assert psnr_db(through_teacher, photograph) > 19
    assert psnr_db(through_itself, photograph) > 19


def test_a_vae_of_another_format_is_refused(tmp_path: Path):
    copy = shutil.copytree(VAES / "pocket", tmp_path / "pocket")
    (copy / "pocket.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(ModelError, match="a pocket model of format 2, and this program reads format 1"):
        load_surrogate(str(copy), device="cpu")


def test_the_test_bed_stays_small():
    files = [path for folder in (VAES, EDITORS) for path in folder.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) < 16_000_000
    assert sum(path.stat().st_size for path in files) < 60_000_000
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]


def test_every_model_has_a_card_and_says_how_it_was_trained():
    cards = {folder: (folder / "MODEL_CARD.md").read_text() for folder in (VAES, EDITORS)}
    for folder, names in ((VAES, NAMES), (EDITORS, EMBEDDED)):
        for name in names:
            assert f"`{name}`" in cards[folder]
            assert json.loads((folder / name / "pocket.json").read_text()).keys() == {"format", "steps", "seconds"}
    assert (ROOT / "docs" / "testbed.png").stat().st_size < 6_000_000


@pytest.fixture(scope="module", params=EMBEDDED)
def editor(request: pytest.FixtureRequest) -> Editor:
    return load_editor(request.param, device="cpu")


def test_editors_work_at_256_px_in_the_latents_of_their_vae(editor: Editor):
    assert editor.size_px == 256
    pipeline = editor.pipeline
    instructs = editor.kind == "instruct"
    assert isinstance(pipeline, StableDiffusionInstructPix2PixPipeline if instructs else StableDiffusionImg2ImgPipeline)
    assert pipeline.safety_checker is None
    assert sum(value.numel() for value in pipeline.unet.parameters()) <= 7_000_000
    embedded = kl(EMBEDDED[editor.name]).state_dict()
    for name, value in pipeline.vae.state_dict().items():
        assert torch.equal(value, embedded[name]), name


def test_a_prompt_brings_a_photograph_closer_to_its_rendering(editor: Editor, photograph: torch.Tensor):
    picture = (photograph[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    settings = replace(editor.settings, steps=10)
    wanted = STYLES["night"].render(picture)
    plain, night = (editor.edit([picture], prompt, settings, seeds=[0])[0] for prompt in ("", "at night"))
    assert flip(wanted, night) < flip(wanted, plain)


def test_surrogates_come_from_editor_folders_too(pocket: Surrogate):
    assert load_surrogate(str(EDITORS / "pocket-editor"), device="cpu").digest == pocket.digest
