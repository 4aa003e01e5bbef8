"""The networks: their size, what they start from, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from melanoma_ray.config import ModelConfig
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.errors import ConfigError
from melanoma_ray.model.networks import build_classifier, num_parameters
from melanoma_ray.patients import NUM_FEATURES
from melanoma_ray.recipes import baseline, lite0
from tests.crops import draw_crops


def test_the_baseline_has_the_seed_s_number_of_parameters() -> None:
    assert num_parameters(build_classifier(baseline().model, len(DIAGNOSES))) == 3_989_801


def test_lite0_starts_from_imagenet_weights_and_frozen_stages_stay_as_they_are() -> None:
    config = replace(lite0().model, num_frozen_stages=3)
    classifier, other = build_classifier(config, 9), build_classifier(config, 7)
    first, second = (model.get_parameter("network.conv_stem.weight") for model in (classifier, other))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert classifier.get_parameter("network.classifier.weight").requires_grad
    mean = classifier.get_buffer("network.bn1.running_mean")
    before = mean.clone()
    classifier.train()(torch.from_numpy(draw_crops(2, 180)))
    assert torch.equal(before, mean)


def test_any_network_of_timm_s_is_built_by_name_and_an_unknown_one_is_refused() -> None:
    classifier = build_classifier(ModelConfig(network="resnet18", image_side=64), 4)
    assert classifier(torch.from_numpy(draw_crops(2))).shape == (2, 4)
    with pytest.raises(ConfigError, match=r"model\.network='resnet0815'"):
        build_classifier(ModelConfig(network="resnet0815"), 4)


def test_at_first_the_image_alone_decides() -> None:
    classifier = build_classifier(ModelConfig(image_side=64, uses_metadata=True), 3).eval()
    pixels = torch.from_numpy(draw_crops(2))
    with torch.inference_mode():
        torch.testing.assert_close(classifier(pixels), classifier(pixels, torch.ones(2, NUM_FEATURES)))
