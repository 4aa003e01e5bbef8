"""The learning rate, over the run and over the network's layers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from melanoma_ray.config import ModelConfig, OptimizerConfig
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.training.schedule import build_optimizer, learning_rate


def test_the_learning_rate_warms_up_to_its_peak_and_decays_to_nothing() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup_fraction=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[9] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
    assert {learning_rate(step, 100, replace(config, schedule="constant")) for step in range(10, 100)} == {0.1}


def test_layer_decay_slows_each_layer_by_the_same_factor() -> None:
    classifier = build_classifier(ModelConfig(network="tf_efficientnet_lite0"), 3)
    optimizer = build_optimizer(classifier, OptimizerConfig(layer_decay=0.5, weight_decay=0.1))
    scale_of = {id(p): group["rate_scale"] for group in optimizer.param_groups for p in group["params"]}
    network = dict(classifier.network.named_parameters())
    assert len(scale_of) == len(network)
    assert scale_of[id(network["classifier.weight"])] == 1
    scales = sorted(set(scale_of.values()))
    assert all(later == 2 * earlier for earlier, later in itertools.pairwise(scales))
    assert scale_of[id(network["conv_stem.weight"])] == scales[0]
