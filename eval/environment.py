"""The machine, versions and commit of a measurement."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

import pca_protect
from pca_protect.record import versions


def environment(device: torch.device) -> dict[str, object]:
    """Versions, machine, device and commit, as plain values for a `summary.json`.

    `git_dirty` is true if tracked files differ from the commit. Outside a checkout, `git_commit` and `git_dirty` are None.
    """
    commit = _git("rev-parse", "HEAD")
    return {
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "logical_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str | None:
    """Output of git in this program's own checkout, else None.

    Needs a `.git` folder next to the package: an installed package may lie inside another project's checkout.
    """
    root = Path(pca_protect.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
