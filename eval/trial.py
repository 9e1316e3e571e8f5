"""One picture edited with every prompt and seed, and the measurements on these edits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pca_protect.errors import UsageError, quoted
from pca_protect.eval.carried import carried_through
from pca_protect.eval.editors.editor import Editor, Mask
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.known_edits import KNOWN_EDITS, edits_of
from pca_protect.eval.metrics.classical import rms_levels
from pca_protect.eval.metrics.embeddings import SOURCE_TEXT
from pca_protect.eval.metrics.load import Metrics
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.results import Json
from pca_protect.eval.styles import Style

_EDIT_OF_PROMPT = {edit.prompt: edit for edit in KNOWN_EDITS.values() if edit.prompt}

RMS = "rms"
"""Root mean square difference in levels: the Euclidean distance, for which an energy distance of sets is 0 only if they are equal
(Szekely & Rizzo 2013)."""

Edits = dict[str, Rgb]
"""`PROMPT/NUMBER` -> edit, where PROMPT is the short name."""


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


def prompts_for(editor: Editor, words: Sequence[str] | Mapping[str, str]) -> list[EditPrompt]:
    """Prompts from `instructions`. An edit has a known target with embedded editors that were trained on it.

    Raises:
        UsageError: a prompt is empty or repeated.
    """
    targets = {edit.prompt: edit for edit in edits_of(editor.name).values()}
    return [EditPrompt(name, text, targets.get(text)) for name, text in instructions(words).items()]


def instructions(words: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Short name -> instruction.

    Args:
        words: names of known edits, or free text, which is its own name; or such words by name.

    Raises:
        UsageError: a prompt is empty or repeated.
    """
    given = words if isinstance(words, Mapping) else dict.fromkeys(words, "")
    found: dict[str, str] = {}
    for name, text in given.items():
        word = text or name
        edit = KNOWN_EDITS.get(word) or _EDIT_OF_PROMPT.get(word)
        if not word.strip() or (edit and not edit.prompt):
            raise UsageError(f"prompt {word!r}: is not an instruction; give one, such as 'make it snow'")
        short = name if text else edit.name if edit else word
        found[short.replace("/", " ")] = edit.prompt if edit else word
    if len(set(found.values())) < len(words):
        raise UsageError(f"prompts {quoted(', '.join(words), 100)}: contain a duplicate; give each once")
    return found


def edit_seed(original: Rgb, prompt: str, number: int) -> int:
    """Seed of the noise of one edit. Edits of a picture and of its protected versions share it; no two pictures, prompts or
    numbers do, so that their edits are independent draws."""
    key = hashlib.sha256(np.ascontiguousarray(original).tobytes() + f"{prompt}\n{number}".encode()).digest()
    return int.from_bytes(key[:6], "big")


@dataclass(frozen=True)
class Trial:
    """Attributes:
    prompts: the instructions.
    seeds: edits per prompt, with the noise of `edit_seed`. All arms share it, so that edits are paired.
    batch: edits per call of the editor. Larger is faster, takes more memory and changes floating-point rounding.
    visible: further metrics for the visibility of the protection; None for none.
    mask: see `Editor.edit`.
    leaves_out_blocked: edits that the safety checker blacked out are left out; otherwise they raise a ModelError.
    description: of the original, for metrics of the direction of an edit; None for their own.
    """

    editor: Editor
    settings: EditSettings
    prompts: tuple[EditPrompt, ...]
    seeds: int
    metrics: Metrics
    batch: int
    visible: Metrics | None = None
    mask: Mask | None = None
    description: str | None = None
    leaves_out_blocked: bool = False

    def edits(self, picture: Rgb, original: Rgb) -> Edits:
        """Edits of a picture with every prompt and the noise of its original. Raises the errors of `Editor.edit`."""
        return self._edited(picture, original, [prompt.text for prompt in self.prompts], self.seeds)

    def clean(self, picture: Rgb) -> tuple[Edits, Json]:
        """Edits of the original and their measurements: `edits` by name, with distance to the original, distance to the known
        target with and without the prompt, match with the prompt, and image quality; `pairs`: distances between edits with
        the same prompt and other noise, with `RMS` among the metrics; `blocked`: names of the edits that the safety checker
        blacked out, which are left out everywhere else.

        There are at least two edits for each prompt: their distance is what other noise does.
        """
        count = max(2, self.seeds)
        edits = self._edited(picture, picture, [prompt.text for prompt in self.prompts], count)
        # The noise is that of the edit with the prompt.
        known = [prompt for prompt in self.prompts if prompt.target]
        without = self._edited(picture, picture, [prompt.text for prompt in known], count, instead="")
        wanted = {f"{prompt.name}/{number}" for prompt in known for number in range(count)}
        edits = {name: edit for name, edit in edits.items() if name in without or name not in wanted}
        measured = self._measured(picture, edits)
        for name, value in self._to_target(picture, without).items():
            if name in measured:
                measured[name]["to_target_without"] = value
        numbers = list(combinations(range(count), 2))
        both = {
            (prompt.name, f"{one}/{other}"): (edits[f"{prompt.name}/{one}"], edits[f"{prompt.name}/{other}"])
            for prompt in self.prompts
            for one, other in numbers
            if {f"{prompt.name}/{one}", f"{prompt.name}/{other}"} <= edits.keys()
        }
        pairs: dict[str, Json] = {prompt.name: {} for prompt in self.prompts}
        for ((prompt_name, pair), (one, other)), found in zip(
            both.items(), self.metrics.distances_of(list(both.values())), strict=True
        ):
            pairs[prompt_name][pair] = {RMS: rms_levels(one, other), **found}
        return edits, {"edits": measured, "pairs": pairs, "blocked": self._missing(edits, count)}

    def changed(self, picture: Rgb, changed: Rgb, clean: Edits) -> tuple[Edits, Json]:
        """Edits of a changed picture with their measurements: those of `clean`, the distances to the clean edits, and the
        visibility of the change. Edits whose clean edit is missing are left out."""
        found = self._edited(changed, picture, [prompt.text for prompt in self.prompts], self.seeds)
        blocked = self._missing(found, self.seeds)
        edits = {name: edit for name, edit in found.items() if name in clean}
        measured = self._measured(picture, edits)
        to_clean = self.metrics.distances_of([(clean[name], edit) for name, edit in edits.items()])
        for name, distances in zip(edits, to_clean, strict=True):
            measured[name]["to_clean"] = distances
        difference = changed.astype(np.int16) - picture.astype(np.int16)
        visible = {
            "max_change_levels": int(np.abs(difference).max()),
            "rms_levels": float(np.sqrt(np.square(difference.astype(np.float64)).mean())),
            **self.metrics.distances(picture, changed),
            **(self.visible.distances(picture, changed) if self.visible else {}),
        }
        return edits, {"visible": visible, "edits": measured, "blocked": blocked}

    def carried(self, picture: Rgb, changed: Rgb, clean: Edits, edits: Edits) -> Json:
        """The perturbation in every edit of a changed picture: its share, and the distances from the clean edit to the two
        pictures of `Carried`."""
        found = {name: carried_through(picture, changed, clean[name], edit) for name, edit in edits.items()}
        pasted = self.metrics.visibilities([(clean[name], one.pasted) for name, one in found.items()])
        without = self.metrics.visibilities([(clean[name], one.without) for name, one in found.items()])
        return {
            name: {"share": one.share, "pasted": with_it, "without": without_it}
            for (name, one), with_it, without_it in zip(found.items(), pasted, without, strict=True)
        }

    def sets(self, clean: Edits, edits: Edits) -> Json:
        """RMS differences by prompt, for an energy distance between sets of edits: `to_clean` between every edit and the
        clean edits with other noise, `within` between the edits."""
        sets: Json = {}
        for prompt in self.prompts:
            named, originals = (
                {number: some[name] for number in range(count) if (name := f"{prompt.name}/{number}") in some}
                for some, count in ((edits, self.seeds), (clean, max(2, self.seeds)))
            )
            sets[prompt.name] = {
                "to_clean": {
                    f"{one}/{other}": rms_levels(originals[other], named[one])
                    for one in named
                    for other in originals
                    if one != other
                },
                "within": {
                    f"{one}/{other}": rms_levels(named[one], named[other]) for one, other in combinations(named, 2)
                },
            }
        return sets

    def _measured(self, picture: Rgb, edits: Mapping[str, Rgb]) -> dict[str, Json]:
        texts = {prompt.name: prompt.text for prompt in self.prompts}
        to_original = self.metrics.distances_of([(picture, edit) for edit in edits.values()])
        measured: dict[str, Json] = {}
        for (name, edit), distances in zip(edits.items(), to_original, strict=True):
            text = texts[name.rpartition("/")[0]]
            measured[name] = {
                "to_original": distances,
                "prompt": {
                    key: measure(picture, edit, text, self.description or SOURCE_TEXT)
                    for key, measure in self.metrics.prompts.items()
                },
                "picture": {key: measure(edit) for key, measure in self.metrics.pictures.items()},
            }
        for name, value in self._to_target(picture, edits).items():
            measured[name]["to_target"] = value
        return measured

    def _to_target(self, picture: Rgb, edits: Mapping[str, Rgb]) -> dict[str, float]:
        """Name of every edit with a known target -> FLIP to it."""
        targets = {prompt.name: prompt.target.render(picture) for prompt in self.prompts if prompt.target}
        pairs = {
            name: (targets[prompt], edit)
            for name, edit in edits.items()
            if (prompt := name.rpartition("/")[0]) in targets
        }
        return dict(zip(pairs, self.metrics.visibilities(list(pairs.values())), strict=True))

    def _edited(
        self, picture: Rgb, original: Rgb, texts: Sequence[str], count: int, *, instead: str | None = None
    ) -> Edits:
        """Edits without those that the safety checker blacked out.

        Args:
            texts: of prompts of this trial.
            count: edits per prompt.
            instead: replaces the texts, with the same noise.
        """
        names = {prompt.text: prompt.name for prompt in self.prompts}
        jobs = [(text, number) for text in texts for number in range(count)]
        edits: Edits = {}
        for start in range(0, len(jobs), self.batch):
            part = jobs[start : start + self.batch]
            edit = self.editor.edit_or_block if self.leaves_out_blocked else self.editor.edit
            made = edit(
                [picture] * len(part),
                [text if instead is None else instead for text, _ in part],
                self.settings,
                seeds=[edit_seed(original, text, number) for text, number in part],
                mask=self.mask,
            )
            edits |= {
                f"{names[text]}/{number}": one
                for (text, number), one in zip(part, made, strict=True)
                if one is not None
            }
        return edits

    def _missing(self, edits: Edits, count: int) -> list[str]:
        """Names of edits that are not there, of this number of edits per prompt."""
        names = [f"{prompt.name}/{number}" for prompt in self.prompts for number in range(count)]
        return [name for name in names if name not in edits]
