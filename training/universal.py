"""Train the embedded universal perturbations: one tile for each embedded encoder and mode.

    python -m training universal --data DATA/train --vae pocket pocket-b pocket-16 pocket-tiny

Existing tiles of the file are kept, so a stopped run resumes. The training itself is that of `pca-protect universal train`.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pca_protect.image.tensors import Uint8Image
from pca_protect.modes import MODES
from pca_protect.surrogates.load import load_surrogate
from pca_protect.universal_training.crops import LEAST_PICTURES, MOST_PICTURES, crops_of
from pca_protect.universal_training.train import TrainingSettings, crop_side, train_universal
from pca_protect.universals.files import read_universals, write_universals
from pca_protect.universals.store import UNIVERSAL_FILE, key_for


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder with pack-*.tar of pictures")
    parser.add_argument("--vae", nargs="+", required=True, help="names, hub ids, folders or files of encoders")
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--steps", type=int, default=TrainingSettings.steps, help="training steps (%(default)s)")
    parser.add_argument("--again", action="store_true", help="retrain existing tiles")
    parser.add_argument(
        "--out", type=Path, default=UNIVERSAL_FILE, help="file to create or extend (default: the installed one)"
    )


def run(options: argparse.Namespace) -> None:
    """Train, measure and write one tile per encoder and mode; writes after each tile."""
    if len(list(packed_pictures(options.data))) < LEAST_PICTURES:
        raise SystemExit(f"{options.data}: has fewer than {LEAST_PICTURES} pictures, which training needs")
    for name in options.vae:
        surrogate = load_surrogate(name)
        crops = crops_of(packed_pictures(options.data), crop_side(surrogate), seed=0)
        for mode in options.mode:
            settings = TrainingSettings(mode, steps=options.steps)
            found = {one.key: one for one in read_universals(options.out)} if options.out.is_file() else {}
            key = key_for([surrogate], mode, settings.budget_levels)
            if key in found and not options.again:
                print(f"{name} {mode}: in {options.out} already", flush=True)
                continue
            started = time.process_time()
            universal = train_universal(surrogate, crops, settings)
            write_universals([*(found | {key: universal}).values()], options.out)
            seconds = time.process_time() - started
            print(f"{name} {mode}: {universal.members} after {seconds:.0f} s", flush=True)


def packed_pictures(folder: Path) -> Iterator[Uint8Image]:
    """Pictures `(H, W, 3)` spaced evenly over the first pack."""
    packs = sorted(folder.glob("pack-*.tar"))
    if not packs:
        raise SystemExit(f"{folder}: holds no pack-*.tar; give the folder of the training packs with --data")
    with tarfile.open(packs[0]) as archive:
        members = [member for member in archive if member.isfile()]
        for member in members[:: max(1, len(members) // MOST_PICTURES)][:MOST_PICTURES]:
            file = archive.extractfile(member)
            assert file is not None
            yield np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
