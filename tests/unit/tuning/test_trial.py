"""What a trial needs besides its training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from melanoma_ray.model.networks import build_classifier
from melanoma_ray.recipes import baseline
from melanoma_ray.tuning.trial import measure_latency


class Counting(nn.Module):
    """A network that counts the images it is asked about, by their side."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        assert not self.training
        assert len(pixels) == 1
        self.sides.append(pixels.shape[1])
        return torch.zeros(1)


def test_the_time_of_an_image_includes_all_of_its_views() -> None:
    model = replace(baseline().model, image_side=64)
    one, four = Counting(), Counting()
    measure_latency(one, model)
    measure_latency(four, replace(model, num_views=4))
    assert set(one.sides) == set(four.sides) == {64}
    assert len(four.sides) == 4 * len(one.sides)


def test_an_image_takes_milliseconds() -> None:
    model = replace(baseline().model, image_side=64)
    assert 0.01 < measure_latency(build_classifier(model, 9), model) < 10_000
