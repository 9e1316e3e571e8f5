"""The measurements of `bench editing` with one editor: which there are, and how a missing one is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from pca_protect.eval.arms.controls import NOISE_SPECTRUM, OWN_CONTROLS, SHUFFLED, UNRELATED
from pca_protect.eval.arms.noise import NoiseLadder, shuffled, spectrum_noise
from pca_protect.eval.arms.perturb import Target, generator_for, perturb
from pca_protect.eval.arms.registry import NOISE_VISIBLE, Arm
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.editors.sight import require_sight
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.results import Json, Results
from pca_protect.eval.saved_edits import CLEAN, OTHER_SEED, save_edit, save_original
from pca_protect.eval.trial import Edits, Trial


class Work:
    """The measurements of every picture: `clean`; `ARM BUDGET`; `ARM BUDGET CONTROL` for controls made from the arm's
    perturbation; `noise-visible LEVELS`, shared by arms of near visibility and named in the arm's entry `as_visible`;
    `unrelated`.

    The perturbation for `shuffled`, and the unrelated picture, are those of the picture before, or of the last one. A single
    picture has neither.

    Args:
        trial_of: picture -> its trial; they differ in prompts, mask and description.
        label: of the editor, in keys.
        arms: that the editor can have.
        pictures: of the benchmark, in order.
        folder: for the first edits of the pictures named in `kept`.
        all_edits: for the first edits of every picture and prompt, see `saved_edits`; None saves none.
    """

    def __init__(
        self,
        config: EditingConfig,
        trial_of: Callable[[Path], Trial],
        target: Target,
        results: Results,
        *,
        label: str,
        arms: Sequence[Arm],
        pictures: Sequence[Path],
        folder: Path,
        kept: Sequence[str],
        all_edits: Path | None = None,
    ) -> None:
        self._trial_of = trial_of
        self._trial: Trial  # of the picture that is measured
        self._label = label
        self._target = target
        self._results = results
        self._arms = arms
        self._decided = [arm for arm in arms if arm.name in config.decided_arms()]
        self._pictures = pictures
        self._folder = folder
        self._kept = kept
        self._all_edits = all_edits
        self._seed = config.seed
        self._budgets = config.budgets
        others = [pictures[-1], *pictures] if len(pictures) > 1 else []
        self._other = dict(zip(pictures, others, strict=False))
        self._protected: dict[tuple[Path, str, int], Rgb] = {}

    def has(self, picture: str) -> bool:
        """Whether the measurements of a picture are complete."""
        return all(self._key(picture, variant) in self._results for variant in self._variants(picture))

    def entries(self, pictures: Sequence[str]) -> dict[str, dict[str, Json]]:
        """Picture -> variant -> measurement, of pictures with complete measurements."""
        return {
            picture: {variant: self._results[self._key(picture, variant)] for variant in self._variants(picture)}
            for picture in pictures
        }

    def require_sight(self) -> None:
        """Check with the first incomplete picture that the editor sees it, see `sight.require_sight`."""
        missing = next((path for path in self._pictures if not self.has(path.name)), None)
        if missing is not None:
            self._trial = self._trial_of(missing)
            require_sight(self._trial.editor, self._trial.settings, self._picture(missing), self._trial.prompts[0].text)

    def measure(self, path: Path) -> None:
        """Add the missing measurements of one picture."""
        if self.has(path.name):
            return
        self._trial = self._trial_of(path)
        picture = self._picture(path)
        clean, measured = self._trial.clean(picture)
        self._keep(path, "original", picture)
        self._keep(path, CLEAN, self._first(clean))
        self._keep(path, OTHER_SEED, self._first(clean, 1))
        if self._all_edits:
            save_original(self._all_edits / path.name, picture)
        self._save_all(path, CLEAN, clean)
        self._save_all(path, OTHER_SEED, clean, number=1)
        self._add(path.name, CLEAN, measured)
        ladder = NoiseLadder(picture, visibility, generator_for(picture, self._seed + 1).initial_seed())
        for budget in self._budgets:
            for arm in self._arms:
                self._arm(path, picture, clean, arm, budget, ladder)
        for variant in self._missing(path.name):
            changed = self._control(path, picture, variant, ladder)
            self._add(path.name, variant, self._edited(path, picture, changed, clean, variant))
        self._protected = {key: made for key, made in self._protected.items() if key[0] == path}

    def _arm(self, path: Path, picture: Rgb, clean: Edits, arm: Arm, budget: int, ladder: NoiseLadder) -> None:
        variant = f"{arm.name} {budget}"
        if self._key(path.name, variant) in self._results:
            return
        started = time.perf_counter()
        changed = self._protect(path, picture, arm, budget)
        seconds = time.perf_counter() - started
        measured = self._edited(path, picture, changed, clean, variant)
        measured["seconds"] = seconds
        if arm.needs != "nothing":
            measured["as_visible"] = f"{NOISE_VISIBLE} {ladder.nearest(measured['visible'][VISIBILITY]):g}"
        self._add(path.name, variant, measured)

    def _edited(self, path: Path, picture: Rgb, changed: Rgb, clean: Edits, variant: str) -> Json:
        """The measurements on the edits of a changed picture."""
        edits, measured = self._trial.changed(picture, changed, clean)
        self._keep(path, variant, self._first(edits), changed)
        self._save_all(path, variant, edits)
        measured["sets"] = self._trial.sets(clean, edits)
        if variant != UNRELATED:
            measured["carried"] = self._trial.carried(picture, changed, clean, edits)
        return measured

    def _control(self, path: Path, picture: Rgb, variant: str, ladder: NoiseLadder) -> Rgb:
        """The picture changed by a control."""
        if variant == UNRELATED:
            return self._picture(self._other[path])
        if variant.startswith(NOISE_VISIBLE):
            return ladder.noisy(float(variant.rpartition(" ")[2]))
        name, budget, control = variant.split()
        (arm,) = (arm for arm in self._decided if arm.name == name)
        if control == NOISE_SPECTRUM:
            changed = self._protect(path, picture, arm, int(budget))
            return spectrum_noise(picture, changed, generator_for(picture, self._seed + 2))
        other = self._picture(self._other[path])
        return shuffled(picture, other, self._protect(self._other[path], other, arm, int(budget)))

    def _protect(self, path: Path, picture: Rgb, arm: Arm, budget: int) -> Rgb:
        """A picture after an arm. Keeps those of this picture and the one before."""
        key = path, arm.name, budget
        if key not in self._protected:
            self._protected[key] = perturb(arm, picture, self._target, budget_levels=budget, seed=self._seed)
        return self._protected[key]

    def _picture(self, path: Path) -> Rgb:
        return square_picture(path, self._trial.editor.size_px).rgb

    def _missing(self, picture: str) -> list[str]:
        return [variant for variant in self._variants(picture) if self._key(picture, variant) not in self._results]

    def _variants(self, picture: str) -> Iterator[str]:
        """Every variant; noise of equal visibility is known once its arm was measured."""
        yield CLEAN
        arms = [f"{arm.name} {budget}" for budget in self._budgets for arm in self._arms]
        yield from arms
        measured = [self._results[key] for variant in arms if (key := self._key(picture, variant)) in self._results]
        yield from dict.fromkeys(str(entry["as_visible"]) for entry in measured if "as_visible" in entry)
        controls = OWN_CONTROLS if self._other else tuple(name for name in OWN_CONTROLS if name != SHUFFLED)
        for budget in self._budgets:
            yield from (f"{arm.name} {budget} {control}" for arm in self._decided for control in controls)
        if self._other:
            yield UNRELATED

    def _key(self, picture: str, variant: str) -> str:
        return f"{self._label} | {picture} | {variant}"

    def _add(self, picture: str, variant: str, measured: Json) -> None:
        key = self._key(picture, variant)
        if key not in self._results:
            self._results.add({key: measured})

    def _save_all(self, path: Path, variant: str, edits: Edits, number: int = 0) -> None:
        """Save an edit with every prompt, of those that were not blocked."""
        if self._all_edits:
            for place, prompt in enumerate(self._trial.prompts, start=1):
                edit = edits.get(f"{prompt.name}/{number}")
                if edit is not None:
                    save_edit(self._all_edits / path.name, place, prompt.name, prompt.text, variant, edit)

    def _first(self, edits: Edits, number: int = 0) -> Rgb | None:
        """The edit with the first prompt; None if it was blocked."""
        return edits.get(f"{self._trial.prompts[0].name}/{number}")

    def _keep(self, path: Path, variant: str, edit: Rgb | None, changed: Rgb | None = None) -> None:
        """Save the first edit of a picture, and the picture that was given to the editor."""
        if path.name not in self._kept or edit is None:
            return
        target = self._folder / path.stem / f"{variant.replace(' ', '-')}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(edit).save(target)
        if changed is not None:
            Image.fromarray(changed).save(target.with_name(f"{target.stem}-protected.png"))
