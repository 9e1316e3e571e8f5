"""Which device, in which precision: decided once, at the edge."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import psutil
import torch

from pca_protect.config import Device, Precision
from pca_protect.errors import DeviceError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(device: Device) -> torch.device:
    """`auto` prefers cuda, then mps, then cpu; anything else has to be there. On the way PyTorch's threads are brought down
    to what this process may use, see `respect_quota`.

    Raises:
        DeviceError: the device asked for is not available.
    """
    respect_quota()
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[device]:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise DeviceError(f"device {device} is not available to this PyTorch {torch.__version__}; use --device {there}")
    return torch.device(device)


def respect_quota() -> None:
    """PyTorch starts a thread for every core that it sees. Where the control group (Linux, version 2) grants fewer, as
    containers do, they would stop one another: then it gets so many threads, unless `OMP_NUM_THREADS` asks for others.
    Another number of threads adds in another order, and may turn a sign near zero."""
    quota = _granted_cores(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    if "OMP_NUM_THREADS" not in os.environ and quota < torch.get_num_threads():
        torch.set_num_threads(math.ceil(quota))


def _granted_cores(membership: Path, root: Path) -> float:
    """The least quota of this process's control group and those that it lies in; infinite where there is none."""
    granted = math.inf
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:  # no Linux
        return granted
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    group = root / own.lstrip("/")
    for folder in (group, *group.parents):
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            granted = min(granted, int(quota) / int(period))
        except (OSError, ValueError):  # the root has none; `max` is no number
            continue
    return granted


def resolve_dtype(precision: Precision, device: torch.device, *, overflows_fp16: bool, model: str) -> torch.dtype:
    """`auto` is bf16 on CUDA devices that do it natively and fp32 elsewhere.

    Raises:
        DeviceError: fp16 for an encoder known to overflow in it, or on the CPU.
    """
    if precision == "auto":
        does_bf16_well = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if does_bf16_well else torch.float32
    if precision == "fp16" and overflows_fp16:
        raise DeviceError(f"{model} overflows in fp16 and would return nothing usable; use --precision bf16 or fp32")
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("fp16 on the CPU is slower than fp32 and overflows sooner; use --precision fp32")
    return _DTYPES[precision]


def peak_megabytes(device: torch.device) -> float:
    """Peak memory so far, in megabytes of 10^6 bytes: of the device's allocator on CUDA, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # Linux: ru_maxrss is inherited from whatever started this process, VmHWM starts anew
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    import resource  # noqa: PLC0415 - does not exist on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def empty_cache(device: torch.device) -> None:
    """Give back what PyTorch holds of a device's memory without using it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device had no memory left; the CPU's allocator says so in words alone."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
