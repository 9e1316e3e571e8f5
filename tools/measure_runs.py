"""Measures planning, the ledger and several processes, into docs/measurements/runs.json.

    python tools/measure_runs.py [PART ...] [--pictures 10000] [--lines 1000000] [--repeats 3] [--out docs/measurements/runs.json]

Parts, each in a process of its own:

- `folder`: a run over tiny pictures, with its memory while it works, and a second run that finds all of them finished;
- `ledger`: reading a ledger of made-up lines;
- `bucket`: listing and planning a bucket of made-up names, in the form in which s3fs lists them;
- `jobs`: 40 pictures in one process and in two, with the same number of threads each.

Without parts, all run; parts that are not named keep their values in the file. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from fsspec import AbstractFileSystem, register_implementation
from PIL import Image

from pca_protect.batch.begin import find, read_past
from pca_protect.batch.ledger import HEADER, SEGMENTS, STATE, LedgerEntry, read_ledger
from pca_protect.batch.outcome import EncoderInfo, Outcome, Summary
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.batch.store import Store
from pca_protect.config import ProtectConfig
from pca_protect.io.plan import Job

COMMAND = [sys.executable, "-c", "from pca_protect.cli.main import protect; protect()"]
TREE = Path(__file__).resolve().parent.parent


def memory_megabytes(field: str) -> int:
    """`VmRSS` or `VmHWM`, the peak, of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{field}:")[2].split()[0]) // 1024


def put_pictures(folder: Path, number: int, side_px: int) -> None:
    """Pictures of smooth noise in subfolders of a hundred."""
    for index in range(number):
        path = folder / f"{index // 100:04}" / f"{index:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC).save(path)


class Observer:
    """Notes the seconds at which phases begin, and memory after each tenth of the pictures."""

    def __init__(self) -> None:
        self.begins: dict[str, float] = {}
        self.megabytes: list[int] = []
        self.total = self.outcomes = 0
        self.summary: Summary | None = None

    def progress(self, what: str, done: int, total: int | None) -> None:
        self.begins.setdefault(what, time.perf_counter())

    def configured(self, config: ProtectConfig) -> None: ...
    def message(self, sentence: str) -> None: ...
    def loaded(self, encoder: EncoderInfo) -> None: ...
    def skipped(self, job: Job, reason: str) -> None: ...
    def picture(self, job: Job) -> None: ...
    def step(self, done: int, steps: int, loss: float) -> None: ...

    def begin(self, pictures: int) -> None:
        self.begins["working"] = time.perf_counter()
        self.total = pictures

    def done(self, outcome: Outcome) -> None:
        self.outcomes += 1
        if self.outcomes % max(1, self.total // 10) == 0:
            self.megabytes.append(memory_megabytes("VmRSS"))

    def end(self, summary: Summary) -> None:
        self.begins.setdefault("working", time.perf_counter())
        self.summary = summary


def measure_folder(folder: Path, pictures: int) -> dict[str, object]:
    put_pictures(folder / "pictures", pictures, 24)
    request = Request((str(folder / "pictures"),), output=folder / "out", recursive=True, jobs=1, evaluate=False)
    config = ProtectConfig(vae="pocket", preset="paper", steps=1, device="cpu")
    result: dict[str, object] = {"pictures": pictures}
    for name in ("first", "second"):
        observer, started = Observer(), time.perf_counter()
        run(request, config, observer)
        assert observer.summary is not None
        begins, ended = observer.begins, time.perf_counter()
        result[name] = {
            "listing_seconds": round(begins["comparing"] - started, 2),
            "classifying_seconds": round(begins["working"] - begins["comparing"], 2),
            "whole_seconds": round(ended - started, 2),
            "protected": observer.summary.protected,
            "finished": observer.summary.finished,
            "megabytes_by_tenths": observer.megabytes,
        }
    return result


def measure_ledger(folder: Path, lines: int) -> dict[str, object]:
    path = folder / SEGMENTS / "made-up.jsonl"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="ascii") as file:
        file.write(HEADER)
        for index in range(lines):
            digest = hashlib.sha256(str(index).encode()).hexdigest()
            name = f"archive/{index // 1000:04}/IMG_{index:07}"
            entry = LedgerEntry(
                f"{name}.jpg", digest, "c" * 64, "w" * 64, f"{name}.protected.png", digest[::-1], "0.2.0", 1.234,
                2_000_000 + index, f"{1_700_000_000_000_000_000 + index}", 4_000_000 + index,
                f"{1_700_000_000_500_000_000 + index}", written=True,
            )  # fmt: skip
            file.write(json.dumps(asdict(entry)) + "\n")
    before, started, processor = memory_megabytes("VmHWM"), time.perf_counter(), time.process_time()
    ledger = read_ledger(Store(str(folder)))
    return {
        "lines": len(ledger),
        "seconds": round(time.perf_counter() - started, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "peak_megabytes": memory_megabytes("VmHWM"),
        "megabytes_before": before,
    }


class MadeUp(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A bucket whose listing has the form of s3fs's: half of the names in the inputs, as many outputs of theirs."""

    protocol = "madeup"
    objects = 0

    def isfile(self, path: str) -> bool:
        return False

    def ls(self, path: str, detail: bool = True, **options: object) -> list[object]:
        return []

    def find(self, path: str, **options: object) -> dict[str, dict[str, object]]:
        suffix = ".protected.png" if "/out" in path else ".jpg"
        if STATE in path:
            return {}
        names = (f"{path}/archive/{index // 1000:04}/IMG_{index:07}{suffix}" for index in range(self.objects))
        return {name: _about(name) for name in names}


def _about(name: str) -> dict[str, object]:
    return {
        "Key": name,
        "LastModified": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "ETag": f'"{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"',
        "Size": 4_000_000 + len(name),
        "StorageClass": "STANDARD",
        "type": "file",
        "size": 4_000_000 + len(name),
        "name": name,
    }


def measure_bucket(folder: Path, objects: int) -> dict[str, object]:
    register_implementation("madeup", MadeUp)
    MadeUp.objects = objects
    before, started = memory_megabytes("VmHWM"), time.perf_counter()
    inputs = find(Request(("madeup://bucket/in",), output="madeup://bucket/out"))
    planned = memory_megabytes("VmRSS")
    past = read_past(inputs)
    return {
        "objects": len(inputs.plan.jobs),
        "outputs_listed": len(past.listed),
        "seconds": round(time.perf_counter() - started, 1),
        "megabytes_after_plan": planned,
        "peak_megabytes": memory_megabytes("VmHWM"),
        "megabytes_before": before,
    }


def measure_jobs(folder: Path, repeats: int) -> dict[str, object]:
    put_pictures(folder / "pictures", 40, 256)
    flags = ["--vae", "pocket", "--preset", "paper", "--steps", "10", "--no-evaluate", "--quiet", "-r"]
    ways = {"one process, one thread": ("1", "1"), "two processes, one thread each": ("2", "1")}
    ways["one process, two threads"] = ("1", "2")
    walls: dict[str, list[float]] = {way: [] for way in ways}
    processors: dict[str, list[float]] = {way: [] for way in ways}
    trees: dict[str, dict[str, bytes]] = {}
    for number in range(repeats):
        for way, (jobs, threads) in ways.items():
            out = folder / f"{way} {number}"
            command = [*COMMAND, str(folder / "pictures"), *flags, "--jobs", jobs, "-o", str(out)]
            before, started = os.times(), time.perf_counter()
            subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": threads}, check=True, capture_output=True)
            walls[way].append(round(time.perf_counter() - started, 1))
            used = os.times()
            processors[way].append(
                round(used.children_user + used.children_system - before.children_user - before.children_system, 1)
            )
            files = [path for path in out.rglob("*.png") if STATE not in path.parts]
            trees[way] = {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
    one, two, _ = ways
    return {
        "pictures": 40,
        "wall_seconds": walls,
        "processor_seconds": processors,
        "fastest_ratio": round(min(walls[one]) / min(walls[two]), 2),
        "equal_bytes": trees[one] == trees[two] and len(trees[one]) == 40,
    }


def _parsed(parts: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of the ledger, and objects in the bucket")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=TREE / "docs/measurements/runs.json")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)  # a part runs in this process, below this folder
    given = parser.parse_args()
    if unknown := set(given.parts) - set(parts):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(parts)}")
    return given


def _main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    measures: dict[str, tuple[Callable[[Path, int], dict[str, object]], str]] = {
        "folder": (measure_folder, "pictures"),
        "ledger": (measure_ledger, "lines"),
        "bucket": (measure_bucket, "lines"),
        "jobs": (measure_jobs, "repeats"),
    }
    given = _parsed(list(measures))
    if given.here is not None:
        measure, number = measures[given.parts[0]]
        print(json.dumps(measure(given.here, getattr(given, number))))
        return
    import torch

    from pca_protect.eval.environment import environment

    results = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    for part in given.parts or measures:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, part, "--here", folder]
            for name in ("pictures", "lines", "repeats"):
                command += [f"--{name}", str(getattr(given, name))]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[part] = {"load_at_start": round(load, 1), **json.loads(done.stdout)}
        results["environment"] = environment(torch.device("cpu"))
        given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(part, json.dumps(results[part]), flush=True)


if __name__ == "__main__":
    _main()
