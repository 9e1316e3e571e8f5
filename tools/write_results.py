"""Write docs/results.md, its figures and the measurements behind it from finished benchmarks. One command:

    python tools/write_results.py results/editing results/transfer results/purify results/prompts results/cost

Copies each folder's `summary.json` to docs/measurements, and reads all other benchmarks from there. Every figure and verdict is
computed from those files. Give a name to a run with another purpose than the default of its benchmark:

    python tools/write_results.py frontier=results/frontier survival=results/survival ensembles=results/ensembles
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from pca_protect.eval.arms.registry import ARMS, CONTROLS
from pca_protect.eval.claims import claims_about, unseen_rows
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.report import drawing, figures
from pca_protect.eval.report.section import cell, difference, percent
from pca_protect.eval.report.strips import strips_in
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.stats import LEAST_PICTURES

ROOT = Path(__file__).resolve().parent.parent
TABLES = ("editing", "transfer", "purify", "prompts", "cost")
BEYOND = ("frontier", "concentration", "flat", "survival", "upload", "ensembles", "steps", "ingredients")
"""Measurements beyond the paper on held-out pictures, see docs/research.md."""
BENCHES = ("upload", "steps", "flat", "ingredients")
"""Those of `BEYOND` that are the main table of a benchmark and need no name."""
OBJECTIVES = (
    *("photoguard", "latent-distance", "pid", "mist", "advdm", "sds-plus", "pca-diffusion", "pca-concentration"),
    *("balanced-diffusion", "balanced-subtle"),
)
"""Arms of the frontier at 40 steps with different objectives; the last two also have another optimiser."""
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
    """Copy a benchmark's summary under a name (default: its main table's) and draw its strips."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if not name:
        (name,) = [table for table in summary["tables"] if table in (*TABLES, *BENCHES)]
    (docs / "measurements").mkdir(exist_ok=True)
    shutil.copyfile(folder / "summary.json", docs / "measurements" / f"{name}-{_device(summary)}.json")
    if (folder / "flat.png").is_file():
        (docs / "figures").mkdir(exist_ok=True)
        shutil.copyfile(folder / "flat.png", docs / "figures" / "flat.png")
    strips = strips_in(folder / "pictures")[:SHEET_PICTURES]
    if strips and name in TABLES:
        _sheet(strips, docs / "figures" / f"{name}.png")


def write(docs: Path) -> None:
    """Write the document and its figures from docs/measurements."""
    for name, figure in _figures(docs).items():
        (docs / "figures").mkdir(exist_ok=True)
        (docs / "figures" / f"{name}.png").write_bytes(drawing.png(figure))
    (docs / "results.md").write_text(document(docs), encoding="utf-8")


def document(docs: Path) -> str:
    """The text of results.md, from the measurements in `docs`."""
    summaries = {name: _read(docs / "measurements", name) for name in TABLES}
    beyond = {name: _read(docs / "measurements", name) for name in BEYOND}
    stale = former(docs)
    if stale:
        raise SystemExit(f"{', '.join(stale)}: measured with former controls; run these benchmarks again")
    tables = {name: rows for summary in summaries.values() for name, rows in summary["tables"].items()}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["difference"] = difference
    environment.filters["cell"] = cell
    environment.filters["above_noise"] = lambda row: percent(
        row["retained_above_noise"], row["above_ci_low"], row["above_ci_high"]
    )
    return environment.get_template("results.md.jinja").render(
        summaries=summaries,
        beyond=beyond,
        unseen=unseen_rows(beyond["ensembles"]["tables"]["transfer"]),
        tables=tables,
        claims=claims_about(tables),
        rows=defaultdict(
            lambda: None,
            {
                (row["arm"], row["objective"], row["control"]): row
                for row in tables["editing"]
                if row["metric"] == VISIBILITY
            },
        ),
        washed_arms=[arm for arm in summaries["purify"]["config"]["arms"] if arm not in CONTROLS],
        least=LEAST_PICTURES,
        at={f"{row['arm']}/{row['metric']}": row for row in beyond["frontier"]["tables"]["frontier"]},
        objectives=[(name, ARMS[name].what) for name in OBJECTIVES],
        large=_read(docs / "measurements", "cost512"),
    )


def former(docs: Path) -> list[str]:
    """Measurements of edits without the line of other seeds: made before these tables had it."""
    needed = {"editing": "outcomes", "transfer": "seed_line", "purify": "seed_line", "prompts": "p_holm"}
    needed |= {"frontier": "seed_line", "survival": "seed_line", "ensembles": "seed_line", "concentration": "seed_line"}
    found = []
    for name, word in needed.items():
        tables = _read(docs / "measurements", name)["tables"]
        if word not in tables and not any(word in row for rows in tables.values() for row in rows):
            found.append(name)
    return found


def _figures(docs: Path) -> dict[str, Any]:
    """File name -> matplotlib figure."""
    tables = {name: rows for kind in TABLES for name, rows in _read(docs / "measurements", kind)["tables"].items()}
    frontier = _read(docs / "measurements", "frontier")["tables"]["frontier"]
    ensembles = _read(docs / "measurements", "ensembles")["tables"]["transfer"]
    survival = _read(docs / "measurements", "survival")["tables"]["purify"]
    return {
        "objective-2": figures.forest(tables["editing"], "2"),
        "objective-1": figures.forest(tables["editing"], "1"),
        "visibility": figures.effect_by_visibility(tables["editing"], "2"),
        "transfer-posterior": figures.heat_map(tables["transfer"], "posterior"),
        "transfer-edits": figures.heat_map(tables["transfer"], "2"),
        "purify": figures.purifier_bars(tables["purify"]),
        "prompts": figures.prompt_dots(tables["prompts"]),
        **{
            f"frontier-{metric}": figures.frontier(frontier, "visibility", metric)
            for metric in ("flip", "haarpsi", "ssimulacra2")
        },
        "frontier-seconds": figures.frontier(frontier, "seconds"),
        "survival": figures.purifier_bars(survival),
        "ensembles-posterior": figures.heat_map(ensembles, "posterior"),
        "ensembles-edits": figures.heat_map(ensembles, "2"),
    }


def _device(summary: dict[str, Any]) -> str:
    return str(summary["environment"]["device"]).lower().replace(" ", "-")


def _read(folder: Path, name: str) -> dict[str, Any]:
    """The measurements of a benchmark; prefers those on a GPU."""
    found = sorted(folder.glob(f"{name}-*.json"), key=lambda path: path.stem == f"{name}-cpu")
    if not found:
        raise SystemExit(f"{folder}: no {name}-*.json; run `pca-protect bench {name}` and give its folder")
    summary: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
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
