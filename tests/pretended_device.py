"""A pretended accelerator: tensors that report `cuda:N` or `mps:0`, compute on the CPU, and keep the rules of that device.

A CPU build of PyTorch has no CUDA autograd nodes, and `FakeTensorMode` computes no values. A wrapper tensor does both: Python
code sees an accelerator, C++ code sees the CPU. The wrapper

* refuses operations that mix devices, and generators of another device;
* returns convolutions in the memory format that cuDNN and Metal choose, and enforces ATen's layout conditions there
  (`group_norm.cpp` up to PyTorch 2.13);
* refuses float64 on MPS;
* completes a copy to the CPU that does not block when an event after it is waited for, or queried twice; until then it
  holds other values;
* counts uploads, downloads and synchronisations by source line, and records the largest batch that a convolution received;
* raises a given error in the next convolution, to imitate exhausted memory.

It does not execute the device's kernels: their speed, memory use, and numerical errors are out of reach.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from pca_protect.attack import jpeg, transforms
from pca_protect.image.tensors import constant
from pca_protect.surrogates import memory_efficient

ROOT = Path(__file__).resolve().parent.parent
FREE_BYTES = 80_000_000_000
PEAK_BYTES = 123_000_000

_CPU = torch.device("cpu")
_SYNCHRONISES = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2"}
_ACCEPTS_OTHER_DEVICES = {"copy_", "_to_copy", "index", "index_put", "index_put_"}
_ADDS_ZEROS = {"add", "add_", "cat"}


class Machine:
    """A machine with accelerators of one type, and what was counted on it.

    Attributes:
        uploads, downloads, syncs: by source line, such as `pca_protect/engine.py:135`. A download is not counted as a
            synchronisation again, and one that does not block is not counted.
        queued: copies to the CPU, and their values, that no event follows yet.
        events: in the order of the queue.
        largest_batch: images in the largest convolution input so far.
        peak_resets: calls that reset the device's peak memory.
        failures: errors that the next convolutions raise, one each.
        breaks_padding_over: pads tensors wider than this many pixels with zeros throughout, as MPS has done; None is never.
    """

    def __init__(self, kind: Literal["cuda", "mps"], count: int = 1) -> None:
        self.kind = kind
        self.count = count
        self.uploads: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()
        self.queued: list[tuple[Tensor, Tensor]] = []
        self.events: list[Event] = []
        self.largest_batch = 0
        self.peak_resets = 0
        self.failures: list[RuntimeError] = []
        self.breaks_padding_over: int | None = None

    def clear(self) -> None:
        """Set every counter to zero."""
        for counter in (self.uploads, self.downloads, self.syncs):
            counter.clear()
        self.events.clear()
        self.largest_batch = self.peak_resets = 0

    def device(self, named: object) -> torch.device | None:
        """The accelerator of this machine that an argument names, with its index; None for other devices."""
        if isinstance(named, int) and not isinstance(named, bool):
            named = torch.device(self.kind, named)
        if isinstance(named, str):
            named = torch.device(named)
        if not isinstance(named, torch.device) or named.type != self.kind:
            return None
        index = named.index or 0
        if index >= self.count:
            raise RuntimeError(f"CUDA error: invalid device ordinal {index}")
        return torch.device(self.kind, index)

    def require_dtype(self, dtype: torch.dtype) -> None:
        if self.kind == "mps" and dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )


class Event:
    """A pretended CUDA event, which occurs between its first and its second query, or when one after it is waited for."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._copies: list[tuple[Tensor, Tensor]] = []
        self._queries = 0

    def record(self, stream: object) -> None:
        self._copies, self._machine.queued = self._machine.queued, []
        self._machine.events.append(self)

    def query(self) -> bool:
        self._queries += 1
        return self._queries > 1 and self._occur()

    def synchronize(self) -> None:
        self._machine.syncs[_site()] += 1
        for event in self._machine.events:  # all in one queue
            event._queries = max(1, event._queries)

    def _occur(self) -> bool:
        for copy, values in self._copies:
            copy.copy_(values)
        return True


class OnDevice(Tensor):
    """A tensor that reports an accelerator; `held` has its values, on the CPU, with the same sizes and strides."""

    held: Tensor
    machine: Machine
    where: torch.device

    @staticmethod
    def __new__(cls, held: Tensor, machine: Machine, where: torch.device) -> OnDevice:
        machine.require_dtype(held.dtype)
        made: OnDevice = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=_CPU
        )
        made.held, made.machine, made.where = held, machine, where
        return made

    device = property(lambda self: self.where)
    is_cpu = property(lambda self: False)
    is_cuda = property(lambda self: self.where.type == "cuda")
    is_mps = property(lambda self: self.where.type == "mps")

    def __repr__(self, **_: object) -> str:
        return f"OnDevice({tuple(self.shape)}, {self.where})"

    def __deepcopy__(self, memo: dict[int, object]) -> OnDevice:
        made = OnDevice(self.held.detach().clone(), self.machine, self.where).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            made._is_param = True
        memo[id(self)] = made
        return made

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name: str = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        first = next(tensor for tensor in tensors if isinstance(tensor, OnDevice))
        machine, where = first.machine, first.where
        _require_one_device(name, tensors, where)
        _count(machine, name, args)
        if "device" in kwargs:  # what C++ believes this tensor's device to be
            kwargs["device"] = None
        held_args, held_kwargs = tree_map(_held, args), tree_map(_held, kwargs)
        found = _computed(func, name, held_args, held_kwargs, machine)
        written = _written_to(func, args, kwargs)
        if written is not None:
            assert written.shape == written.held.shape, f"{name} changed the shape of a tensor in place"
            return written
        return tree_map(lambda one: OnDevice(one, machine, where) if isinstance(one, Tensor) else one, found)


def _held(value: object) -> object:
    return value.held if isinstance(value, OnDevice) else value


def _written_to(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> OnDevice | None:
    """The tensor that an operation with an output argument, or an in-place one, returns."""
    for argument in ("out", "grad_input"):
        if isinstance(kwargs.get(argument), OnDevice):
            return kwargs[argument]
    in_place = func._schema.name.split("::")[1].endswith("_")
    return args[0] if in_place and args and isinstance(args[0], OnDevice) else None


def _require_one_device(name: str, tensors: Sequence[Tensor], where: torch.device) -> None:
    """Numbers as CPU tensors without dimensions may take part in everything.

    Raises:
        RuntimeError: two devices.
    """
    strangers = [one for one in tensors if one.device != where and (one.ndim > 0 or isinstance(one, OnDevice))]
    if not strangers or name in _ACCEPTS_OTHER_DEVICES:
        return
    # Gradient formulas in C++ make zeros on the device that C++ sees.
    in_backward = torch._C._current_graph_task_id() >= 0
    if in_backward and name in _ADDS_ZEROS and not any(bool(one.any()) for one in strangers):
        return
    devices = sorted({str(one.device) for one in tensors})
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but {name} at {_site()} got {' and '.join(devices)}"
    )


def _count(machine: Machine, name: str, args: tuple[Any, ...]) -> None:
    if name in _SYNCHRONISES:
        machine.syncs[_site()] += 1
    elif name == "copy_" and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
        (machine.uploads if isinstance(args[0], OnDevice) else machine.downloads)[_site()] += 1
    elif name in ("index", "index_put", "index_put_"):
        places = [one for one in tree_leaves(args[1]) if isinstance(one, Tensor)]
        if any(not isinstance(one, OnDevice) for one in places):
            machine.uploads[_site()] += 1
        if any(one.dtype == torch.bool for one in places):
            machine.syncs[_site()] += 1
    elif name == "convolution":
        machine.largest_batch = max(machine.largest_batch, len(args[0]))


def _computed(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], machine: Machine) -> Any:
    """What an operation returns for the held tensors, under the device's conditions."""
    if name in ("convolution", "convolution_backward"):
        return _convolved(func, name, args, machine)
    if name.startswith("native_group_norm") and args[0].ndim == 5:
        # Of video encoders only, and never called but by PyTorch's `group_norm`, which makes it contiguous on the device. Its
        # C++ sees the CPU here, and `_Mode` is not asked where a checkpoint computes a block again.
        args = tuple(one.contiguous() if isinstance(one, Tensor) else one for one in args)
    if name == "native_group_norm" and not args[0].is_contiguous():
        raise RuntimeError("Expected X.is_contiguous(memory_format) to be true, but got false.")
    if name == "native_group_norm_backward" and not (args[0].is_contiguous() and args[1].is_contiguous()):
        raise AssertionError(f"group norm reads dY and X as contiguous at {_site()}: its gradient would be wrong")
    found = func(*args, **kwargs)
    if name == "constant_pad_nd" and machine.breaks_padding_over is not None:
        return found.zero_() if found.shape[-1] > machine.breaks_padding_over else found
    return found


def _convolved(func: Any, name: str, args: tuple[Any, ...], machine: Machine) -> Any:
    """In the memory format of cuDNN (channels-last where input or weight is) or Metal (the input's). Half precision is
    computed in float32 and rounded, as on matrix units, because this CPU may take a hundred times as long."""
    if machine.failures:
        raise machine.failures.pop(0)
    image, weight = args[:2] if name == "convolution" else args[1:3]
    deciding = (image, weight) if machine.kind == "cuda" else (image,)
    last = image.ndim == 4 and any(_is_channels_last(one) for one in deciding)
    wide = tree_map(lambda one: one.float() if isinstance(one, Tensor) else one, args)

    def as_on_device(one: Tensor | None) -> Tensor | None:
        if one is None or one.ndim != 4:
            return None if one is None else one.to(image.dtype)
        return one.to(image.dtype).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    return tree_map(as_on_device, func(*wide))


def _is_channels_last(x: Tensor) -> bool:
    return torch._prims_common.suggest_memory_format(x) == torch.channels_last


class _Upload(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, machine: Machine, where: torch.device) -> Tensor:
        return OnDevice(x.detach(), machine, where)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        gradient = gradients[0]
        return gradient.held if isinstance(gradient, OnDevice) else gradient, None, None


class _Download(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: OnDevice) -> Tensor:
        ctx.machine, ctx.where = x.machine, x.where
        return x.held.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return OnDevice(gradients[0], ctx.machine, ctx.where)


class _Mode(TorchFunctionMode):
    """Catches what names a device or leaves PyTorch; everything else reaches `OnDevice.__torch_dispatch__`."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        subject = args[0] if args and isinstance(args[0], Tensor) else None
        if subject is not None and name in _MOVES:
            return _MOVES[name](self._machine, func, subject, args[1:], kwargs)
        if isinstance(subject, OnDevice) and name in _LEAVES:
            return _LEAVES[name](self._machine, func, subject, args[1:], kwargs)
        if isinstance(subject, OnDevice) and name == "group_norm":  # its C++ asks for the device that it sees
            return func(subject.contiguous(), *args[1:], **kwargs)
        if name == "tensor" and isinstance(args[0], list):  # it reads values, wherever they are
            args = ([one.item() if isinstance(one, OnDevice) else one for one in args[0]], *args[1:])
        if kwargs.get("device") is not None and name != "_parse_to":
            return self._made(func, name, args, kwargs)
        return func(*args, **kwargs)

    def _made(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A new tensor on a device that is named."""
        where = self._machine.device(kwargs["device"])
        if where is None:
            return func(*tree_map(_held, args), **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator.device != where:
            raise RuntimeError(
                f"Expected a '{where.type}' device type for generator but found '{generator.device.type}'"
            )
        self._machine.require_dtype(kwargs.get("dtype") or torch.float32)
        if name in ("tensor", "as_tensor"):
            if args and isinstance(args[0], OnDevice):
                return args[0]
            self._machine.uploads[_site()] += 1
        needs_gradient = kwargs.pop("requires_grad", False)
        made = func(*tree_map(_held, args), **{**kwargs, "device": _CPU})
        return OnDevice(made, self._machine, where).requires_grad_(needs_gradient)


def _to(machine: Machine, func: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for one in args:
        if isinstance(one, torch.dtype):
            dtype = one
        elif isinstance(one, Tensor):
            device, dtype = one.device, one.dtype
        elif isinstance(one, (torch.device, str)) or type(one) is int:
            device = one
    keep = {key: kwargs[key] for key in ("memory_format", "copy") if key in kwargs}
    if dtype is not None or keep:
        x = func(x, dtype=dtype or x.dtype, **keep)
    if isinstance(x, OnDevice) and kwargs.get("non_blocking") and torch.device(device).type == "cpu":
        copy = torch.full_like(x.held, -1)
        machine.queued.append((copy, x.held.detach().clone()))
        return copy
    return x if device is None else _moved(machine, x, device)


def _moved(machine: Machine, x: Tensor, device: object) -> Tensor:
    where = machine.device(device)
    if x.device == (where or torch.device(device)):
        return x
    if where is None and not isinstance(x, OnDevice):
        return x.to(device)
    if isinstance(x, OnDevice):
        machine.downloads[_site()] += 1
        x = _Download.apply(x)
    if where is None:
        return x
    machine.uploads[_site()] += 1
    return _Upload.apply(x, machine, where)


def _to_cpu(machine: Machine, func: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return _moved(machine, x, _CPU)


def _to_cuda(machine: Machine, func: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return _moved(machine, x, args[0] if args else "cuda")


def _to_numpy(machine: Machine, func: Any, x: OnDevice, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise TypeError(f"can't convert {x.where} device type tensor to numpy. Use Tensor.cpu() first.")


def _to_list(machine: Machine, func: Any, x: OnDevice, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    machine.syncs[_site()] += 1
    return x.held.tolist()


def _new_tensor(machine: Machine, func: Any, x: OnDevice, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Of `x`'s dtype, and on its device where no other is named."""
    where = machine.device(kwargs.pop("device", None) or x.where)
    made: Tensor = func(x.held, *args, **kwargs)
    if where is None:
        return made
    machine.uploads[_site()] += 1
    return OnDevice(made, machine, where)


_Caught = Callable[[Machine, Any, Any, tuple[Any, ...], dict[str, Any]], Any]
_MOVES: dict[str, _Caught] = {"to": _to, "cpu": _to_cpu, "cuda": _to_cuda}
_LEAVES: dict[str, _Caught] = {
    "numpy": _to_numpy,
    "__array__": _to_numpy,
    "tolist": _to_list,
    "new_tensor": _new_tensor,
}


def _site() -> str:
    """The innermost line of the project, this file apart."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and "site-packages" not in name and name.startswith(str(ROOT)):
            return f"{Path(name).relative_to(ROOT).as_posix()}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


def _generator_class(machine: Machine) -> type[torch.Generator]:
    """`torch.Generator` with devices of a machine; it draws on the CPU."""

    class Generator(torch.Generator):
        def __new__(cls, device: object = "cpu") -> Generator:
            return super().__new__(cls)

        def __init__(self, device: object = "cpu") -> None:
            self._device = machine.device(device) or _CPU

        device = property(lambda self: self._device)

    return Generator


@contextmanager
def pretending(kind: Literal["cuda", "mps"], *, count: int = 1) -> Iterator[Machine]:
    """A machine with accelerators for the time of a `with` block, in this thread.

    Args:
        count: accelerators; more than one exists for CUDA only.
    """
    machine = Machine(kind, count)
    replaced_parameters = torch.__future__.get_overwrite_module_params_on_conversion()
    for cached in (constant, jpeg._dct_tables, transforms._lanczos):  # they hold tensors of the machine before
        cached.cache_clear()
    with pytest.MonkeyPatch.context() as patch, _Mode(machine):
        for module, name, value in _answers(machine):
            patch.setattr(module, name, value)
        # `Module.to` assigns to the parameter's data otherwise, which a wrapper cannot take over.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield machine
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(replaced_parameters)


def _answers(machine: Machine) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """What PyTorch's functions about a device return on this machine."""

    def reset(*_: object) -> None:
        machine.peak_resets += 1

    yield torch, "Generator", _generator_class(machine)
    yield memory_efficient, "_has_triton", lambda: False  # its kernels need memory of the device
    yield torch.backends.mps, "is_available", lambda: machine.kind == "mps"
    yield torch.cuda, "is_available", lambda: machine.kind == "cuda"
    yield torch.cuda, "device_count", lambda: machine.count if machine.kind == "cuda" else 0
    if machine.kind == "mps":
        yield torch.mps, "driver_allocated_memory", lambda: PEAK_BYTES
        yield torch.mps, "empty_cache", reset
        yield torch.mps, "synchronize", lambda: None
        return
    yield torch.cuda, "Event", lambda: Event(machine)
    yield torch.cuda, "current_stream", lambda device=None: None
    yield torch.cuda, "current_device", lambda: 0
    yield torch.cuda, "get_device_capability", lambda device=None: (9, 0)
    yield torch.cuda, "get_device_name", lambda device=None: "pretended"
    yield torch.cuda, "mem_get_info", lambda device=None: (FREE_BYTES, FREE_BYTES)
    yield torch.cuda, "memory_allocated", lambda device=None: 0
    yield torch.cuda, "memory_reserved", lambda device=None: 0
    yield torch.cuda, "max_memory_allocated", lambda device=None: PEAK_BYTES
    yield torch.cuda, "reset_peak_memory_stats", reset
    yield torch.cuda, "empty_cache", lambda: None
    yield torch.cuda, "synchronize", lambda device=None: None
