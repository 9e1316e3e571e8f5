"""`pca-protect bench cost --what folders`: time and memory of planning a large folder, on a first look (`look`) and where every
picture is finished (`prove`).

Tiny pictures in a temporary folder are listed with `preview`, and proved finished from a journal by their digests, each in a
process of its own. Peak memory is that of the process; `empty_megabytes` is that of its imports alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pca_protect.batch.classify import digest_of
from pca_protect.batch.journal import Journal, LedgerEntry
from pca_protect.batch.output_lock import state_of
from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig
from pca_protect.eval.environment import environment
from pca_protect.eval.results import Finished, Json, OnProgress, Results, Row

NUMBERS = (1000, 10_000)
QUICK_NUMBERS = (100,)

_PREVIEW = """
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
print(json.dumps({"seconds": seconds, "peak_megabytes": peak_megabytes(), "empty_megabytes": empty, **standings}))
"""


def measure_folders(
    folder: Path, *, numbers: Sequence[int] = NUMBERS, on_progress: OnProgress | None = None
) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables. Linux only.

    Args:
        numbers: of pictures in a folder.

    Raises:
        UsageError: `folder` holds something else; see `Results`.
    """
    report: OnProgress = on_progress or (lambda label, done, in_all: None)
    where = environment(torch.device("cpu"))
    results = Results(folder, command="pca-protect bench cost --what folders", config={}, environment=where)
    rows: list[Row] = []
    for done, number in enumerate(numbers):
        report(f"{number} pictures", done, len(numbers))
        keys = {what: f"{number} | {what}" for what in ("look", "prove")}
        if any(key not in results for key in keys.values()):
            with tempfile.TemporaryDirectory() as scratch:
                photos, output = Path(scratch) / "photos", Path(scratch) / "out"
                make_pictures(photos, number)
                look = _measure(photos, output)
                pretend_finished(photos, output)
                results.add({keys["look"]: look, keys["prove"]: _measure(photos, output)})
        rows += [{"pictures": number, "what": what, **results[key]} for what, key in keys.items()]
    tables = {"folders": rows}
    return Finished(tables, results.write_tables(tables))


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


def _measure(photos: Path, output: Path) -> Json:
    command = [sys.executable, "-c", _PREVIEW, str(photos), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Json = json.loads(done.stdout)
    return found
