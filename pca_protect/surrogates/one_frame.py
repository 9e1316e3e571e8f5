"""Video encoders on a single picture: replaces causal 3-D convolutions by 2-D convolutions.

A causal convolution pads time on the left: its last tap falls on the first frame, the others on padding. For a single frame it
equals a 2-D convolution, whose weight is the last temporal slice if the padding is zeros, and the sum of all slices if the
padding repeats the frame. This takes a third of the operations of a 3x3x3 kernel. Values differ by rounding only.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from pca_protect.surrogates.kinds import Kind

_MASK = "prepare_causal_attention_mask"

_Mode = Literal["zeros", "reflect", "replicate", "circular"]


class FrameConvolution(nn.Conv2d):
    """A causal convolution over identical frames `(B, C, T, H, W)`, as a picture has them."""

    time_stride = 1

    def forward(self, frames: Tensor) -> Tensor:
        """`(B, C', ceil(T / time_stride), H', W')`."""
        count = frames.shape[2]
        frame: Tensor = super().forward(frames.squeeze(2) if count == 1 else frames[:, :, 0]).unsqueeze(2)
        return frame if count == 1 else frame.expand(-1, -1, -(-count // self.time_stride), -1, -1)


def over_one_frame(encoder: nn.Module, kind: Kind) -> None:
    """Replace temporal convolutions of a video encoder in place: causal ones, and 3-D ones with one tap in time. Others, and
    those whose padding is not the kind's, stay unchanged. Summed weights are float32: cast the encoder afterwards."""
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
    """Replaces HunyuanVideo 1.5's attention mask, which hides later frames: a picture has none. The mask, zeros
    `(B, H * W, H * W)`, does not broadcast for more than one picture (diffusers 0.42)."""


def _over_zeros(module: nn.Module) -> FrameConvolution | None:
    """Wan and Qwen-Image: a subclass of `nn.Conv3d` with its own zero padding of space and time, `_padding`, in the order of
    `F.pad`. None for temporal downsampling, which a single frame never reaches."""
    convolution = cast(nn.Conv3d, module)
    left, right, top, bottom, before, after = cast(tuple[int, ...], module._padding)
    if (before, after) != (convolution.kernel_size[0] - 1, 0) or (left, top) != (right, bottom):
        return None
    return _flat(convolution, convolution.weight[:, :, -1], padding=(top, left), mode="zeros")


def _over_copies(module: nn.Module) -> FrameConvolution | None:
    """HunyuanVideo's family and LTX-Video: a module that repeats the first frame before an `nn.Conv3d`. HunyuanVideo also
    replicates spatial borders; LTX-Video leaves spatial padding to the convolution."""
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
    """2-D convolution with a weight `(C', C, kh, kw)`; `requires_grad` and training mode are those of the 3-D convolution."""
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
