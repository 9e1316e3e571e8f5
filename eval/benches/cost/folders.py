"""`pca-protect bench cost --what folders`: time and memory of planning a large folder, without outputs (`look`) and with every
picture finished (`prove`).

A subprocess runs `preview` on tiny pictures in a temporary folder; in `prove` it verifies a ledger. Peak memory
is that of the subprocess; `empty_megabytes` is that of its imports alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pca_protect.batch.classify import digest_of
from pca_protect.batch.ledger import HEADER, SEGMENTS, LedgerEntry
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
from pca_protect.batch.preview import preview
from pca_protect.config import ProtectConfig

def peak_megabytes():
    return next(int(line.split()[1]) / 1000 for line in open("/proc/self/status") if line.startswith("VmHWM:"))

empty, started = peak_megabytes(), time.perf_counter()
found = preview(Request((sys.argv[1],), output=Path(sys.argv[2]), recursive=True), ProtectConfig())
seconds = time.perf_counter() - started
statuses = {name: found.statuses.count(name) for name in set(found.statuses)}
print(json.dumps({"seconds": seconds, "peak_megabytes": peak_megabytes(), "empty_megabytes": empty, **statuses}))
"""


def measure_folders(
    folder: Path, *, numbers: Sequence[int] = NUMBERS, on_progress: OnProgress | None = None
) -> Finished:
    """Add the measurements missing from `folder` and write its tables. Linux only.

    Args:
        numbers: numbers of pictures in a folder.

    Raises:
        UsageError: `folder` holds something else; see `Results`.
    """
    report: OnProgress = on_progress or (lambda label, done, in_all: None)
    where = environment(torch.device("cpu"))
    results = Results(folder, command="pca-protect bench cost --what folders", config={}, environment=where, timed=True)
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
    """Write distinct pictures of 16x24 px, a hundred per subfolder."""
    for index in range(number):
        path = folder / f"{index // 100:04}" / f"{index:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (24, 16, 3), dtype=np.uint8)).save(path)


def pretend_finished(photos: Path, output: Path) -> None:
    """Write copies of the pictures as outputs, and a ledger with their digests, sizes and times, as after a finished run."""
    asked = OutputOptions().digest(ProtectConfig())
    lines = []
    for path in photos.rglob("*.png"):
        place = path.relative_to(photos).with_suffix(".protected.png")
        target = output / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        digest = digest_of(str(path))
        stored, written = (file.stat() for file in (path, target))
        entry = LedgerEntry(
            str(path), digest, asked, "weights", place.as_posix(), digest, "0", 0.0, stored.st_size, str(stored.st_mtime_ns),
            written.st_size, str(written.st_mtime_ns), written=True,
        )  # fmt: skip
        lines.append(json.dumps(asdict(entry)) + "\n")
    (output / SEGMENTS).mkdir(parents=True)
    (output / SEGMENTS / "finished.jsonl").write_text(HEADER + "".join(lines))


def _measure(photos: Path, output: Path) -> Json:
    command = [sys.executable, "-c", _PREVIEW, str(photos), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Json = json.loads(done.stdout)
    return found
