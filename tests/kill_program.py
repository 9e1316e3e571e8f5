"""Runs `protect` on a folder again and again and kills it each time, at random moments: see `test_folders`.

    python kill_program.py KILLS LONGEST_SECONDS SEED OUTPUT ARGUMENT...

What takes long, importing, is done once; every attempt is a process of its own, forked from this one, that runs the real
command and is ended by the system. At last one attempt is left alone. Prints its exit code, how long it took, and how many
lines the output folder's journal had after each kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from pca_protect.batch.output_lock import STATE
from pca_protect.cli import main
from pca_protect.surrogates.load import load_surrogate

torch.set_num_threads(1)


def begin(arguments: list[str]) -> int:
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


def attempts(kills: int, longest_seconds: float, seed: int, output: str, arguments: list[str]) -> None:
    load_surrogate("pocket", device="cpu")  # imports what building a VAE needs
    moments = random.Random(seed)
    lines = []
    for _ in range(kills):
        child = begin([*arguments, "-o", output])
        time.sleep(moments.uniform(0, longest_seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        journal = Path(output, STATE, "journal.jsonl")
        lines.append(len(journal.read_bytes().splitlines()) if journal.exists() else 0)
    started = time.perf_counter()
    _, status = os.waitpid(begin([*arguments, "-o", output]), 0)
    result = {"exit_code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - started, "lines": lines}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    attempts(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
