"""Kills runs over a folder at random moments, and compares the outputs with those of a run that nobody killed.

    python tools/kill_runs.py --executor threads|processes|ray [--pictures 200] [--kills 20] [--vae pocket] [--out build/kills]

Every attempt is a process of its own that runs the real command with the same arguments and gets SIGKILL; the last one is left
alone. Prints one JSON object: seconds of the whole run, finished pictures after each kill, and whether both trees are equal byte
by byte. Exits with 1 if they differ, if a partial file is left, or if no kill hit the work. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pca_protect.batch.ledger import STATE, read_ledger
from pca_protect.batch.store import Store
from pca_protect.cli import main
from pca_protect.errors import UsageError

_HAS_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
FLAGS = {"threads": ["--jobs", "1"], "processes": ["--jobs", "2"], "ray": ["--engine", "ray", "--jobs", "2"]}


def put_pictures(folder: Path, number: int) -> None:
    """Small pictures of several sizes, a third of them in a subfolder."""
    for index in range(number):
        path = folder / ("deeper" if index % 3 == 2 else ".") / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (24 + index % 2, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)


def begin(arguments: list[str]) -> int:
    """Start an attempt in a forked process, which has everything imported; returns its id."""
    child = os.fork()
    if child:
        return child
    sys.argv = ["protect", *arguments]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    code = 70
    try:
        main.protect()
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        os._exit(code)


def finish(arguments: list[str]) -> float:
    """Run an attempt to its end; returns its seconds."""
    started = time.perf_counter()
    _, status = os.waitpid(begin(arguments), 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        sys.exit(f"a run that was left alone ended with code {code}")
    return time.perf_counter() - started


def finished_in(output: Path) -> int:
    try:
        return len(read_ledger(Store(str(output))))
    except UsageError:
        return 0


def outputs_in(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and STATE not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(files)}


def kill_runs(folder: Path, executor: str, pictures: int, kills: int, vae: str, seed: int) -> dict[str, object]:
    """Run everything below an empty folder; see the module."""
    put_pictures(folder / "pictures", pictures)
    settings = ["--vae", vae, "--steps", "1", "--preset", "paper", "--quiet", *FLAGS[executor]]
    arguments = [str(folder / "pictures"), "-r", *settings]
    seconds = finish([*arguments, "-o", str(folder / "whole")])
    moments = random.Random(seed)
    finished = [0]
    for number in range(kills):
        child = begin([*arguments, "-o", str(folder / "killed")])
        steps = (pictures - finished[-1]) // (kills - number)
        # One in four is killed while it begins, the others while they work.
        goal = 0 if moments.random() < 0.25 else finished[-1] + moments.randint(1, max(1, steps))
        while finished_in(folder / "killed") < goal and os.waitid(os.P_PID, child, _HAS_ENDED) is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5 if goal == 0 else 0.02))
        os.kill(child, signal.SIGKILL)  # a process that has ended keeps its id until it is waited for
        os.waitpid(child, 0)
        finished.append(finished_in(folder / "killed"))
    finish([*arguments, "-o", str(folder / "killed")])
    whole, killed = outputs_in(folder / "whole"), outputs_in(folder / "killed")
    left = [str(path) for path in (folder / "killed").rglob("*.tmp")]
    return {
        "executor": executor,
        "seconds": round(seconds, 2),
        "finished_after_kills": finished[1:],
        "pictures": pictures,
        "outputs": len(killed),
        "equal": whole == killed and len(whole) == pictures,
        "partial_files": left,
    }


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executor", choices=sorted(FLAGS), required=True)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--vae", default="pocket")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/kills"))
    return parser.parse_args()


def _main() -> None:
    given = _parsed()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from pca_protect.surrogates.load import load_surrogate

    torch.set_num_threads(1)
    if given.executor == "threads":
        load_surrogate(given.vae, device="cpu")  # imports what building a VAE needs
    folder = given.out / given.executor
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = kill_runs(folder, given.executor, given.pictures, given.kills, given.vae, given.seed)
    sys.stdout.write(json.dumps(result) + "\n")
    hit = any(0 < number < given.pictures for number in result["finished_after_kills"])  # type: ignore[attr-defined]
    sys.exit(not (result["equal"] and hit and not result["partial_files"]))


if __name__ == "__main__":
    _main()
