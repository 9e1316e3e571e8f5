"""One picture edited with every prompt and seed, and the measurements on these edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pca_protect.errors import UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.known_edits import KNOWN_EDITS, edits_of
from pca_protect.eval.metrics.load import Metrics, visibility
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.results import Json
from pca_protect.eval.styles import Style

_EDIT_OF_PROMPT = {edit.prompt: edit for edit in KNOWN_EDITS.values() if edit.prompt}

Edits = dict[str, Rgb]
"""`PROMPT/SEED` -> edit, where PROMPT is the short name."""


@dataclass(frozen=True)
class EditPrompt:
    """Attributes:
    name: short, without a slash.
    text: the editor's instruction.
    target: the style whose rendering is the ideal edit; None if unknown.
    """

    name: str
    text: str
    target: Style | None


def prompts_for(editor: Editor, words: Sequence[str]) -> list[EditPrompt]:
    """Prompts from names of known edits or free text. An edit has a known target with embedded editors that were trained on it.

    Raises:
        UsageError: a prompt is empty or repeated.
    """
    found = []
    for word in words:
        edit = KNOWN_EDITS.get(word) or _EDIT_OF_PROMPT.get(word)
        if not word or (edit and not edit.prompt):
            raise UsageError(f"prompt {word!r}: says nothing to an editor; give an instruction")
        if edit:
            found.append(EditPrompt(edit.name, edit.prompt, edits_of(editor.name).get(edit.name)))
        else:
            found.append(EditPrompt(word.replace("/", " "), word, None))
    if len({prompt.name for prompt in found}) < len(found):
        raise UsageError(f"prompts {', '.join(words)}: contain a duplicate; give each once")
    return found


def kept_edits(clean: Json, prompts: Sequence[EditPrompt]) -> list[str]:
    """The edits `PROMPT/SEED` at which the editor follows the prompt: the clean edit is closer to the target than an edit without
    a prompt. Edits without a known target are all kept.

    Args:
        clean: the measurements of `Trial.clean`.
        prompts: restrict to these.
    """
    by_name = {prompt.name: prompt for prompt in prompts}
    kept = []
    for name, edit in clean["edits"].items():
        prompt = by_name.get(name.rpartition("/")[0])
        if prompt and (prompt.target is None or edit["to_target"] < edit["to_target_without"]):
            kept.append(name)
    return kept


@dataclass(frozen=True)
class Trial:
    """Attributes:
    prompts: the instructions.
    seeds: one edit for each; shared by all arms, so that edits are paired.
    batch: edits per call of the editor. Larger is faster, takes more memory and changes floating-point rounding.
    visible: further metrics for the visibility of the protection; None for none.
    """

    editor: Editor
    settings: EditSettings
    prompts: tuple[EditPrompt, ...]
    seeds: tuple[int, ...]
    metrics: Metrics
    batch: int
    visible: Metrics | None = None

    def edits(self, picture: Rgb) -> Edits:
        """Edits with every prompt and seed. Raises the errors of `Editor.edit`."""
        return self._edited(picture, self.prompts)

    def clean(self, picture: Rgb) -> tuple[Edits, Json]:
        """Edits of the original with their measurements: distance to the original, distance to the known target with and without
        the prompt, match with the prompt, and image quality."""
        edits = self.edits(picture)
        without = self._edited(picture, (EditPrompt("", "", None),)) if any(p.target for p in self.prompts) else {}
        measured = self._measured(picture, edits, {})
        for prompt in self.prompts:
            for seed in self.seeds:
                if prompt.target:
                    wanted = prompt.target.render(picture)
                    measured[f"{prompt.name}/{seed}"]["to_target_without"] = visibility(wanted, without[f"/{seed}"])
        return edits, {"edits": measured}

    def changed(self, picture: Rgb, changed: Rgb, clean: Edits) -> tuple[Edits, Json]:
        """Edits of a changed picture with their measurements: those of `clean`, the distances to the clean edits, and the
        visibility of the change."""
        edits = self.edits(changed)
        difference = changed.astype(np.int16) - picture.astype(np.int16)
        visible = {
            "max_change_levels": int(np.abs(difference).max()),
            "rms_levels": float(np.sqrt(np.square(difference.astype(np.float64)).mean())),
            **self.metrics.distances(picture, changed),
            **(self.visible.distances(picture, changed) if self.visible else {}),
        }
        return edits, {"visible": visible, "edits": self._measured(picture, edits, clean)}

    def _measured(self, picture: Rgb, edits: Edits, clean: Edits) -> dict[str, Json]:
        measured: dict[str, Json] = {}
        for prompt in self.prompts:
            wanted = prompt.target.render(picture) if prompt.target else None
            for seed in self.seeds:
                name = f"{prompt.name}/{seed}"
                edit = edits[name]
                found: Json = {"to_original": self.metrics.distances(picture, edit)}
                if clean:
                    found["to_clean"] = self.metrics.distances(clean[name], edit)
                if wanted is not None:
                    found["to_target"] = visibility(wanted, edit)
                found["prompt"] = {key: measure(edit, prompt.text) for key, measure in self.metrics.prompts.items()}
                found["picture"] = {key: measure(edit) for key, measure in self.metrics.pictures.items()}
                measured[name] = found
        return measured

    def _edited(self, picture: Rgb, prompts: Sequence[EditPrompt]) -> Edits:
        jobs = [(prompt, seed) for prompt in prompts for seed in self.seeds]
        edits: Edits = {}
        for start in range(0, len(jobs), self.batch):
            part = jobs[start : start + self.batch]
            made = self.editor.edit(
                [picture] * len(part),
                [prompt.text for prompt, _ in part],
                self.settings,
                seeds=[seed for _, seed in part],
            )
            edits |= {f"{prompt.name}/{seed}": edit for (prompt, seed), edit in zip(part, made, strict=True)}
        return edits
