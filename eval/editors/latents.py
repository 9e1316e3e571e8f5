"""Edits of pictures that are given as latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pca_protect.errors import UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.pictures import Rgb

_NO_VARIANCE = -30.0
"""Log-variance to which diffusers clamps."""


def require_latents(editor: Editor) -> None:
    """Check that an editor sees a picture as the posterior of an `AutoencoderKL`.

    Raises:
        UsageError: it does not.
    """
    vae = type(editor.pipeline.vae).__name__
    if vae != "AutoencoderKL" or editor.kind not in ("img2img", "instruct"):
        raise UsageError(
            f"{editor.name}: an editor of kind `{editor.kind}` on {vae}; give one of kind `img2img` or `instruct` on "
            "AutoencoderKL"
        )


def edit_latents(
    editor: Editor, latents: Tensor, prompt: str, settings: EditSettings, *, seed: int, batch: int
) -> list[Rgb]:
    """Edits of pictures with given posterior means, all with the same noise.

    Args:
        latents: posterior means `(N, C, h, w)`, unscaled.
        batch: edits per call of the editor, at most 256.

    Raises:
        the errors of `Editor.edit`.
    """
    edits: list[Rgb] = []
    for part in torch.split(latents, batch):
        # Flat pictures: the level of each is the number of its latent, in whatever batches the editor encodes them.
        flat = [np.full((editor.size_px, editor.size_px, 3), number, np.uint8) for number in range(len(part))]
        with _encoding_to(editor, part):
            edits += editor.edit(flat, prompt, settings, seeds=[seed] * len(part))
    return edits


@contextmanager
def _encoding_to(editor: Editor, latents: Tensor) -> Iterator[None]:
    """The editor's VAE encodes a flat picture of level n to latent n."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution  # noqa: PLC0415 - takes seconds
    from diffusers.models.modeling_outputs import AutoencoderKLOutput  # noqa: PLC0415

    vae = editor.pipeline.vae

    def encode(pixels: Tensor, *arguments: object, **options: object) -> AutoencoderKLOutput:
        levels = (pixels.float().mean(dim=(1, 2, 3)) + 1) * 127.5
        mean = latents[levels.round().long().to(latents.device)].to(pixels)
        moments = torch.cat([mean, torch.full_like(mean, _NO_VARIANCE)], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    vae.encode = encode
    try:
        yield
    finally:
        del vae.encode  # that of the class is visible again
