"""Small tensors read from a device without waiting for its queue: a synchronisation at every step would leave it idle."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor


class Readback:
    """Copies numbers of every step to the host. On CUDA, a copy is queued behind the computation and returned by a later
    call, once its event has occurred. On other devices it is returned at once."""

    def __init__(self) -> None:
        self._queued: deque[tuple[int, Tensor, torch.cuda.Event]] = deque()

    def send(self, step: int, numbers: Tensor, *, wait: bool = False) -> list[tuple[int, Tensor]]:
        """Queue a copy. Returns the copies that have arrived since the last call, in order, each with its step.

        Args:
            numbers: a small tensor without gradient.
            wait: wait for all copies. The last call needs it.
        """
        if numbers.device.type != "cuda":
            return [(step, numbers)]
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._queued.append((step, numbers.to("cpu", non_blocking=True), event))  # PyTorch pins the memory of the copy
        event.record(torch.cuda.current_stream(numbers.device))
        if wait:
            event.synchronize()
        arrived = []
        while self._queued and self._queued[0][2].query():  # type: ignore[no-untyped-call]
            sent, copy, _ = self._queued.popleft()
            arrived.append((sent, copy))
        return arrived
