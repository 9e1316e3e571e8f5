"""Several encoders at once: none decides alone, one at a time is in memory, and each is protected against."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture, tiny_kl
from folders import Recorder, outputs, put_pictures
from PIL import Image
from torch import Tensor

from pca_protect import ModelError, ProtectConfig, UsageError, load_surrogate, protect
from pca_protect.attack.ensemble import (
    equal_gains,
    equal_lengths,
    fill_budget,
    maximin_of,
    maximin_weights,
    mean_of,
)
from pca_protect.attack.objectives import CollapseObjective, LossObjective, power
from pca_protect.attack.pgd import Objective
from pca_protect.attack.transforms import BETWEEN_ENCODERS
from pca_protect.attack.visibility import VisibilityPenalty
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.engine import criteria, run_recipe
from pca_protect.evaluation import evaluate
from pca_protect.image.tensors import to_tensor, to_uint8
from pca_protect.io.picture import Picture
from pca_protect.protection import protect_batch
from pca_protect.surrogates.encoder import SurrogateEnsemble, ensemble
from pca_protect.surrogates.load import load_surrogates


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Folders of two VAEs, one with 16 channels, and a copy of the first."""
    folder = tmp_path_factory.mktemp("vaes")
    tiny_kl(seed=1).save_pretrained(folder / "one")
    tiny_kl(latent_channels=16, seed=2).save_pretrained(folder / "two")
    tiny_kl(seed=1).save_pretrained(folder / "copy")
    return str(folder / "one"), str(folder / "two"), str(folder / "copy")


@pytest.fixture(scope="module")
def both(names: tuple[str, str, str]) -> SurrogateEnsemble:
    found = load_surrogates(names[:2], device="cpu")
    assert isinstance(found, SurrogateEnsemble)
    return found


@pytest.fixture(scope="module")
def embedded() -> SurrogateEnsemble:
    """Of 4 channels, of 4 without a variance, and of 16."""
    return SurrogateEnsemble(
        tuple(load_surrogate(name, device="cpu") for name in ("pocket", "pocket-tiny", "pocket-16"))
    )


def pixels_of(batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def near(clean: Tensor, levels: float = 4) -> Tensor:
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return (clean + noise * levels / 255).clamp(0, 1)


def gradient_of(objective: Objective, pixels: Tensor) -> Tensor:
    pixels = pixels.clone().requires_grad_()
    return torch.autograd.grad(objective(pixels).sum(), pixels)[0]


def lengths(gradient: Tensor) -> Tensor:
    return gradient.abs().mean(dim=(1, 2, 3), keepdim=True)


def test_the_gradient_is_the_mean_of_gradients_made_equally_long(both: SurrogateEnsemble):
    clean = pixels_of()
    goals = [CollapseObjective(member.posterior, 1.0, "up", clean) for member in both.members]
    at = near(clean)
    each = [gradient_of(goal, at) for goal in goals]
    common = sum(map(lengths, each)) / 2
    wanted = sum(common * one / lengths(one) for one in each) / 2
    rounding = {"rtol": 1e-4, "atol": 1e-4 * float(wanted.abs().mean())}
    torch.testing.assert_close(gradient_of(mean_of(goals), at), wanted, **rounding)
    pixels = at.clone().requires_grad_()
    weights = torch.tensor([2.0, -3.0])  # as whatever comes after it may have
    (weighted,) = torch.autograd.grad((weights * mean_of(goals)(pixels)).sum(), pixels)
    torch.testing.assert_close(weighted, weights.view(2, 1, 1, 1) * wanted, **rounding)


def test_weights_minimise_the_norm():
    """|w a + (1 - w) b| has the parts |4w - 1|, 1 - w and 1 - w: least at w = 1/4, where their mean is 1/2; 2/3 at w = 1/2."""
    a, b = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([-1.0, 1.0, 1.0])
    weights = maximin_weights(torch.stack([a, b]))
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    assert float((weights @ torch.stack([a, b])).abs().mean()) < 0.52
    assert float(weights[0]) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("dead", [0, 1])
def test_a_zero_gradient_has_no_weight(dead: int):
    rows = torch.ones(2, 4)
    rows[dead] = 0
    assert maximin_weights(rows).tolist() == [float(dead), float(1 - dead)]
    assert maximin_weights(torch.zeros(2, 4)).tolist() == [0, 0]


def test_the_least_gain_is_the_greatest():
    """Two of three members agree and the third is opposed to them: it is outvoted by lengths and not by gains."""
    common, own = torch.randn(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    members = [common + 0.1 * own, 10 * common, own - common]

    def gains(direction: Tensor) -> list[float]:
        """To first order, of a step along the sign, of what a step along the member's own sign gains."""
        return [float((one * direction.sign()).sum() / one.abs().sum()) for one in members]

    voted, fair = gains(equal_lengths(members)), gains(equal_gains(members))
    assert min(voted) < 0
    assert min(fair) > 0.3
    assert max(fair) - min(fair) < 0.12, "at the optimum members with a weight gain equally"


def test_what_cannot_change_does_not_count(both: SurrogateEnsemble):
    clean = pixels_of()
    mask = torch.zeros(2, 1, 24, 32)
    mask[..., :10, 5:20] = 1
    each = [gradient_of(CollapseObjective(member.posterior, 1.0, "up", clean), near(clean)) for member in both.members]
    louder = [each[0] * (1 + 99 * (1 - mask)), each[1]]
    found = equal_gains(each, mask=mask)
    assert torch.equal(found, equal_gains(louder, mask=mask))
    assert torch.equal(found, found * mask)
    torch.testing.assert_close(found[:1], equal_gains([one[:1] for one in each], mask=mask[:1]), rtol=0, atol=0)


def test_every_member_keeps_most_of_its_shift(both: SurrogateEnsemble):
    """Of what the preset does to it alone; by lengths, the weaker one keeps less."""
    clean = pixels_of()

    def shifts(objective: Objective) -> Tensor:
        moved = run_recipe(clean, objective, ProtectConfig(), comparable=False).pixels
        with torch.no_grad():
            pairs = [(member.posterior(moved).mean, member.posterior(clean).mean) for member in both.members]
        return torch.stack([(now - before).flatten(1).norm(dim=1) for now, before in pairs])

    goals = [CollapseObjective(member.posterior, 1.0, "up", clean) for member in both.members]
    alone = torch.stack([shifts(goal)[number] for number, goal in enumerate(goals)])
    kept = shifts(maximin_of(goals)) / alone
    assert float(kept.min()) > 0.6
    assert float(kept.min()) > float((shifts(mean_of(goals)) / alone).min())


@pytest.mark.parametrize("mode", ["diffusion", "concentration"])
def test_for_unknown_transforms_equalises_and_fills(both: SurrogateEnsemble, mode: str):
    picture = Picture(np.asarray(smooth_picture(41, 35)), source="one")
    config = ProtectConfig(mode=mode, vae=("one", "two"), steps=4, for_unknown=True)
    found = protect(picture, config, surrogate=both).picture.rgb
    clean, generator = to_tensor([picture.rgb]), torch.Generator().manual_seed(0)

    def shown(goal: Objective) -> Objective:
        return lambda pixels: goal(BETWEEN_ENCODERS(pixels, generator) if pixels.requires_grad else pixels)

    goals = [CollapseObjective(member.posterior, *config.objective, clean) for member in both.members]
    wanted = run_recipe(clean, mean_of([shown(goal) for goal in goals]), config, comparable=False).pixels
    if mode == "diffusion":
        wanted = fill_budget(wanted, clean, radius=16 / 255)
    assert np.array_equal(found, to_uint8(wanted)[0])
    known = protect(picture, replace(config, for_unknown=False), surrogate=both).picture.rgb
    assert not np.array_equal(found, known)


def test_for_unknown_needs_several(both: SurrogateEnsemble):
    picture = Picture(np.asarray(smooth_picture(41, 35)), source="one")
    with pytest.raises(UsageError, match="`for_unknown` needs several encoders"):
        protect(picture, ProtectConfig(for_unknown=True, steps=1), surrogate=both.members[0])


def test_a_member_of_another_scale_weighs_the_same(both: SurrogateEnsemble):
    clean = pixels_of()
    one, two = (CollapseObjective(member.posterior, 1.0, "up", clean) for member in both.members)
    at = near(clean)
    plain, scaled = (mean_of([one, other]) for other in (two, lambda x: 1000 * two(x)))
    directions = [gradient / lengths(gradient) for gradient in (gradient_of(plain, at), gradient_of(scaled, at))]
    torch.testing.assert_close(directions[0], directions[1], rtol=1e-3, atol=1e-5)


def test_a_value_is_the_same_whether_it_is_differentiated_or_not(both: SurrogateEnsemble):
    clean = pixels_of()
    goal = mean_of([CollapseObjective(member.posterior, 1.0, "up", clean) for member in both.members])
    at = near(clean)
    torch.testing.assert_close(goal(at.clone().requires_grad_()).detach(), goal(at), rtol=1e-6, atol=0)


@pytest.mark.parametrize("levels", [0.0, 0.5, 4.0])
def test_logarithmic_objectives_are_not_blown_up(both: SurrogateEnsemble, levels: float):
    """They are zero at the clean pixels, and hardly more where a window before this one changed some of them; what they are
    weighed against, the price of visibility, is not divided by that."""
    clean = pixels_of()
    goals = [LossObjective(member.posterior, power, "up", clean, logarithmic=True) for member in both.members]
    before = near(clean, levels)
    at = near(before)
    gradient = gradient_of(mean_of(goals), at)
    longest = torch.stack([lengths(gradient_of(goal, at)) for goal in goals]).mean(dim=0)
    assert bool((lengths(gradient) <= 1.001 * longest).all()), "a mean is no longer than its parts"
    assert bool((lengths(gradient) > 0.2 * longest).all())


def test_one_that_does_not_move_is_no_nan(both: SurrogateEnsemble):
    clean = pixels_of()
    goal = LossObjective(both.members[0].posterior, power, "up", clean, logarithmic=True)
    still = mean_of([goal, lambda pixels: 0 * pixels.sum(dim=(1, 2, 3))])
    at = near(clean)
    gradient = gradient_of(still, at)
    torch.testing.assert_close(gradient, 0.25 * gradient_of(goal, at), rtol=1e-4, atol=0)


def test_the_graph_of_one_encoder_is_in_memory_at_a_time(both: SurrogateEnsemble):
    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor.detach()  # a node that keeps its own output would never go

    kept: WeakSet[Kept] = WeakSet()
    most: list[int] = []

    def pack(tensor: Tensor) -> Kept:
        one = Kept(tensor)
        kept.add(one)
        return one

    def counted(goal: Objective) -> Objective:
        def objective(pixels: Tensor) -> Tensor:
            assert not pixels.requires_grad or not kept, "of the one before"
            values = goal(pixels)
            most.append(len(kept))
            return values

        return objective

    clean = pixels_of(1)
    goals = [counted(LossObjective(member.posterior, power, "up", clean, logarithmic=True)) for member in both.members]
    goal = VisibilityPenalty(mean_of(goals), clean, weight=0.0)
    pixels = near(clean).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
        most.clear()
        values = goals[0](pixels)
        assert most[0] > 20, "it counts"
        del values
        most.clear()
        values = mean_of(goals)(pixels)
        assert min(most[-2:]) > 20
        assert len(kept) <= 1, "the mean gradient"
        torch.autograd.grad(values.sum(), pixels)
    assert goal(clean).shape == (1,)


def test_the_same_weights_under_two_names_are_refused(names: tuple[str, str, str]):
    with pytest.raises(UsageError, match=r"VAEs \S+one and \S+copy have the same weights; give one of them"):
        load_surrogates([names[0], names[2]], device="cpu")
    with pytest.raises(UsageError, match="give each once"):
        ProtectConfig(vae=(names[0], names[0]))


def test_one_of_several_is_that_one(both: SurrogateEnsemble):
    assert ensemble(both.members[:1]) is both.members[0]
    assert ensemble(both.members) == both
    turned = ensemble(both.members[::-1])
    assert len({both.digest, turned.digest, *(member.digest for member in both.members)}) == 4, "order decides bytes"


@pytest.fixture(scope="module")
def face() -> Picture:
    return Picture(np.asarray(Image.open(ASTRONAUT).crop((170, 60, 259, 157))), source="face")


@pytest.mark.parametrize(("mode", "limit"), [("subtle", None), ("diffusion", None), ("concentration", 1.0)])
def test_every_member_is_evaluated_and_the_record_has_the_weakest(
    face: Picture, embedded: SurrogateEnsemble, mode: str, limit: float | None
):
    config = ProtectConfig(mode=mode, vae=("pocket", "pocket-tiny", "pocket-16"), max_visibility=limit, steps=20)
    found = protect(face, config, surrogate=embedded)
    effects = [
        evaluate(face, found.picture, surrogate=member, criteria=criteria(config)) for member in embedded.members
    ]
    gains = [effect.gain_over_noise for effect in effects]
    if mode == "concentration":
        assert all(effect.protected.norm < 0.93 * effect.noise.norm for effect in effects)
    elif mode == "diffusion":
        assert min(gains) > 2.5
    else:
        assert min(gains) > 3.5
    record = found.record
    assert record.gain_over_noise == pytest.approx(min(gains)), "the record has the one protected least"
    assert not any("hardly protects" in warning for warning in record.warnings)
    turned = evaluate(
        face, found.picture, surrogate=SurrogateEnsemble(embedded.members[::-1]), criteria=criteria(config)
    )
    assert turned.gain_over_noise == record.gain_over_noise, "whichever comes first"
    assert record.max_change_levels <= 16
    assert limit is None or record.visible_levels <= limit


def test_more_encoders_than_one_protect_better_against_all(face: Picture, embedded: SurrogateEnsemble):
    """The logarithm of the latent's power, of the encoder that is protected against least."""
    config = ProtectConfig(mode="subtle", steps=20)
    together = protect(face, ProtectConfig(mode="subtle", steps=20, vae=("a", "b", "c")), surrogate=embedded)
    alone = protect(face, config, surrogate=embedded.members[0])

    def worst(picture: Picture) -> float:
        effects = [evaluate(face, picture, surrogate=member, criteria=criteria(config)) for member in embedded.members]
        return math.log(min(effect.protected.loss for effect in effects))

    assert worst(together.picture) > 2 * worst(alone.picture)


@pytest.mark.parametrize(("mode", "for_unknown"), [("subtle", False), ("concentration", False), ("subtle", True)])
def test_bytes_do_not_depend_on_the_batch(both: SurrogateEnsemble, mode: str, for_unknown: bool):
    pictures = [Picture(np.asarray(smooth_picture(41, 35, seed=seed)), source=str(seed)) for seed in range(3)]
    config = ProtectConfig(mode=mode, vae=("one", "two"), steps=5, batch=3, for_unknown=for_unknown)
    together = protect_batch(pictures, config, surrogate=both)
    for picture, found in zip(pictures, together, strict=True):
        alone = protect(picture, config, surrogate=both)
        assert np.array_equal(found.picture.rgb, alone.picture.rgb)
        assert np.abs(found.picture.rgb.astype(int) - picture.rgb).max() == 16


def test_windows_and_scales_and_the_seed(both: SurrogateEnsemble):
    picture = Picture(np.asarray(smooth_picture(150, 67)), source="wide")
    config = ProtectConfig(mode="subtle", vae=("one", "two"), steps=3, tile_px=128, scales=(64, "native"))
    found = protect(picture, config, surrogate=both)
    assert found.record.max_change_levels == 16
    assert np.array_equal(found.picture.rgb, protect(picture, config, surrogate=both).picture.rgb)
    seeds = [replace(config, seed=seed, for_unknown=True) for seed in (0, 1)]
    drawn = [protect(picture, one, surrogate=both).picture.rgb for one in seeds]
    assert not np.array_equal(*drawn)


def test_windows_show_no_more_than_the_whole(embedded: SurrogateEnsemble):
    """Where a window starts from what another one decided, the price of what shows is the same."""
    picture = Picture(np.asarray(Image.open(ASTRONAUT).crop((150, 60, 311, 124))), source="wide")
    shown = []
    for tile_px in (256, 128):
        config = ProtectConfig(mode="subtle", vae=("pocket", "pocket-tiny"), steps=10, tile_px=tile_px)
        shown.append(protect(picture, config, surrogate=SurrogateEnsemble(embedded.members[:2])).record.visible_levels)
    assert shown[1] < 1.25 * shown[0]


def test_the_posterior_s_own_variance_needs_one_in_every_member(face: Picture, embedded: SurrogateEnsemble):
    with pytest.raises(UsageError, match="pocket-tiny has none"):
        protect(face, ProtectConfig(target_variance="posterior", steps=1), surrogate=embedded)


def test_the_record_names_all(tmp_path: Path, photo: Path, both: SurrogateEnsemble, names: tuple[str, str, str]):
    config = ProtectConfig(vae=names[:2], steps=2, survive="jpeg", max_visibility=0.5)
    record = json.loads(protect(photo, config, surrogate=both).save(tmp_path / "out.png").as_json())
    assert record["config"]["vae"] == list(names[:2])
    assert (record["config"]["survive"], record["config"]["max_visibility"]) == ("jpeg", 0.5)
    assert record["vae"]["name"] == f"{names[0]} + {names[1]}"
    assert record["vae"]["weights_sha256"] == both.digest
    assert record["vae"]["latent_channels"] == [4, 16]
    assert 0 < record["visible_levels"] <= 0.5
    with Image.open(tmp_path / "out.png") as image:
        marker = json.loads(image.text["pca_protect"])
    assert both.digest[:12] in marker["vae"] or marker["vae"].startswith("custom")
    assert not any(Path(name).is_absolute() and name in marker["vae"] for name in names)


def test_a_folder_goes_on_with_the_same_encoders_only(tmp_path: Path, names: tuple[str, str, str]):
    photos, out = put_pictures(tmp_path / "photos", 3), tmp_path / "out"
    config = ProtectConfig(vae=names[:2], steps=1, preset="paper", device="cpu")
    request = Request((str(photos),), output=out, recursive=True)
    assert run(request, config, Recorder()).protected == 3
    before = outputs(out)
    again = run(request, config, Recorder())
    assert (again.protected, again.finished) == (0, 3)
    (out / "001.protected.png").unlink()
    resumed = run(request, config, Recorder())
    assert (resumed.protected, resumed.finished) == (1, 2)
    for vae in (names[0], names[1::-1], names[1]):
        other = ProtectConfig(vae=vae, steps=1, preset="paper", device="cpu")
        with pytest.raises(UsageError, match="protected with other settings"):
            run(request, other, Recorder())
    assert outputs(out) == before


@pytest.mark.parametrize("mode", ["subtle", "diffusion"])
def test_an_encoder_that_overflows_writes_nothing(tmp_path: Path, photo: Path, names: tuple[str, str, str], mode: str):
    broken = tiny_kl(seed=3)
    broken.encoder.conv_out.bias.data.fill_(1e20)
    broken.quant_conv.weight.data.fill_(1e20)  # their product overflows
    broken.save_pretrained(tmp_path / "broken")
    for vaes in ([str(tmp_path / "broken")], [names[0], str(tmp_path / "broken")]):
        surrogate = load_surrogates(vaes, device="cpu")
        with pytest.raises(ModelError, match="not finite"):
            protect(photo, ProtectConfig(mode=mode, steps=2), surrogate=surrogate).save(tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
