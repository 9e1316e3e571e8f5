"""Write docs/results.md, its figures and the measurements behind it from finished benchmarks. One command:

    python tools/write_results.py results/editing-* results/transfer results/purify budgets=results/budgets

Copies each folder's `summary.json` to docs/measurements, and reads all other benchmarks from there. Every figure and verdict is
computed from those files. A name replaces that of the benchmark; runs of `bench editing` are named after their editor.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from pca_protect.eval.arms.controls import CONTROL
from pca_protect.eval.arms.registry import CONTROLS
from pca_protect.eval.claims import claims_about_edits, further_claims
from pca_protect.eval.comparisons import rank_rows
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.report import drawing, figures
from pca_protect.eval.report.section import cell, difference, interval, percent, share
from pca_protect.eval.report.strips import strips_in
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.stats import LEAST_PICTURES

ROOT = Path(__file__).resolve().parent.parent
EDITORS = ("pocket-instruct", "pocket-editor", "pocket-editor-16")
"""Editors with a run of `bench editing`, called `editing-EDITOR`; the first one's edits are shown."""
NEEDED = {
    **{f"editing-{editor}": "outcomes" for editor in EDITORS},
    "cost": "needs",
    "cost512": "needs",
}
"""Measurement -> a table or column that it has if it was made with today's controls."""
FURTHER = {"budgets": "outcomes", "latents": "two_directions", "transfer": "seed_line", "purify": "seed_line"}
"""The same for measurements without which their sections are left out."""
SHEET_PICTURES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", help="folders of finished benchmarks, or NAME=FOLDER")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    for given in arguments.folders:
        name, _, folder = given.rpartition("=")
        take(Path(folder), arguments.docs, name)
    write(arguments.docs)


def take(folder: Path, docs: Path, name: str = "") -> None:
    """Copy a benchmark's summary under a name and draw its strips."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if not name:
        name = summary["command"].split()[2]
        if name == "editing":
            (editor,) = summary["config"]["editors"]
            name = f"editing-{editor}"
    (docs / "measurements").mkdir(exist_ok=True)
    shutil.copyfile(folder / "summary.json", docs / "measurements" / f"{name}-{_device(summary)}.json")
    strips = strips_in(folder / "pictures")[:SHEET_PICTURES]
    if strips and name == f"editing-{EDITORS[0]}":
        _sheet(strips, docs / "figures" / "editing.png")


def write(docs: Path) -> None:
    """Write the document and its figures from docs/measurements."""
    text = document(docs)
    for name, figure in _figures(docs).items():
        (docs / "figures").mkdir(exist_ok=True)
        (docs / "figures" / f"{name}.png").write_bytes(drawing.png(figure))
    (docs / "results.md").write_text(text, encoding="utf-8")


def document(docs: Path) -> str:
    """The text of results.md, from the measurements in `docs`."""
    if stale := former(docs):
        raise SystemExit(f"{', '.join(stale)}: missing or measured with former controls; run these benchmarks again")
    of = _all(docs)
    runs = {editor: of[f"editing-{editor}"] for editor in EDITORS}
    claims = {editor: claims_about_edits(run["tables"]) for editor, run in runs.items()}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"difference": difference, "cell": cell}
    environment.globals |= {"interval": interval, "percent": percent, "share": share}
    return environment.get_template("results.md.jinja").render(
        of=of,
        runs=runs,
        claims=claims,
        further=further_claims(
            {
                "cost": [*of["cost"]["tables"]["cost"], *of["cost512"]["tables"]["cost"]],
                "transfer": of["transfer"]["tables"]["transfer"] if "transfer" in of else [],
            }
        ),
        beside=_beside(runs[EDITORS[0]]["tables"]["editing"]),
        controls=CONTROL,
        noise=CONTROLS,
        ranks=rank_rows([row for run in runs.values() for row in run["tables"]["editing"]]),
        least=LEAST_PICTURES,
    )


def _beside(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str | None], dict[str, Any]]:
    """(arm, objective, control) -> row, in the metric of visibility."""
    return {
        (row["arm"], row["objective"], row["control"]): row
        for row in rows
        if row["metric"] == VISIBILITY and row["budget_levels"] == rows[0]["budget_levels"]
    }


def former(docs: Path, asked: Mapping[str, str] = NEEDED) -> list[str]:
    """Measurements that are missing, or were made before today's controls."""
    found = []
    for name, word in asked.items():
        summary = _found(docs / "measurements", name)
        tables: Mapping[str, Any] = summary["tables"] if summary else {}
        if word not in tables and not any(word in row for rows in tables.values() for row in rows):
            found.append(name)
    return found


def _all(docs: Path) -> dict[str, dict[str, Any]]:
    """The measurements of the document by name, without those of `FURTHER` that are missing."""
    further = [name for name in FURTHER if name not in former(docs, FURTHER)]
    return {name: _read(docs / "measurements", name) for name in (*NEEDED, *further)}


def _figures(docs: Path) -> dict[str, Any]:
    """File name -> matplotlib figure."""
    of = {name: summary["tables"] for name, summary in _all(docs).items()}
    shown = of[f"editing-{EDITORS[0]}"]
    found = {
        "objective-2": figures.forest(shown["editing"], "2"),
        "visibility": figures.effect_by_visibility(shown["editing"], "2"),
        "prompts": figures.prompt_dots(shown["prompts"]),
    }
    if "transfer" in of:
        found["transfer-edits"] = figures.heat_map(of["transfer"]["transfer"], "2")
    if "purify" in of:
        found["purify"] = figures.purifier_bars(of["purify"]["purify"])
    return found


def _device(summary: dict[str, Any]) -> str:
    return str(summary["environment"]["device"]).lower().replace(" ", "-")


def _found(folder: Path, name: str) -> dict[str, Any] | None:
    """The measurements of a benchmark, those on a GPU first."""
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"{name}-*.json"))}
    fitting = [summary for stem, summary in read.items() if stem == f"{name}-{_device(summary)}"]
    return min(fitting, key=lambda summary: _device(summary) == "cpu", default=None)


def _read(folder: Path, name: str) -> dict[str, Any]:
    summary = _found(folder, name)
    assert summary is not None, name
    return summary


def _sheet(strips: list[Any], path: Path) -> None:
    blocks = {
        f"{strip.picture}: given to {strip.editor} (above), and its edit (below)": [
            {cell.caption: np.asarray(Image.open(part).convert("RGB").resize((192, 192))) for cell, part in row}
            for row in ([(cell, cell.given) for cell in strip.cells], [(cell, cell.edit) for cell in strip.cells])
        ]
        for strip in strips
    }
    path.parent.mkdir(exist_ok=True)
    contact_sheet(blocks).quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main()
