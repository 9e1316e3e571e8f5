"""Posterior of whole pictures, as editors see them, or window by window where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch

from pca_protect.attack.posterior import Posterior, concatenate
from pca_protect.device import empty_cache, is_out_of_memory
from pca_protect.image.tensors import Uint8Image, to_tensor
from pca_protect.image.tiling import Window, window_grid, windows
from pca_protect.surrogates.encoder import Surrogate


@torch.no_grad()
def whole_posterior(
    pictures: Sequence[Uint8Image],
    surrogate: Surrogate,
    *,
    tile_px: int | None,
    at_once: int,
    on_window: Callable[[], None] | None = None,
) -> Posterior:
    """Posterior of whole pictures, computed whole or window by window. Each latent position comes from the window that keeps
    it.

    Args:
        pictures: of one size, `(H, W, 3)` each.
        tile_px: longest side of a window, in pixels; None is one window.
        at_once: batch size.
        on_window: called before each window is encoded; an exception from it ends the work.

    Returns:
        Moments `(B, C, h, w)` in float32, on the encoder's device.
    """
    rows = []
    for _, row in groupby(_windows_of(pictures[0].shape[:2], surrogate, tile_px), key=lambda window: window.rows):
        parts = []
        for window in row:
            if on_window is not None:
                on_window()
            parts.append(_kept_moments(pictures, window, surrogate, at_once))
        rows.append(concatenate(parts, dim=-1))
    return concatenate(rows, dim=-2)


def window_count(size: tuple[int, int], surrogate: Surrogate, tile_px: int | None) -> int:
    """Number of windows of pictures of a size."""
    return len(_windows_of(size, surrogate, tile_px))


def _windows_of(size: tuple[int, ...], surrogate: Surrogate, tile_px: int | None) -> list[Window]:
    return windows(size[0], size[1], tile_px=tile_px or max(size), grid_px=window_grid([surrogate.multiple]))


def _kept_moments(pictures: Sequence[Uint8Image], window: Window, surrogate: Surrogate, at_once: int) -> Posterior:
    parts = [levels[window.seen] for levels in pictures]
    posterior = _posterior(parts, surrogate, at_once)
    rows, columns = (
        _positions(side, side_px, length, surrogate.multiple)
        for side, side_px, length in zip(
            window.kept_of_seen, parts[0].shape[:2], posterior.mean.shape[-2:], strict=True
        )
    )
    place = (..., rows, columns)
    logvar = posterior.logvar
    return Posterior(posterior.mean[place], None if logvar is None else logvar[place])


def _positions(kept: slice, side_px: int, latent_length: int, multiple: int) -> slice:
    """Latent positions of the kept pixels along one axis of a window."""
    position_px = -(-side_px // multiple) * multiple // latent_length
    return slice(kept.start // position_px, -(-kept.stop // position_px))


def _posterior(pictures: Sequence[Uint8Image], surrogate: Surrogate, at_once: int) -> Posterior:
    """Encode in batches; one by one if the device runs out of memory."""
    batches = [pictures[start : start + at_once] for start in range(0, len(pictures), at_once)]
    try:
        return concatenate([surrogate.posterior(to_tensor(batch, surrogate.device)) for batch in batches])
    except RuntimeError as error:
        if at_once == 1 or not is_out_of_memory(error):
            raise
    empty_cache(surrogate.device)
    return _posterior(pictures, surrogate, 1)
