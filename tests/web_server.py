"""The page as its users have it: a process of its own, and a real browser in front of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@dataclass
class Running:
    address: str
    process: subprocess.Popen[bytes]
    temporary: Path


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(temporary: Path, *options: str) -> Iterator[Running]:
    """`pca-protect ui --offline` with a temporary folder of its own, until the block is left."""
    port = free_port()
    said = temporary / "said.txt"
    with said.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pca_protect", "ui", "--offline", "--port", str(port), *options],
            env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    running = Running(f"http://127.0.0.1:{port}", process, temporary)
    try:
        _await(running)
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # an impatient user
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _await(running: Running) -> None:
    for _ in range(600):
        if running.process.poll() is not None:
            raise AssertionError(f"the page ended: {(running.temporary / 'said.txt').read_text()}")
        try:
            with urllib.request.urlopen(running.address, timeout=10):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("the page did not come up within two minutes")
