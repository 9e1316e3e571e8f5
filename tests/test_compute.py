"""Threads within what a container grants, and the errors that mean exhausted memory."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from pca_protect import device as device_module


def granted(tmp_path: Path, own: str, **limits: str) -> float:
    """Of a control group `own`, with `cpu.max` as given for some of the folders, `root` being the outermost."""
    root = tmp_path / "cgroup"
    root.mkdir(parents=True)
    for name, limit in limits.items():
        folder = root if name == "root" else root / name.replace("__", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(limit)
    membership = tmp_path / "membership"
    membership.write_text(f"5:cpuset:/elsewhere\n0::{own}\n")
    return device_module._granted_cores(membership, root)


def test_the_quota_is_read_where_the_process_belongs(tmp_path: Path):
    assert granted(tmp_path / "a", "/", root="150000 100000\n") == 1.5
    assert granted(tmp_path / "b", "/", root="max 100000\n") == math.inf
    assert granted(tmp_path / "c", "/pod/box", pod__box="max 100000\n", pod="400000 100000\n") == 4.0
    assert granted(tmp_path / "d", "/pod/box", pod__box="50000 100000\n", pod="400000 100000\n") == 0.5
    assert granted(tmp_path / "e", "/pod") == math.inf
    assert device_module._granted_cores(tmp_path / "nothing", tmp_path) == math.inf


@pytest.mark.parametrize(
    ("quota", "asked", "threads"), [(1.5, None, 2), (0.5, None, 1), (8.0, None, 3), (math.inf, None, 3), (1.0, "3", 3)]
)
def test_threads_are_only_ever_brought_down_and_not_where_the_user_said_how_many(
    quota: float, asked: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
):
    before = torch.get_num_threads()
    monkeypatch.setattr(device_module, "_granted_cores", lambda *files: quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    try:
        torch.set_num_threads(3)
        device_module.resolve_device("cpu")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "words",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error code 12 (Cannot allocate memory)",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        "FIND was unable to find an engine to execute this computation",
        "HIP out of memory. Tried to allocate 2.00 GiB.",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED_WORKSPACE",
    ],
)
def test_exhausted_memory_is_recognised(words: str):
    """Those of CUDA and MPS are met in tests/test_pretended_device.py."""
    assert device_module.is_out_of_memory(RuntimeError(words))


def test_other_errors_are_no_lack_of_memory():
    assert device_module.is_out_of_memory(torch.OutOfMemoryError())
    for words in (
        "CUDA error: an illegal memory access was encountered",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
        "",
    ):
        assert not device_module.is_out_of_memory(RuntimeError(words))
