"""From the log of a benchmark of edits to one value per picture, for every arm, control and question.

Larger values mean more protection. "Edit" is the edit of the protected picture, "clean edit" that of the original, with the same
noise:
    2               distance(edit, clean edit)                                    the aim of `concentration`
    2-without       the same after the perturbation itself was subtracted from the edit, see `carried`
    pasted          distance(clean edit + perturbation, clean edit)
    sets            energy distance between the set of edits and that of clean edits: 0 if only the noise differs
    1               distance(clean edit, original) - distance(edit, original)     the aim of `diffusion`
    adherence       loss of match with the prompt, relative to the clean edit
    success         1 if the edit is further from the target than the clean picture's edit without a prompt is, else 0
    quality         loss of image quality, relative to the clean edit
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pca_protect.eval.arms.controls import CONTROL, NOISE_SPECTRUM, SEED, SHUFFLED, UNRELATED
from pca_protect.eval.arms.registry import CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.metrics.registry import METRICS, VISIBILITY
from pca_protect.eval.results import Json
from pca_protect.eval.trial import RMS, EditPrompt

Values = dict[str, float]
"""Picture -> mean over its kept edits."""

SETS, WITHOUT, PASTED, SUCCESS = "sets", "2-without", "pasted", "success"


def kept_edits(clean: Json, prompts: Sequence[EditPrompt], seeds: int) -> list[str]:
    """The edits `PROMPT/NUMBER` at which the editor follows the prompt: the clean edit is closer to the target than an edit
    without a prompt. Edits without a known target are all kept.

    Args:
        clean: the measurements of `Trial.clean`.
        prompts: restrict to these.
        seeds: restrict to the first numbers; clean edits may have one more.
    """
    asked = {prompt.name for prompt in prompts}
    kept = []
    for name, edit in clean["edits"].items():
        prompt_name, _, number = name.rpartition("/")
        if prompt_name in asked and int(number) < seeds and ("to_target" not in edit or _succeeds(edit, edit)):
            kept.append(name)
    return kept


@dataclass(frozen=True)
class Measured:
    """The measurements with one editor.

    Attributes:
        pictures: those with complete measurements.
        entries: picture -> variant -> measurement, see `variant_of` and `Trial`.
        arms: measured with this editor, in the order of the table.
        seeds: edits per prompt.
        timed: the log's seconds are of one machine.
    """

    editor: str
    prompts: tuple[EditPrompt, ...]
    pictures: list[str]
    entries: Mapping[str, Mapping[str, Json]]
    arms: tuple[str, ...]
    seeds: int
    timed: bool = True

    def kept(self, prompts: Sequence[EditPrompt] | None = None) -> dict[str, list[str]]:
        """Picture -> the edits that count, see `kept_edits`; without pictures that have none."""
        asked = self.prompts if prompts is None else prompts
        found = {picture: kept_edits(self.entries[picture]["clean"], asked, self.seeds) for picture in self.pictures}
        return {picture: edits for picture, edits in found.items() if edits}

    def kept_share(self, prompts: Sequence[EditPrompt] | None = None) -> float:
        """Share of the pictures' edits that count."""
        asked = self.prompts if prompts is None else prompts
        names = {prompt.name for prompt in asked}
        made = (
            sum(len(names & self.entries[picture]["clean"]["pairs"].keys()) for picture in self.pictures) * self.seeds
        )
        return sum(map(len, self.kept(asked).values())) / made if made else 0.0

    def is_of_one_picture(self, prompt: EditPrompt) -> bool:
        """Whether no other picture has this prompt."""
        return sum(prompt.name in self.entries[picture]["clean"]["pairs"] for picture in self.pictures) == 1

    def has(self, control: str, arm: str, budget: int) -> bool:
        """Whether every picture has this control of an arm."""
        return control == SEED or all(
            variant_of(control, arm, budget, self.entries[picture]) in self.entries[picture]
            for picture in self.pictures
        )

    def questions(self) -> list[tuple[str, str]]:
        """All measured pairs (objective, metric). A metric may have no value for some pictures."""
        edits = [edit for picture in self.pictures for edit in self.entries[picture]["clean"]["edits"].values()]
        if not edits:
            return []
        edit = edits[0]
        to_original = dict.fromkeys(metric for one in edits for metric in one["to_original"])
        target = [VISIBILITY] if any("to_target" in edit for edit in edits) else []
        return [
            *(("2", metric) for metric in to_original),
            (WITHOUT, VISIBILITY),
            (PASTED, VISIBILITY),
            *([(SETS, RMS)] if self.seeds > 1 else []),
            *(("1", metric) for metric in to_original),
            *(("adherence", metric) for metric in [*target, *edit["prompt"]]),
            *((SUCCESS, metric) for metric in target),
            *(("quality", metric) for metric in edit["picture"]),
        ]

    def values(
        self, kept: Mapping[str, Sequence[str]], arm: str, budget: int, objective: str, metric: str, control: str = ""
    ) -> Values:
        """A value per picture of `kept`, of an arm or of one of its controls. Leaves out pictures without a value, and edits that
        the safety checker blacked out with the arm or with one of its controls, so that both are means over the same edits."""
        found: Values = {}
        for picture, kept_of_picture in kept.items():
            entries = self.entries[picture]
            blocked = self._blocked(entries, arm, budget)
            edits = [edit for edit in kept_of_picture if edit not in blocked]
            if control == SEED:
                value = _mean(_of_other_seeds(entries["clean"], edit, objective, metric) for edit in edits)
            else:
                changed = entries[variant_of(control, arm, budget, entries)]
                edits = [edit for edit in edits if edit in changed["edits"]]  # another machine may block others
                if objective == SETS:
                    value = _energy(entries["clean"], changed, edits)
                else:
                    value = _mean(_value(entries["clean"], changed, edit, objective, metric) for edit in edits)
            if value is not None:
                found[picture] = value
        return found

    def _blocked(self, entries: Mapping[str, Json], arm: str, budget: int) -> set[str]:
        """The edits that were blacked out with an arm or one of its controls."""
        own = f"{arm} {budget}"
        with_controls = arm not in CONTROLS and "as_visible" in entries.get(own, {})
        variants = {
            own if arm != UNRELATED else UNRELATED,
            *(variant_of(control, arm, budget, entries) for control in CONTROL if with_controls and control != SEED),
        }
        return {edit for variant in variants & entries.keys() for edit in entries[variant].get("blocked", ())}

    def visibility(self, pictures: Iterable[str], arm: str, budget: int, control: str = "") -> float:
        """Mean visibility of an arm's change, or of one of its controls."""
        return statistics.fmean(
            float(entries[variant_of(control, arm, budget, entries)]["visible"][VISIBILITY])
            for entries in (self.entries[picture] for picture in pictures)
        )


def in_both(one: Values, other: Values) -> tuple[Values, Values]:
    """The values of the pictures that have both, in one order."""
    pictures = [picture for picture in one if picture in other]
    return {picture: one[picture] for picture in pictures}, {picture: other[picture] for picture in pictures}


def variant_of(control: str, arm: str, budget: int, entries: Mapping[str, Json]) -> str:
    """Key of the measurement of an arm, or of one of its controls.

    Args:
        control: empty for the arm itself.
        entries: of the picture; the arm's entry names the noise that is as visible.
    """
    if control == NOISE_VISIBLE:
        return str(entries[f"{arm} {budget}"]["as_visible"])
    if control in (NOISE_SPECTRUM, SHUFFLED):
        return f"{arm} {budget} {control}"
    if arm == UNRELATED:
        return UNRELATED
    return f"{control if control == NOISE_LINF else arm} {budget}"


def seed_line(clean: Json, edits: Sequence[str]) -> float:
    """Mean distance, in the metric of visibility, between these clean edits and those with the same prompt and other noise."""
    return statistics.fmean(
        value for edit in edits if (value := _of_other_seeds(clean, edit, "2", VISIBILITY)) is not None
    )


def _value(clean: Json, changed: Json, edit: str, objective: str, metric: str) -> float | None:
    """None where the edit has no such measurement."""
    if objective in (WITHOUT, PASTED):
        carried = changed.get("carried", {}).get(edit)
        return None if carried is None else float(carried["without" if objective == WITHOUT else "pasted"])
    before, after = clean["edits"][edit], changed["edits"][edit]
    if objective == "2":
        distance = after["to_clean"].get(metric)
        return None if distance is None else float(distance)
    return _between(before, after, objective, metric)


def _between(before: Json, after: Json, objective: str, metric: str) -> float | None:
    """How much more protection one edit has than another."""
    if objective == "1":
        if metric not in before["to_original"]:
            return None
        return float(before["to_original"][metric] - after["to_original"][metric])
    if objective == SUCCESS or (objective == "adherence" and metric not in before["prompt"]):
        if "to_target" not in before:
            return None
        if objective == SUCCESS:
            return float(_succeeds(before, before)) - float(_succeeds(before, after))
        return float(after["to_target"] - before["to_target"])
    where = "prompt" if objective == "adherence" else "picture"
    worse = float(after[where][metric] - before[where][metric])
    return worse if METRICS[metric].better == "lower" else -worse


def _of_other_seeds(clean: Json, edit: str, objective: str, metric: str) -> float | None:
    """The same question between a clean edit and those with other noise: what another seed does. Losses count in both directions,
    since neither edit comes first. The sets have no such value: it would be 0 on average."""
    prompt, _, number = edit.rpartition("/")
    if objective == SETS:
        return 0.0
    if objective in (WITHOUT, "2"):
        return _mean(
            distances.get(metric) for pair, distances in clean["pairs"][prompt].items() if number in pair.split("/")
        )
    if objective == PASTED:
        return None
    others = [name for name in clean["edits"] if name.rpartition("/")[0] == prompt and name != edit]
    differences = [_between(clean["edits"][edit], clean["edits"][name], objective, metric) for name in others]
    return _mean(None if value is None else abs(value) for value in differences)


def _energy(clean: Json, changed: Json, edits: Sequence[str]) -> float | None:
    """Energy distance 2 E d(X, Y) - E d(X, X') - E d(Y, Y') between clean edits X and edits Y with independent noise, mean
    over the prompts with at least two edits that count, in RMS levels. An unbiased estimate; may be negative."""
    energies = []
    for prompt in dict.fromkeys(edit.rpartition("/")[0] for edit in edits):
        numbers = {edit.rpartition("/")[2] for edit in edits if edit.rpartition("/")[0] == prompt}
        if len(numbers) < 2:
            continue
        sets = changed["sets"][prompt]
        between, within, within_clean = (
            statistics.fmean(value for pair, value in pairs.items() if set(pair.split("/")) <= numbers)
            for pairs in (
                sets["to_clean"],
                sets["within"],
                {pair: float(distances[RMS]) for pair, distances in clean["pairs"][prompt].items()},
            )
        )
        energies.append(2 * between - within - within_clean)
    return statistics.fmean(energies) if energies else None


def _succeeds(clean: Json, edit: Json) -> bool:
    return bool(edit["to_target"] < clean["to_target_without"])


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.fmean(found) if found else None
