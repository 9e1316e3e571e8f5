"""The measurements of `bench latents` on one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pca_protect.engine import run_recipe
from pca_protect.eval.arms.conditioning import prediction_away
from pca_protect.eval.arms.perturb import Target, generator_for, perturb, request_for
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.latents import edit_latents
from pca_protect.eval.latent_changes import (
    along,
    at_other_places,
    channel_directions,
    common_share,
    of_same_covariance,
    size,
)
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, to_pixels, with_pixels
from pca_protect.eval.results import Json
from pca_protect.eval.trial import EditPrompt, edit_seed
from pca_protect.image.tensors import to_tensor
from pca_protect.io.picture import Picture

THROUGH_UNET = "through-unet"
"""The attack of `arms.conditioning`, beside the arms of an editor that can have it."""

SHIFT, SAME_COVARIANCE, ELSEWHERE = "shift", "same covariance", "other places"
"""Changes of a latent, see `latent_changes`: the attack's own, and its two controls."""


@dataclass(frozen=True)
class LatentsWork:
    """Attributes:
    picture: `(size_px, size_px, 3)`.
    batch: edits per call.
    seed: of the arms.
    """

    editor: Editor
    picture: Rgb
    prompts: Sequence[EditPrompt]
    batch: int
    seed: int

    def clean(self) -> Json:
        """By prompt: distance between clean edits with two seeds, `seed_line`, and distances of the clean edit and of an edit
        without a prompt to the known target; None without one."""
        found: Json = {}
        for prompt in self.prompts:
            edit, unprompted = self._clean_edits[prompt.name], self._edits(self._latent, prompt, text="")[0]
            found[prompt.name] = {
                "seed_line": visibility(edit, self._edits(self._latent, prompt, number=1)[0]),
                **{
                    name: None if prompt.target is None else visibility(prompt.target.render(self.picture), one)
                    for name, one in (("to_target", edit), ("to_target_without", unprompted))
                },
            }
        return found

    def changed(self, arm: str, budget_levels: int, *, directions: Sequence[int]) -> Json:
        """An arm's shift of the latent, and the edits of the latent after it, its controls, and noise along its directions.

        Args:
            arm: a name of `ARMS`, or `THROUGH_UNET`.
            directions: ranks of the directions to try, 0 for the largest.
        """
        changed = self._attacked(budget_levels) if arm == THROUGH_UNET else self._perturbed(arm, budget_levels)
        shift = self._encoded(changed) - self._latent
        shares, vectors = channel_directions(shift)
        generator = generator_for(self.picture, self.seed)
        changes = {
            SHIFT: shift,
            SAME_COVARIANCE: of_same_covariance(shift, generator),
            ELSEWHERE: at_other_places(shift, generator),
            **{str(rank): along(vectors[rank], self._latent, generator) for rank in directions},
        }
        return {
            "visibility": visibility(self.picture, changed),
            "size": size(shift, self._latent),
            "common": common_share(shift),
            "shares": shares.tolist(),
            "edits": self._measured(changes),
        }

    def _measured(self, changes: Mapping[str, Tensor]) -> Json:
        """Change -> prompt -> distance to the clean edit, and to the known target."""
        latents = torch.cat([self._latent + change for change in changes.values()])
        found: Json = {name: {} for name in changes}
        for prompt in self.prompts:
            target = None if prompt.target is None else prompt.target.render(self.picture)
            for name, edit in zip(changes, self._edits(latents, prompt), strict=True):
                found[name][prompt.name] = {
                    "to_clean": visibility(self._clean_edits[prompt.name], edit),
                    "to_target": None if target is None else visibility(target, edit),
                }
        return found

    @cached_property
    def _latent(self) -> Tensor:
        return self._encoded(self.picture)

    @cached_property
    def _clean_edits(self) -> dict[str, Rgb]:
        return {prompt.name: self._edits(self._latent, prompt)[0] for prompt in self.prompts}

    def _edits(self, latents: Tensor, prompt: EditPrompt, *, text: str | None = None, number: int = 0) -> list[Rgb]:
        return edit_latents(
            self.editor,
            self.picture,
            latents,
            prompt.text if text is None else text,
            self.editor.settings,
            seed=edit_seed(self.picture, prompt.text, number),
            batch=self.batch,
        )

    def _encoded(self, picture: Rgb) -> Tensor:
        with torch.no_grad():
            return self.editor.surrogate.posterior(to_pixels(Picture(picture)).to(self.editor.surrogate.device)).mean

    def _perturbed(self, arm: str, budget_levels: int) -> Rgb:
        target = Target(self.editor.surrogate)
        return perturb(ARMS[arm], self.picture, target, budget_levels=budget_levels, seed=self.seed)

    def _attacked(self, budget_levels: int) -> Rgb:
        """The picture after the attack through the UNet, with the optimiser of the other methods."""
        device, generator = self.editor.surrogate.device, generator_for(self.picture, self.seed)
        clean = to_pixels(Picture(self.picture)).to(device)
        edits = to_tensor([self._clean_edits[prompt.name] for prompt in self.prompts]).to(device)
        texts = [prompt.text for prompt in self.prompts]
        objective = prediction_away(self.editor, clean, edits, texts, generator)
        start = (torch.rand(clean.shape, generator=generator) * 2 - 1).to(device) * budget_levels / 255
        config = request_for(ARMS["latent-distance"], budget_levels=budget_levels, seed=self.seed)
        return with_pixels(Picture(self.picture), run_recipe(clean, objective, config, init=start).pixels).rgb


def ranks_of(channels: int) -> list[int]:
    """Ranks of at most four directions, from the largest to the smallest, evenly spaced."""
    return sorted({round(rank) for rank in np.linspace(0, channels - 1, min(channels, 4))})
