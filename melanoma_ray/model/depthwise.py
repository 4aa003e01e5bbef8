"""Fast gradients of depthwise convolutions in bf16 on CPUs, where oneDNN's own are slow for some shapes.

They are composed of operations that are fast: the gradient of a strided convolution's input is a convolution of the
output's gradient, spread with zeros, with the flipped filter; and the gradient of a filter larger than 3×3 is computed
in tiles of 3×3. The sums are the same, in another order. EfficientNet-Lite0 trains twice as fast
(``python -m benchmarks.depthwise``).
"""

from __future__ import annotations

from itertools import product
from typing import Any, cast

import torch
from jaxtyping import Float
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional

_TILE = 3
"""Side of the largest filter whose gradient oneDNN computes fast."""


def speed_up_depthwise(network: nn.Module) -> None:
    """Replace, in place, the trainable depthwise convolutions whose gradients are slow in bf16 on a CPU."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d) and _is_slow(module):
            network.set_submodule(name, DepthwiseConv2d(module))


def _is_slow(conv: nn.Conv2d) -> bool:
    side, stride = conv.kernel_size[0], conv.stride[0]
    is_depthwise = 1 < conv.groups == conv.in_channels == conv.out_channels
    is_square = conv.kernel_size == (side, side) and conv.stride == (stride, stride) and conv.dilation == (1, 1)
    is_padded_by_zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    is_handled = is_depthwise and is_square and is_padded_by_zeros and side >= _TILE
    return is_handled and conv.weight.requires_grad and (stride > 1 or side > _TILE)


class DepthwiseConv2d(nn.Module):
    """A depthwise convolution that replaces another one; its parameters and their names are those of the other."""

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take over the parameters of ``conv``."""
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = conv.stride[0], cast("tuple[int, int]", conv.padding)
        self.is_same = isinstance(conv, Conv2dSame)
        """Whether it is padded as in TensorFlow, where padding depends on the image's side."""

    def forward(
        self, image: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image channel rows columns"]:
        """Return the convolved image, in autocast's number format where that is on."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else image.dtype
        image, weight = image.to(dtype), self.weight.to(dtype)
        if self.is_same:
            image = pad_same(image, list(weight.shape[2:]), [self.stride, self.stride])
        else:
            rows, columns = self.padding
            image = functional.pad(image, (columns, columns, rows, rows))
        with torch.autocast("cpu", enabled=False):
            convolved = cast("Tensor", _Convolution.apply(image, weight, self.stride))
        return convolved if self.bias is None else convolved + self.bias.to(dtype)[:, None, None]


class _Convolution(torch.autograd.Function):
    """Depthwise convolution of an image that is padded already, with the gradients of this module."""

    @staticmethod
    def forward(context: Any, image: Tensor, weight: Tensor, stride: int) -> Tensor:  # noqa: ANN401
        context.save_for_backward(image, weight)
        context.stride = stride
        return functional.conv2d(image, weight, stride=stride, groups=len(weight))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # noqa: ANN401
        image, weight = context.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        needs_image, needs_weight, _ = context.needs_input_grad
        return (
            _image_gradient(gradient, image, weight, context.stride) if needs_image else None,
            _weight_gradient(gradient, image, weight, context.stride) if needs_weight else None,
            None,
        )


def _image_gradient(gradient: Tensor, image: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of the input.

    Output pixel y adds its gradient, times the filter, to the input pixels around y·stride. So the output's gradient
    is spread to a distance of ``stride`` with zeros in between, and convolved with the flipped filter over all places
    where the two overlap at all (padding of one less than the filter's side).
    """
    if stride > 1:
        sides = [(side - 1) * stride + 1 for side in gradient.shape[2:]]
        spread = torch.zeros((len(gradient), *sides, len(weight)), dtype=gradient.dtype).permute(0, 3, 1, 2)
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    found = functional.conv2d(gradient, weight.flip(2, 3), padding=weight.shape[-1] - 1, groups=len(weight))
    # Rows and columns at the end that the strided filter never reached have no gradient.
    missing = [whole - part for whole, part in zip(image.shape[2:], found.shape[2:], strict=True)]
    return functional.pad(found, (0, missing[1], 0, missing[0])) if any(missing) else found


def _weight_gradient(gradient: Tensor, image: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of the filter, tile by tile.

    A 3×3 tile of the filter, ``top`` and ``left`` from its corner, is itself a filter that sees the image shifted by
    (top, left); so its gradient is that of a 3×3 convolution of the shifted image.
    """
    side = weight.shape[-1]
    height, width = ((length - 1) * stride + _TILE for length in gradient.shape[2:])
    starts = [*range(0, side - _TILE, _TILE), side - _TILE]  # the last tile may overlap the one before: same values
    found = torch.empty_like(weight)
    for top, left in product(starts, starts):
        seen = image[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
        tile = (slice(None), slice(None), slice(top, top + _TILE), slice(left, left + _TILE))
        _, of_tile, _ = torch.ops.aten.convolution_backward(
            gradient,
            seen,
            weight[tile],  # only its shape matters here
            bias_sizes=None,
            stride=[stride, stride],
            padding=[0, 0],
            dilation=[1, 1],
            transposed=False,
            output_padding=[0, 0],
            groups=len(weight),
            output_mask=[False, True, False],
        )
        found[tile] = of_tile
    return found
