from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from melanoma_ray.model.depthwise import DepthwiseConv2d, speed_up_depthwise


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize(("side", "stride"), [(3, 2), (5, 1), (5, 2), (7, 1), (7, 2), (4, 4)])
@pytest.mark.parametrize("height", [17, 20])
def test_gradients_are_those_of_torch(kind: type[nn.Conv2d], side: int, stride: int, height: int) -> None:
    torch.manual_seed(0)
    given = kind(8, 8, side, stride=stride, padding=0 if side == 4 else side // 2, groups=8)
    conv = DepthwiseConv2d(given)
    image = torch.randn(2, 8, height, 19).contiguous(memory_format=torch.channels_last)
    found = []
    for module in (given, conv):
        seen = image.clone().requires_grad_()
        convolved = module(seen)
        total = (convolved * torch.linspace(-1, 1, convolved.numel()).view(convolved.shape)).sum()
        found.append([convolved.detach(), *torch.autograd.grad(total, [seen, *given.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_network_keeps_its_names_weights_and_answers() -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    before, image = copy.deepcopy(network), torch.randn(1, 3, 64, 64)
    speed_up_depthwise(network)
    replaced = [module for module in network.modules() if isinstance(module, DepthwiseConv2d)]
    assert len(replaced) == 11  # of 16: those with a stride or a 5×5 filter
    assert list(network.state_dict()) == list(before.state_dict())
    assert {id(p) for p in network.parameters()} >= {id(module.weight) for module in replaced}
    with torch.inference_mode():
        torch.testing.assert_close(network(image), before(image), rtol=1e-4, atol=1e-4)


def test_frozen_and_full_convolutions_are_left_alone() -> None:
    frozen = nn.Conv2d(8, 8, 5, groups=8)
    frozen.requires_grad_(requires_grad=False)
    network = nn.Sequential(frozen, nn.Conv2d(8, 8, 5), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 5, groups=8))
    speed_up_depthwise(network)
    assert not any(isinstance(module, DepthwiseConv2d) for module in network)


def test_bf16_gradients_differ_by_rounding_alone() -> None:
    torch.manual_seed(0)
    given = nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, bias=False)
    image = torch.randn(4, 8, 28, 28).contiguous(memory_format=torch.channels_last)
    gradients: list[torch.Tensor] = []
    for module, is_on in ((given, False), (DepthwiseConv2d(given), True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_on):
            convolved = module(image)
        assert convolved.dtype == (torch.bfloat16 if is_on else torch.float32)
        gradients += torch.autograd.grad(convolved.float().square().sum(), given.weight)
    assert (gradients[0] - gradients[1]).norm() < 0.01 * gradients[0].norm()
