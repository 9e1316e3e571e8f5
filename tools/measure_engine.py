"""Measures what a run over many pictures costs beside the attack, and writes the figures of docs/scale.md:

    python tools/measure_engine.py --out docs/measurements/engine-cpu.json

Every measurement is a process of its own, so that its peak of memory counts nothing else. Pictures, lines and objects are made
up. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import fsspec
import numpy as np
from PIL import Image

from pca_protect.batch.begin import Classified, classify_inputs, find
from pca_protect.batch.ledger import HEADER, SEGMENTS, LedgerEntry, read_ledger
from pca_protect.batch.request import Request
from pca_protect.batch.store import Store, local_info
from pca_protect.config import ProtectConfig
from pca_protect.io.source import Source
from pca_protect.surrogates.resolve import Resolved

Row = dict[str, object]
T = TypeVar("T")

CONFIG = ProtectConfig(vae="sd")
WEIGHTS = hashlib.sha256(b"weights").hexdigest()
MADE_UP = "2026-01-01T00:00:00"


class NamesFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A bucket of `number` pictures below `NUMBER/`, with entries like those of S3. Its objects have no content."""

    protocol = "names"

    def find(self, path: str, **_: object) -> dict[str, dict[str, object]]:
        number, *below = path.split("/")
        return (
            {}
            if below
            else {str(entry["name"]): entry for entry in map(_entry, range(int(number)), [number] * int(number))}
        )

    def ls(self, path: str, **_: object) -> list[str]:
        return [path]

    def isfile(self, path: str) -> bool:
        return False


def _entry(index: int, number: str) -> dict[str, object]:
    key = f"{number}/pictures/{index // 1000:04}/{index:08}.jpg"
    tag = f'"{hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()}"'
    return {
        "Key": key,
        "LastModified": MADE_UP,
        "ETag": tag,
        "Size": index,
        "StorageClass": "STANDARD",
        "type": "file",
        "size": index,
        "name": key,
    }


def classified(request: Request) -> Classified:
    """Prepare a run up to its work."""

    def resolve() -> Resolved:
        raise AssertionError("no encoder is looked up")

    return classify_inputs(find(request), request, CONFIG, resolve=resolve, weights_digest=lambda _: lambda: WEIGHTS)


def first_run(number: int) -> Row:
    """A folder without outputs."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(lambda: classified(made_folder(Path(folder), number)), number, "to do")


def rerun(number: int) -> Row:
    """A folder with all outputs."""
    with tempfile.TemporaryDirectory() as folder:
        request = made_folder(Path(folder), number)
        put_outputs(request)
        return measured(lambda: classified(request), number, "finished")


def ledger(number: int) -> Row:
    """A ledger in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, SEGMENTS)
        place.mkdir(parents=True)
        with (place / "made-up.jsonl").open("w") as file:
            file.write(HEADER)
            for index in range(number):
                source = Source(
                    f"pictures/{index:08}.jpg", "pictures", f"{index:08}.jpg", size_bytes=index, tag=str(index)
                )
                file.write(line(source, f"{index:08}.protected.png", "config", index, str(index)))
        row, read = timed(lambda: read_ledger(Store(folder)))
        assert len(read) == number
        return row


def bucket(number: int) -> Row:
    """A bucket without outputs, protected into an empty one."""
    fsspec.register_implementation("names", NamesFileSystem)
    request = Request((f"names://{number}",), "names://0")
    return measured(lambda: classified(request), number, "to do")


PARTS: dict[str, tuple[Callable[[int], Row], tuple[int, ...]]] = {
    "first run": (first_run, (1_000, 10_000)),
    "rerun": (rerun, (1_000, 10_000)),
    "ledger": (ledger, (1_000_000,)),
    "bucket": (bucket, (1_000_000,)),
}


def made_folder(folder: Path, number: int) -> Request:
    """Pictures of 8x8 px, 100 to a subfolder."""
    picture = Image.fromarray(np.full((8, 8, 3), 128, np.uint8))
    for index in range(number):
        path = folder / "in" / f"{index // 100:04}" / f"{index:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return Request((str(folder / "in"),), folder / "out", recursive=True)


def put_outputs(request: Request) -> None:
    """Outputs and their ledger, as a run leaves them."""
    inputs, digest = find(request), request.digest(CONFIG)
    store = Store(str(request.output))
    lines = [HEADER]
    for job in inputs.plan.jobs:
        store.write(str(Path(job.target).relative_to(store.root)), b"output", overwrite=False)
        stored = local_info(job.target)
        assert stored is not None
        output = Path(job.target).relative_to(store.root).as_posix()
        lines.append(line(job.source, output, digest, stored.size_bytes, stored.tag))
    store.write(f"{SEGMENTS}/made-up.jsonl", "".join(lines).encode(), overwrite=False)


def line(source: Source, output: str, config: str, output_bytes: int, output_tag: str) -> str:
    digest = hashlib.sha256(output.encode()).hexdigest()
    entry = LedgerEntry(
        source.path,
        digest,
        config,
        WEIGHTS,
        output,
        digest,
        "0.2",
        1.25,
        source.size_bytes,
        source.tag,
        output_bytes,
        output_tag,
        written=True,
    )
    return json.dumps(asdict(entry)) + "\n"


def measured(prepare: Callable[[], Classified], number: int, status: str) -> Row:
    row, result = timed(prepare)
    assert result.statuses == [status] * number, set(result.statuses)
    return row


def timed(work: Callable[[], T]) -> tuple[Row, T]:
    """Seconds, processor seconds, and this process's memory before the work and at its peak."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak_megabytes()
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    used = {"before_megabytes": before, "peak_megabytes": _peak_megabytes()}
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2), **used}, result


def _peak_megabytes() -> int:
    (peak,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 // 10**6


def jobs_rows(pictures: int, side_px: int) -> Iterator[Row]:
    """One process with one thread and with two, and two processes with one each, over the same pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for index in range(pictures):
            noise = np.random.default_rng(index).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "in" / f"{index:03}.png")
        expected: dict[str, bytes] = {}
        for jobs, threads in ((1, 1), (1, 2), (2, 1)):
            output = folder / f"{jobs}-{threads}"
            row = _run(folder / "in", output, jobs, threads)
            outputs = {path.name: path.read_bytes() for path in output.glob("*.png")}
            assert len(outputs) == pictures
            expected = expected or outputs
            yield {"jobs": jobs, "threads": threads, **row, "equals_first": outputs == expected}


def _run(pictures: Path, output: Path, jobs: int, threads: int) -> Row:
    command = [sys.executable, "-m", "pca_protect", "run", str(pictures), "-o", str(output), "--jobs", str(jobs)]
    command += ["--vae", "pocket", "--preset", "fast", "--quiet"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file for the measurements")
    parser.add_argument("--pictures", type=int, default=40, help="of the comparison of processes")
    parser.add_argument("--size", type=int, default=256, help="their side in pixels")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "NUMBER"), help="measure this only, in this process")
    given = parser.parse_args()
    if given.part:
        part, number = given.part
        sys.stdout.write(json.dumps(PARTS[part][0](int(number))) + "\n")
        return
    planning = []
    for part, (_, numbers) in PARTS.items():
        for number in numbers:
            command = [sys.executable, __file__, "--part", part, str(number)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            planning.append({"part": part, "number": number, **json.loads(done.stdout)})
            sys.stderr.write(f"{planning[-1]}\n")
    load = os.getloadavg()[0]
    jobs = []
    for row in jobs_rows(given.pictures, given.size):
        jobs.append(row)
        sys.stderr.write(f"{row}\n")
    if given.out is None:
        return
    import torch

    from pca_protect.eval.environment import environment

    where = environment(torch.device("cpu"))
    shared = {"command": "python tools/measure_engine.py", "environment": where, "load_before_jobs": round(load, 1)}
    sizes = {"pictures": given.pictures, "size_px": given.size, "preset": "fast", "vae": "pocket"}
    given.out.write_text(json.dumps({**shared, "planning": planning, "jobs": {**sizes, "runs": jobs}}, indent=1) + "\n")


if __name__ == "__main__":
    _main()
