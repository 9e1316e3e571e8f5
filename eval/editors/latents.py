"""Edits of given latents in place of a picture's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
    editor: Editor, picture: Rgb, latents: Tensor, prompt: str, settings: EditSettings, *, seed: int, batch: int
) -> list[Rgb]:
    """Edits of a picture whose posterior means are replaced, one for each replacement, all with the same noise.

    Args:
        picture: `(size_px, size_px, 3)`; has no influence.
        latents: posterior means `(N, C, h, w)`, unscaled.
        batch: edits per call of the editor.

    Raises:
        the errors of `Editor.edit`.
    """
    edits: list[Rgb] = []
    for part in torch.split(latents, batch):
        with _encoding_to(editor, part):
            edits += editor.edit([picture] * len(part), prompt, settings, seeds=[seed] * len(part))
    return edits


@contextmanager
def _encoding_to(editor: Editor, latents: Tensor) -> Iterator[None]:
    """The editor's VAE encodes the next pictures to these latents. Pipelines encode a batch at once or one by one."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution  # noqa: PLC0415 - takes seconds
    from diffusers.models.modeling_outputs import AutoencoderKLOutput  # noqa: PLC0415

    vae, left = editor.pipeline.vae, latents

    def encode(pixels: Tensor, *arguments: object, **options: object) -> AutoencoderKLOutput:
        nonlocal left
        mean, left = left[: len(pixels)].to(pixels), left[len(pixels) :]
        assert len(mean) == len(pixels)
        moments = torch.cat([mean, torch.full_like(mean, _NO_VARIANCE)], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    vae.encode = encode
    try:
        yield
    finally:
        del vae.encode  # that of the class is visible again
