"""Encoders of videos on a picture: causal 3-D convolutions over a single frame as 2-D convolutions.

A causal convolution pads time on the left, so that its last tap falls on the first frame and the others on padding. Over one
frame it is a 2-D convolution: with the weight's last slice in time if the padding is zeros, with the sum of all slices
if the padding repeats the frame. A 3x3x3 kernel then takes a third of the operations. Values differ by rounding alone.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from pca_protect.surrogates.kinds import Kind

_MASK = "prepare_causal_attention_mask"

_Mode = Literal["zeros", "reflect", "replicate", "circular"]


class FrameConvolution(nn.Conv2d):
    """A causal convolution over frames `(B, C, T, H, W)` that are equal to each other, as they are for a picture."""

    time_stride = 1

    def forward(self, frames: Tensor) -> Tensor:
        """`(B, C', ceil(T / time_stride), H', W')`."""
        count = frames.shape[2]
        found: Tensor = super().forward(frames.squeeze(2) if count == 1 else frames[:, :, 0]).unsqueeze(2)
        return found if count == 1 else found.expand(-1, -1, -(-count // self.time_stride), -1, -1)


def over_one_frame(encoder: nn.Module, kind: Kind) -> None:
    """Replace in place the convolutions over time of a video encoder of this kind: the causal ones, and 3-D ones that see
    one frame only. A convolution that is not causal, or not padded as the kind's are, stays as it is. Sums of slices are
    float32 whatever the weights are: cast the encoder afterwards."""
    if not kind.takes_video:
        return
    if hasattr(encoder, _MASK):
        setattr(encoder, _MASK, _no_mask)
    for name, module in list(encoder.named_children()):
        flat = None
        if type(module).__name__ == kind.causal:
            flat = _over_zeros(module) if kind.past == "zeros" else _over_copies(module)
        elif type(module) is nn.Conv3d:
            flat = _pointwise(module)
        if flat is None:
            over_one_frame(module, kind)
        else:
            setattr(encoder, name, flat)


def _no_mask(*size: object, **like: object) -> None:
    """HunyuanVideo 1.5 hides later frames from attention; there are none. Its mask, zeros `(B, H * W, H * W)`, does not
    broadcast for more than one picture (diffusers 0.42)."""


def _over_zeros(module: nn.Module) -> FrameConvolution | None:
    """Wan and Qwen-Image: a subclass of `nn.Conv3d` that pads space and time with zeros by itself, as `_padding` says in the
    order of `F.pad`. None if it does not return a first frame from one frame: the temporal down-sampling, which a single
    frame never reaches."""
    convolution = cast(nn.Conv3d, module)
    left, right, top, bottom, before, after = cast(tuple[int, ...], module._padding)
    if (before, after) != (convolution.kernel_size[0] - 1, 0) or (left, top) != (right, bottom):
        return None
    return _flat(convolution, convolution.weight[:, :, -1], padding=(top, left), mode="zeros")


def _over_copies(module: nn.Module) -> FrameConvolution | None:
    """HunyuanVideo and its relatives, LTX-Video: a module around an `nn.Conv3d` that repeats the first frame. HunyuanVideo
    repeats the edges in space too; LTX-Video leaves space to its convolution."""
    convolution = cast(nn.Conv3d, module.conv)
    padding, mode = cast(tuple[int, ...], convolution.padding), convolution.padding_mode
    if hasattr(module, "time_causal_padding"):
        left, right, top, bottom, before, after = cast(tuple[int, ...], module.time_causal_padding)
        if any(padding) or (before, after) != (convolution.kernel_size[0] - 1, 0) or (left, top) != (right, bottom):
            return None
        padding, mode = (0, top, left), cast(_Mode, module.pad_mode)
    if padding[0] or convolution.dilation[0] != 1 or mode not in ("zeros", "replicate"):
        return None
    weight = convolution.weight
    summed = weight if weight.shape[2] == 1 else weight.sum(dim=2, keepdim=True, dtype=torch.float32)
    return _flat(convolution, summed[:, :, 0], padding=(padding[1], padding[2]), mode=mode)


def _pointwise(convolution: nn.Conv3d) -> FrameConvolution | None:
    """A plain 3-D convolution with one tap in time."""
    padding = convolution.padding
    if isinstance(padding, str) or (convolution.kernel_size[0], padding[0]) != (1, 0):
        return None
    return _flat(
        convolution, convolution.weight[:, :, 0], padding=(padding[1], padding[2]), mode=convolution.padding_mode
    )


def _flat(convolution: nn.Conv3d, weight: Tensor, *, padding: tuple[int, int], mode: _Mode) -> FrameConvolution:
    """With this weight `(C', C, kh, kw)`, as frozen and in the same mode as the 3-D convolution."""
    flat = FrameConvolution(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel_size[1], convolution.kernel_size[2]),
        stride=(convolution.stride[1], convolution.stride[2]),
        padding=padding,
        dilation=(convolution.dilation[1], convolution.dilation[2]),
        groups=convolution.groups,
        bias=convolution.bias is not None,
        padding_mode=mode,
        device="meta",
    )
    flat.time_stride = convolution.stride[0]
    flat.weight = nn.Parameter(weight.detach().clone(), requires_grad=convolution.weight.requires_grad)
    if convolution.bias is not None:
        flat.bias = convolution.bias
    return flat.train(convolution.training)
