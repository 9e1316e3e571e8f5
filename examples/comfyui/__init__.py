"""A ComfyUI node that protects images.

Copy this folder to `ComfyUI/custom_nodes/pca_protect_node` and install `pca-protect` into ComfyUI's Python environment. The node
"Protect against editing" is in the category `image`. Save its result as PNG with ComfyUI's "Save Image".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pca_protect import ProtectConfig, load_surrogate, protect
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS
from pca_protect.surrogates.encoder import Surrogate

_ROUNDING = 0.01
"""Added to 8-bit levels: ComfyUI saves `255 * value` truncated, and `k / 255 * 255` may fall below `k`."""


class ProtectAgainstEditing:
    """IMAGE to IMAGE: `(B, H, W, 3)` in [0, 1], within the budget after ComfyUI has saved it with 8 bits."""

    CATEGORY = "image"
    FUNCTION = "protect"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "summary")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[Any, ...]]]:  # noqa: N802 - ComfyUI's name
        return {
            "required": {
                "image": ("IMAGE",),
                "vae": ("STRING", {"default": "sd", "tooltip": "a name from `pca-protect vaes`, a hub id or a file"}),
                "mode": (list(MODES), {"default": ProtectConfig.mode}),
                "preset": (list(PRESETS), {"default": ProtectConfig.preset}),
                "budget_levels": ("INT", {"default": ProtectConfig.budget_levels, "min": 1, "max": 255}),
            },
            "optional": {"mask": ("MASK",)},
        }

    def protect(
        self, image: Tensor, vae: str, mode: str, preset: str, budget_levels: int, mask: Tensor | None = None
    ) -> tuple[Tensor, str]:
        """Protect a batch.

        Args:
            mask: `(B, H, W)` or `(1, H, W)`, 1 where the image may change.

        Returns:
            The images and a line of text for each.
        """
        config = ProtectConfig(mode=mode, preset=preset, budget_levels=budget_levels)
        protected, lines = [], []
        for number, pixels in enumerate(image):
            editable = None if mask is None else mask[number % len(mask)].cpu().numpy() >= 0.5
            levels = (255 * pixels[..., :3]).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
            result = protect(levels, config, surrogate=_surrogate(vae), mask=editable)
            protected.append(torch.from_numpy(result.picture.rgb).float().add(_ROUNDING).div(255).clamp(max=1))
            record = result.record
            lines.append(
                f"largest change {record.max_change_levels} levels, visibility {record.visible_levels:.2g} levels, "
                f"latent shift {record.gain_over_noise:.2g} times that of random noise"
            )
        return torch.stack(protected), "\n".join(lines)


@lru_cache(maxsize=1)
def _surrogate(vae: str) -> Surrogate:
    return load_surrogate(vae)


NODE_CLASS_MAPPINGS = {"PcaProtect": ProtectAgainstEditing}
NODE_DISPLAY_NAME_MAPPINGS = {"PcaProtect": "Protect against editing"}
