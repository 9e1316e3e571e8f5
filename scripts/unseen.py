"""What an ensemble does to the encoder that it leaves out, beside the best of its members alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def unseen_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For every mode, target and question, the ensemble of all others beside the single surrogate that does most.

    `ratio` is of effects, `ratio_above_noise` of what exceeds noise of the same budget; None where no single one exceeds it.
    """
    found = []
    for row in rows:
        left_out = row["surrogate"].removeprefix("all but ")
        if left_out == row["surrogate"] or left_out != row["target"]:
            continue
        same = [
            other
            for other in rows
            if all(other[key] == row[key] for key in ("target", "objective", "metric", "editor", "mode"))
            and not other["surrogate"].startswith("all but ")
            and not other["same_encoder"]
        ]
        best = max(same, key=lambda other: other["effect"])
        beyond, bests = (one["effect"] - one["noise_effect"] for one in (row, best))
        found.append(
            {
                **{
                    key: row[key]
                    for key in ("target", "mode", "objective", "metric", "editor", "effect", "noise_effect", "n")
                },
                "best": best["surrogate"],
                "best_effect": best["effect"],
                "ratio": row["effect"] / best["effect"],
                "ratio_above_noise": beyond / bests if bests > 0 else None,
            }
        )
    return found
