"""How long planning a large folder takes, and how much memory: a run that finds everything finished, and a first look.

    python scripts/measure_folders.py [--pictures N]...

Makes N tiny pictures in a temporary folder and, in processes of their own, lists them with `preview`, and proves them finished
from a journal by their digests. Prints one line of JSON a measurement: seconds and peak memory with what importing costs taken
out, and what the empty program needs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pca_protect.batch.classify import digest_of
from pca_protect.batch.journal import Journal, LedgerEntry
from pca_protect.batch.output_lock import state_of
from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig

PROGRAM = """
import json, sys, time
from pathlib import Path
from pca_protect.batch.request import Request
from pca_protect.batch.run import preview
from pca_protect.config import ProtectConfig

def peak_megabytes():
    return next(int(line.split()[1]) / 1000 for line in open("/proc/self/status") if line.startswith("VmHWM:"))

empty, started = peak_megabytes(), time.perf_counter()
found = preview(Request((sys.argv[1],), output=Path(sys.argv[2]), recursive=True), ProtectConfig())
seconds = time.perf_counter() - started
standings = {name: found.standings.count(name) for name in set(found.standings)}
print(json.dumps({"seconds": round(seconds, 2), "peak_megabytes": round(peak_megabytes()), "empty": round(empty), **standings}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, action="append")
    for number in parser.parse_args().pictures or (1000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            photos, output = Path(folder) / "photos", Path(folder) / "out"
            make_pictures(photos, number)
            print(json.dumps({"pictures": number, "look": measure(photos, output)}))
            pretend_finished(photos, output)
            print(json.dumps({"pictures": number, "prove": measure(photos, output)}))


def make_pictures(folder: Path, number: int) -> None:
    """Pictures of 16x24 px that all differ, a hundred a folder."""
    for index in range(number):
        path = folder / f"{index // 100:04}" / f"{index:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (24, 16, 3), dtype=np.uint8)).save(path)


def pretend_finished(photos: Path, output: Path) -> None:
    """Copies of the pictures with the journal of a run that made them; only the digests matter here."""
    asked = OutputOptions().digest(ProtectConfig())
    lines = []
    for path in photos.rglob("*.png"):
        place = path.relative_to(photos).with_suffix(".protected.png")
        target = output / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        digest = digest_of(str(path))
        lines.append(LedgerEntry(str(path), digest, asked, "weights", place.as_posix(), digest, "0", 0.0))
    state = state_of(output).folder
    state.mkdir()
    Journal(state).append(*lines)


def measure(photos: Path, output: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(photos), str(output)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
