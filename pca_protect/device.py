"""Device, precision and thread count, resolved once at the edge; memory of a device."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from pca_protect.device_names import Device, Precision, require_device_name
from pca_protect.errors import DeviceError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(device: Device | torch.device) -> torch.device:
    """The device to compute on; `auto` is the first of cuda, mps and cpu that is available. Limits PyTorch's threads to the
    CPU quota, see `respect_quota`.

    Raises:
        UsageError: no device has this name.
        DeviceError: the device is not available.
    """
    respect_quota()
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, is_available in available.items() if is_available))
    if isinstance(device, str):
        require_device_name(device)
        device = torch.device(device)
    if not available.get(device.type, False):
        usable = ", ".join(name for name, is_available in available.items() if is_available)
        raise DeviceError(
            f"device {device} is not available to this PyTorch {torch.__version__}; use `device={usable}`"
        )
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        last = f" to {device.type}:{count - 1}" if count > 1 else ""
        raise DeviceError(
            f"device {device} does not exist: this machine has {count} {device.type} device{'s' if count > 1 else ''}; use "
            f"`device={device.type}:0`{last}"
        )
    return device


_LARGE_GPU_BYTES = 15e9
"""A nominal 16 GB; drivers keep part of it."""


def is_large_gpu(device: Device | torch.device) -> bool:
    """Whether a device is a CUDA device with 16 GB of memory or more, free or not.

    Raises:
        UsageError, DeviceError: see `resolve_device`.
    """
    found = resolve_device(device)
    return found.type == "cuda" and torch.cuda.mem_get_info(found)[1] >= _LARGE_GPU_BYTES


def respect_quota() -> None:
    """Limits PyTorch's thread count to the CPU quota of the control group (Linux, version 2), unless `OMP_NUM_THREADS` is set.
    The thread count determines the summation order, which can flip signs of gradients near zero."""
    quota = _granted_cores(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    if "OMP_NUM_THREADS" not in os.environ and quota < torch.get_num_threads():
        torch.set_num_threads(math.ceil(quota))


def _granted_cores(membership: Path, root: Path) -> float:
    """Smallest CPU quota of this process's control group and its ancestors, in cores; infinite without a quota."""
    granted = math.inf
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return granted
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    group = root / own.lstrip("/")
    for folder in (group, *group.parents):
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            granted = min(granted, int(quota) / int(period))
        except (OSError, ValueError):  # the root has no quota; `max` is no number
            continue
    return granted


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """The name of a precision; `auto` is bf16 on CUDA devices with native support and fp32 elsewhere."""
    if precision != "auto":
        return precision
    has_native_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "bf16" if has_native_bf16 else "fp32"


def resolve_dtype(precision: Precision, device: torch.device, *, overflows_fp16: bool, model: str) -> torch.dtype:
    """The encoder's precision, see `resolve_precision`.

    Raises:
        DeviceError: fp16 for an encoder that overflows in it, or half precision on a CPU without native support.
    """
    precision = resolve_precision(precision, device)
    if precision == "fp16" and overflows_fp16:
        raise DeviceError(
            f"{model} overflows in fp16, which makes its output unusable; use `precision=bf16` or `precision=fp32`"
        )
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("fp16 on the CPU is slower than fp32 and overflows sooner; use `precision=fp32`")
    if precision == "bf16" and device.type == "cpu" and not cpu_has_bf16():
        raise DeviceError("bf16 is emulated on this CPU and 50 times slower than fp32; use `precision=fp32`")
    return _DTYPES[precision]


def cpu_has_bf16() -> bool:
    """Whether oneDNN supports bf16 convolutions on this CPU, which requires AVX-512. A gradient of the Stable Diffusion
    architecture at 64 px took 18.4 s in bf16 and 0.35 s in fp32 when limited to AVX2; 0.12 s and 0.22 s with AVX-512's bf16
    instructions."""
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_onednn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def cuda_arithmetic(device: torch.device, *, benchmark: bool) -> Iterator[None]:
    """On CUDA: float32 convolutions in TF32 (10 bits of mantissa), float32 matrix products in float32, whatever the process has
    set. Its settings are restored afterwards. Half precision is not affected.

    Args:
        benchmark: let cuDNN choose algorithms by timing them, once per size of its inputs, unless it is set to be deterministic.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, products.allow_tf32 = True, False
    cudnn.benchmark = before[2] or (benchmark and not cudnn.deterministic)
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before


def reset_peak(device: torch.device) -> None:
    """Restarts the measurement of `peak_megabytes` on an accelerator. A process cannot reset its own peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "mps":
        torch.mps.empty_cache()


def peak_megabytes(device: torch.device) -> float:
    """Peak memory in megabytes (10^6 bytes). CUDA: of the device's allocator since `reset_peak`. MPS: memory held by Metal, whose
    allocator frees nothing before its cache is emptied. CPU: of the process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / 1e6
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # Linux: ru_maxrss is inherited from the parent process, VmHWM is not
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    import resource  # noqa: PLC0415 - does not exist on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def empty_cache(device: torch.device) -> None:
    """Release the unused device memory in PyTorch's cache."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


_OUT_OF_MEMORY = (
    "out of memory",  # CUDA's runtime and driver; MPS
    "status_alloc_failed",  # cuDNN, cuBLAS and their siblings
    "unable to find an engine",  # cuDNN where no algorithm's workspace fits
    "invalid buffer size",  # MPS, beyond the largest Metal buffer
    "can't allocate memory",  # the CPU allocator
    "not enough memory",  # the CPU allocator on Windows
)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means exhausted memory. Only CUDA's allocator has a class for it; the others
    are known by their messages."""
    message = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in message for words in _OUT_OF_MEMORY)
