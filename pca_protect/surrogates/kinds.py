"""Differences between the supported diffusers VAE classes, one row per class. Imports no torch and no diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Kind:
    """How the encoder of one diffusers class is applied to a picture.

    Attributes:
        has_variance: the encoder returns a diagonal Gaussian; False if it returns a point.
        takes_video: the encoder takes `(B, C, T, H, W)`; a picture is a video of one frame.
        causal: class name of its causal 3-D convolutions; empty if it has none.
        past: temporal padding of causal convolutions before the first frame: zeros, or copies of that frame.
        channels_key: configuration entry with the number of input channels: 3 is RGB, 4 is RGBA.
        patch_key: configuration entry with the side in pixels of the patches that the VAE folds into channels before its
            encoder; empty if the VAE does not.
        former_names: other naming scheme of published files, see `names`; empty if there is none. Files of other classes are
            not translated, since some use the same names with another meaning.
    """

    has_variance: bool = True
    takes_video: bool = False
    causal: str = ""
    past: Literal["zeros", "copies"] = "zeros"
    channels_key: str = "in_channels"
    patch_key: str = ""
    former_names: Literal["", "ldm", "wan", "taesd"] = ""

    def patch(self, config: dict[str, Any]) -> int:
        """Side in pixels of the patches folded into channels; 1 if there are none."""
        return int(config.get(self.patch_key) or 1)

    def channels(self, config: dict[str, Any]) -> int:
        """Colour channels of a picture, alpha included."""
        return int(config.get(self.channels_key) or 3) // self.patch(config) ** 2


KINDS: dict[str, Kind] = {
    "AutoencoderKL": Kind(former_names="ldm"),
    "AutoencoderKLFlux2": Kind(former_names="ldm"),
    "AutoencoderKLQwenImage": Kind(
        takes_video=True, causal="QwenImageCausalConv3d", channels_key="input_channels", former_names="wan"
    ),
    "AutoencoderKLQwenImage21": Kind(takes_video=True, patch_key="patch_size"),
    "AutoencoderKLWan": Kind(takes_video=True, causal="WanCausalConv3d", patch_key="patch_size", former_names="wan"),
    "AutoencoderKLHunyuanImage": Kind(),
    "AutoencoderKLHunyuanImageRefiner": Kind(takes_video=True, causal="HunyuanImageRefinerCausalConv3d", past="copies"),
    "AutoencoderKLHunyuanVideo": Kind(takes_video=True, causal="HunyuanVideoCausalConv3d", past="copies"),
    "AutoencoderKLHunyuanVideo15": Kind(takes_video=True, causal="HunyuanVideo15CausalConv3d", past="copies"),
    "AutoencoderKLLTXVideo": Kind(takes_video=True, causal="LTXVideoCausalConv3d", past="copies"),
    "AutoencoderKLKVAE": Kind(),
    "AutoencoderKLTemporalDecoder": Kind(former_names="ldm"),
    "AsymmetricAutoencoderKL": Kind(former_names="ldm"),
    "ConsistencyDecoderVAE": Kind(former_names="ldm", channels_key="encoder_in_channels"),
    "AutoencoderTiny": Kind(has_variance=False, former_names="taesd"),
    "AutoencoderDC": Kind(has_variance=False),
}
"""The supported diffusers classes, by name."""
