"""`python -m training NAME`: train one embedded model, the universal perturbations, or every model."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training import editor, instruct, universal, vae
from training.pictures import load_styled_pictures, load_training_pictures
from training.recipes import EDITORS, INSTRUCT_EDITORS, VAE_SCHEDULES, VAES, KlRecipe

FIRST = [name for name, recipe in VAES.items() if isinstance(recipe, KlRecipe)]
THEN = [*(name for name in VAES if name not in FIRST), *EDITORS]
"""Models trained second: a VAE distilled from the first ones, and editors of their latents."""
LAST = list(INSTRUCT_EDITORS)
"""Models trained last: they start from an editor."""
NAMES = (*VAES, *EDITORS, *INSTRUCT_EDITORS, "universal", "everything")


def main() -> None:
    options = parser().parse_args()
    if options.name in VAES:
        vae.run(options.name, options)
    elif options.name in EDITORS:
        editor.run(options.name, options)
    elif options.name in INSTRUCT_EDITORS:
        instruct.run(options.name, options)
    elif options.name == "universal":
        universal.run(options)
    else:
        run(options)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m training", description="Train the embedded models.")
    names = result.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in VAES:
        vae.add_options(names.add_parser(name, help="a VAE"))
    for name in EDITORS:
        editor.add_options(names.add_parser(name, help="an editor"))
    for name in INSTRUCT_EDITORS:
        instruct.add_options(names.add_parser(name, help="an instruction editor"))
    universal.add_options(names.add_parser("universal", help="the perturbations of the presets instant and fast"))
    add_options(names.add_parser("everything", help="all VAEs and editors, trained and exported"))
    return result


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder with pack-*.tar and captions.csv")
    parser.add_argument("--schedule", choices=VAE_SCHEDULES, default="cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and cached arrays")
    parser.add_argument("--at-once", type=int, default=1, help="number of models to train in parallel")


def run(options: argparse.Namespace) -> None:
    """Train and export every embedded model, one process per model. A stopped run resumes."""
    pictures = load_training_pictures(options.data, options.runs / "pictures.npy")
    load_styled_pictures(pictures, options.runs / "styled.npy")
    arguments = ["--data", str(options.data), "--runs", str(options.runs)]
    for names in (FIRST, THEN, LAST):
        with ThreadPoolExecutor(options.at_once) as pool:
            list(pool.map(lambda name: train_and_export(name, arguments, options.schedule), names))


def train_and_export(name: str, arguments: Sequence[str], schedule: str) -> None:
    for last in (["--schedule", schedule], ["--export"]):
        subprocess.run([sys.executable, "-m", "training", name, *arguments, *last], check=True)


if __name__ == "__main__":
    main()
