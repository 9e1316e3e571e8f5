"""Train and export every embedded model: the VAEs, then the one that is distilled and the editors. Resumes where it was
stopped.

python scripts/train_everything.py --data DATA/train --schedule gpu --at-once 3
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pocket_recipes import EDITORS, VAE_SCHEDULES, VAES, KlRecipe
from styled_pictures import load_styled_pictures
from training_pictures import load_training_pictures

HERE = Path(__file__).parent
FIRST = [name for name, recipe in VAES.items() if isinstance(recipe, KlRecipe)]
THEN = [*(name for name in VAES if name not in FIRST), *EDITORS]


def train_and_export(name: str, arguments: Sequence[str], schedule: str) -> None:
    script = HERE / ("train_pocket_editor.py" if name in EDITORS else "train_pocket_vae.py")
    for what in (["--schedule", schedule], ["--export"]):
        subprocess.run([sys.executable, str(script), name, *arguments, *what], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pack-*.tar and captions.csv")
    parser.add_argument("--schedule", choices=VAE_SCHEDULES, default="cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and what is computed once")
    parser.add_argument("--at-once", type=int, default=1, help="models to train side by side")
    options = parser.parse_args()
    pictures = load_training_pictures(options.data, options.runs / "pictures.npy")
    load_styled_pictures(pictures, options.runs / "styled.npy")
    arguments = ["--data", str(options.data), "--runs", str(options.runs)]
    for names in (FIRST, THEN):
        with ThreadPoolExecutor(options.at_once) as pool:
            list(pool.map(lambda name: train_and_export(name, arguments, options.schedule), names))


if __name__ == "__main__":
    main()
