"""The table `transfer`: what protection against one encoder does to another, beside noise of the same budget."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from pca_protect.eval.arms.registry import NOISE_LINF
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.results import Json
from pca_protect.eval.statistics import comparison
from pca_protect.eval.transfer.config import TransferConfig
from pca_protect.eval.trial import EditPrompt, kept_edits

Row = dict[str, object]

NOISE, EDITS = NOISE_LINF, "edits"

_SHIFTS = {"diffusion": ("latent",), "concentration": ("latent", "norm-lost"), "subtle": ("latent",)}
"""What is asked of a posterior: `latent`: ||m' - m|| / ||m||; `norm-lost`: 1 - ||m'|| / ||m||, the collapse itself."""


@dataclass(frozen=True)
class Source:
    """Encoders that one protection is made against."""

    name: str
    members: tuple[str, ...]

    def variant(self, mode: str) -> str:
        """Name of the measurement."""
        return f"{self.name}, {mode}"


@dataclass(frozen=True)
class Matrix:
    """Everything measured.

    Attributes:
        targets: name of each distinct encoder -> digest of its weights.
        shared: name of each distinct encoder -> all names that were given for it.
        editors: editor -> the target whose encoder it shares.
        entries: picture -> variant -> measurement.
    """

    sources: list[Source]
    targets: dict[str, str]
    shared: dict[str, list[str]]
    editors: dict[str, str]
    prompts: dict[str, tuple[EditPrompt, ...]]
    entries: Mapping[str, Mapping[str, Json]]


COLUMNS = (
    *("surrogate", "target", "mode", "same_encoder", "budget_levels", "objective", "editor", "metric"),
    *(
        "effect",
        "control",
        "noise_effect",
        "ratio",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "win_rate",
        "n",
        "kept",
        "names",
    ),
)
"""`same_encoder`: the target is among the encoders that were protected against (white-box). `objective` is `posterior`, or 2:
how far an edit is from the clean edit. `names`: all names that were given for the target's weights."""


def transfer_rows(matrix: Matrix, config: TransferConfig) -> list[Row]:
    rows: list[Row] = []
    for source in matrix.sources:
        for mode in config.modes:
            for target in matrix.targets:
                common = {
                    "surrogate": source.name,
                    "target": target,
                    "mode": mode,
                    "same_encoder": target in source.members,
                    "budget_levels": config.budget_levels,
                    "names": ", ".join(matrix.shared[target]),
                }
                for metric in _SHIFTS[mode]:
                    effects, noise = (
                        {
                            picture: float(entry[variant]["shift"][target][metric])
                            for picture, entry in matrix.entries.items()
                        }
                        for variant in (source.variant(mode), NOISE)
                    )
                    rows.append(common | _row("posterior", metric, effects, noise))
                for editor, vae in matrix.editors.items():
                    if vae == target:
                        rows.append(common | _edit_row(matrix, editor, source.variant(mode)))
    return [{column: row.get(column) for column in COLUMNS} for row in rows]


def _edit_row(matrix: Matrix, editor: str, variant: str) -> Row:
    prompts = matrix.prompts[editor]
    kept = {picture: kept_edits(entry["clean"][EDITS][editor], prompts) for picture, entry in matrix.entries.items()}
    in_all = sum(len(entry["clean"][EDITS][editor]["edits"]) for entry in matrix.entries.values())
    effects, noise = (
        {
            picture: statistics.fmean(
                float(entry[name][EDITS][editor]["edits"][edit]["to_clean"][VISIBILITY]) for edit in kept[picture]
            )
            for picture, entry in matrix.entries.items()
            if kept[picture]
        }
        for name in (variant, NOISE)
    )
    share = sum(map(len, kept.values())) / in_all if in_all else None
    return {**_row("2", VISIBILITY, effects, noise), "editor": editor, "kept": share}


def _row(objective: str, metric: str, effects: Mapping[str, float], noise: Mapping[str, float]) -> Row:
    return {"objective": objective, "metric": metric, "control": NOISE, **comparison(effects, noise)}
