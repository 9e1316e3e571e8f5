"""Tables of the edits that an editor's safety checker blacked out. It can react to a protection: its decisions are results."""

from __future__ import annotations

from collections.abc import Iterator

from pca_protect.eval.arms.registry import NOISE_VISIBLE
from pca_protect.eval.measured import Measured
from pca_protect.eval.results import Row
from pca_protect.eval.saved_edits import CLEAN


def blocked_rows(measured: Measured) -> list[Row]:
    """For every arm and control, the number `blocked` of its `edits`; `arm` is `clean` for those of the originals. Empty if no
    edit was blocked."""
    counts: dict[tuple[str, int | None, str], tuple[int, int]] = {}
    for picture, entries in measured.entries.items():
        prompts = len(measured.entries[picture][CLEAN]["pairs"])
        for variant, entry in entries.items():
            blocked, edits = counts.get(_named(variant), (0, 0))
            made = prompts * (max(2, measured.seeds) if variant == CLEAN else measured.seeds)
            counts[_named(variant)] = blocked + len(entry.get("blocked", ())), edits + made
    if not any(blocked for blocked, _ in counts.values()):
        return []
    return [
        {
            "editor": measured.editor,
            "arm": arm,
            "budget_levels": budget,
            "control": control,
            "blocked": blocked,
            "edits": edits,
            "share": blocked / edits,
        }
        for (arm, budget, control), (blocked, edits) in counts.items()
    ]


def unmeasured_rows(measured: Measured) -> list[Row]:
    """The prompts of pictures that were left out because all their clean edits were blocked."""
    return [
        {"editor": measured.editor, "picture": picture, "prompt": prompt}
        for picture, entries in measured.entries.items()
        for prompt in _without_clean_edits(entries[CLEAN], measured.seeds)
    ]


def _without_clean_edits(clean: dict[str, dict[str, object]], seeds: int) -> Iterator[str]:
    for prompt in clean["pairs"]:
        if not any(f"{prompt}/{number}" in clean["edits"] for number in range(seeds)):
            yield prompt


def _named(variant: str) -> tuple[str, int | None, str]:
    """Arm, budget and control of a variant, see `Work`."""
    arm, *rest = variant.split(" ")
    if arm == NOISE_VISIBLE:  # its level is not a budget
        return arm, None, ""
    return arm, int(rest[0]) if rest else None, " ".join(rest[1:])
