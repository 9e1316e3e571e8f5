"""`bench latents`: changes of latents by hand, edits of given latents, the attack through the UNet, rows, one whole run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_editors
import tiny_modern_editors
import torch
from conftest import smooth_picture
from torch import Tensor

from pca_protect.errors import UsageError
from pca_protect.eval.arms.conditioning import knows_conditioning, prediction_away
from pca_protect.eval.benches.latents import direction_rows, latent_rows, measure_latents
from pca_protect.eval.benches.latents_config import LatentsConfig
from pca_protect.eval.benches.latents_work import ELSEWHERE, SAME_COVARIANCE, SHIFT, THROUGH_UNET, LatentsWork, ranks_of
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.latents import edit_latents, require_latents
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.latent_changes import (
    along,
    at_other_places,
    channel_directions,
    common_share,
    of_same_covariance,
    size,
)
from pca_protect.eval.pictures import to_pixels
from pca_protect.eval.results import Json
from pca_protect.eval.trial import EditPrompt
from pca_protect.io.picture import Picture

SIDE = 64
FLAT = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)


@pytest.fixture(scope="module", params=["instruct-pix2pix", "stable-diffusion"])
def editor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Editor:
    folder = tmp_path_factory.mktemp("editor") / "pipeline"
    loaded = load_editor(str(tiny_editors.save(tiny_editors.EDITORS[request.param](), folder)), device="cpu")
    return replace(loaded, settings=replace(loaded.settings, steps=4))


def noise(seed: int, channels: int = 2) -> Tensor:
    return torch.randn((1, channels, 16, 16), generator=torch.Generator().manual_seed(seed))


def test_an_offset_is_common_to_all_positions_and_has_one_direction():
    shares, directions = channel_directions(FLAT)
    assert common_share(FLAT) == pytest.approx(1)
    assert shares.tolist() == pytest.approx([1, 0], abs=1e-6)
    assert directions[0].abs().tolist() == pytest.approx([0.6, 0.8])
    centred = noise(0) - noise(0).mean(dim=(2, 3), keepdim=True)
    assert common_share(centred) == pytest.approx(0, abs=1e-6)


def test_size_is_relative_to_the_latent_around_its_mean():
    latent = noise(1) + 100
    assert size(latent - latent.mean(dim=(2, 3), keepdim=True), latent) == pytest.approx(1)


def test_noise_along_a_direction_has_size_one_and_no_other_direction():
    change = along(torch.tensor([0.6, 0.8]), noise(1), torch.Generator().manual_seed(0))
    assert size(change, noise(1)) == pytest.approx(1, rel=1e-5)
    assert channel_directions(change)[0][0] == pytest.approx(1)
    assert common_share(change) < 0.1


def test_noise_of_the_same_covariance_has_the_size_and_the_directions_but_not_the_places():
    change = noise(2) * torch.tensor([3.0, 0.2]).view(1, 2, 1, 1)
    made = of_same_covariance(change, torch.Generator().manual_seed(0))
    assert float(made.norm()) == pytest.approx(float(change.norm()), rel=1e-5)
    assert channel_directions(made)[0].tolist() == pytest.approx(channel_directions(change)[0].tolist(), abs=0.02)
    assert abs(float(torch.nn.functional.cosine_similarity(made.flatten(), change.flatten(), dim=0))) < 0.2


def test_a_change_at_other_places_has_the_same_values():
    change = noise(3)
    moved = at_other_places(change, torch.Generator().manual_seed(0))
    assert not torch.equal(moved, change)
    assert torch.equal(moved.flatten(2).sum(1).sort().values, change.flatten(2).sum(1).sort().values)


def test_at_most_four_directions_are_tried():
    assert ranks_of(4) == [0, 1, 2, 3]
    assert ranks_of(3) == [0, 1, 2]
    assert ranks_of(16) == [0, 5, 10, 15]


def test_editing_the_own_latent_is_editing_the_picture(editor: Editor):
    picture, settings = np.asarray(smooth_picture(SIDE, SIDE)), editor.settings
    latent = editor.surrogate.posterior(to_pixels(Picture(picture))).mean
    changed = torch.cat([latent, latent + 3 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))])
    edits = edit_latents(editor, picture, changed, "at night", settings, seed=3, batch=2)
    again = edit_latents(editor, picture, changed, "at night", settings, seed=3, batch=1)
    assert np.abs(edits[0].astype(int) - again[0]).max() <= 1
    if editor.kind == "instruct":  # img2img draws from the posterior, which has a variance here
        (own,) = editor.edit([picture], "at night", settings, seeds=[3])
        assert np.abs(edits[0].astype(int) - own).max() <= 1
    assert np.abs(edits[1].astype(int) - edits[0]).max() > 5
    assert "encode" not in vars(editor.pipeline.vae), "the editor is as before"


def test_an_editor_without_such_latents_is_refused(tmp_path: Path):
    folder = tiny_editors.save(tiny_modern_editors.EDITORS["klein"](), tmp_path / "pipeline")
    with pytest.raises(UsageError, match="of kind `reference` on AutoencoderKLFlux2; give one of kind"):
        require_latents(load_editor(str(folder), device="cpu", size_px=SIDE))


def test_the_attack_through_the_unet_moves_its_prediction(editor: Editor):
    if not knows_conditioning(editor):
        assert editor.kind == "img2img"
        return
    clean = to_pixels(Picture(np.asarray(smooth_picture(SIDE, SIDE))))
    edits = clean.repeat(2, 1, 1, 1)

    def objective(pixels: Tensor) -> float:
        found = prediction_away(editor, clean, edits, ["a", "b"], torch.Generator().manual_seed(0))(pixels)
        assert found.shape == (1,)
        return float(found)

    assert objective(clean) == 0
    near, far = (objective((clean + levels / 255).clamp(0, 1)) for levels in (4, 16))
    assert far < near < 0


def entries(effects: dict[str, list[float]]) -> dict[str, dict[str, Json]]:
    """Measurements by hand of `arm 16`: change -> FLIP to the clean edit, one per picture; a success is below 0.5."""
    pictures = range(len(effects[SHIFT]))
    changed = {
        str(number): {
            "visibility": 0.1,
            "size": 2.0,
            "common": 0.5,
            "shares": [0.7, 0.2, 0.1],
            "edits": {
                change: {"snow": {"to_clean": values[number], "to_target": values[number]}}
                for change, values in effects.items()
            },
        }
        for number in pictures
    }
    clean = {"snow": {"seed_line": 0.25, "to_target": 0.1, "to_target_without": 0.5}}
    return {"clean": {str(number): clean for number in pictures}, "arm 16": changed}


def test_rows_compare_a_shift_with_its_controls():
    effects = {SHIFT: [0.3, 0.5, 0.7], SAME_COVARIANCE: [0.6] * 3, ELSEWHERE: [0.1] * 3, "0": [0.2] * 3, "2": [0.9] * 3}
    first, second = latent_rows("editor", ["arm"], [16], entries(effects))
    assert (first["control"], second["control"]) == (SAME_COVARIANCE, ELSEWHERE)
    assert first["effect"] == second["effect"] == pytest.approx(0.5)
    assert (first["difference"], second["difference"]) == (pytest.approx(-0.1), pytest.approx(0.4))
    assert (first["success"], first["control_success"], second["control_success"]) == (pytest.approx(1 / 3), 0, 1)
    assert (first["size"], first["two_directions"], first["seed_line"]) == (2, pytest.approx(0.9), 0.25)
    rows = direction_rows("editor", ["arm"], 16, entries(effects))
    assert [(row["rank"], row["share"], row["effect"], row["success"]) for row in rows] == [
        (0, pytest.approx(0.7), pytest.approx(0.2), 1),
        (2, pytest.approx(0.1), pytest.approx(0.9), 0),
    ]


def test_edits_whose_clean_edit_fails_do_not_count():
    found = entries({SHIFT: [0.3], SAME_COVARIANCE: [0.6], ELSEWHERE: [0.1]})
    found["clean"]["0"]["snow"]["to_target"] = 0.6
    assert latent_rows("editor", ["arm"], [16], found)[0]["success"] is None


def test_without_pictures_there_are_no_rows():
    assert latent_rows("editor", ["arm"], [16], {"clean": {}, "arm 16": {}}) == []
    assert direction_rows("editor", ["arm"], 16, {"clean": {}, "arm 16": {}}) == []


def test_a_run_resumes_and_a_bad_setting_is_refused(editor: Editor, tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    smooth_picture(SIDE, SIDE).save(images / "0.png")
    config = LatentsConfig(
        str(images),
        prompts=("at night",),
        editors=(editor.name,),
        arms=("pca-diffusion",),
        budgets=(16, 32),
        device="cpu",
    )
    finished = measure_latents(config, tmp_path / "out")
    arms = ["pca-diffusion", *([THROUGH_UNET] if editor.kind == "instruct" else [])]
    rows = finished.tables["latents"]
    assert [(row["arm"], row["budget_levels"], row["control"]) for row in rows] == [
        (arm, budget, control) for budget in (16, 32) for control in (SAME_COVARIANCE, ELSEWHERE) for arm in arms
    ]
    assert all(row["n"] == 1 and row["p"] is None and row["effect"] > 0 for row in rows)
    assert {row["arm"]: row["visibility"] for row in rows if row["budget_levels"] == 32}.keys() == set(arms)
    assert len(finished.tables["directions"]) == 4 * len(arms)
    log = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert measure_latents(config, tmp_path / "out").tables == finished.tables
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == log
    with pytest.raises(UsageError, match="arm advdm: not measured here"):
        replace(config, arms=("advdm",))


def test_another_picture_or_seed_gives_another_change(editor: Editor):
    picture = np.asarray(smooth_picture(SIDE, SIDE))
    work = LatentsWork(editor, picture, [EditPrompt("night", "at night", None)], batch=4, seed=0)
    one = work.changed("pca-diffusion", 16, directions=[0])
    assert one == work.changed("pca-diffusion", 16, directions=[0])
    assert one["edits"]["0"]["night"]["to_target"] is None
    assert sum(one["shares"]) == pytest.approx(1, rel=1e-4)
