"""AdamW, and its learning rate as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from melanoma_ray.config import OptimizerConfig
from melanoma_ray.model.networks import Classifier


def learning_rate(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of a step: linear warm-up to the peak, then cosine decay or constant.

    Args:
        step: Number of the step, from 0.
        num_steps: Number of steps of the whole run.
        config: Peak, warm-up and schedule.
    """
    num_warmup = round(config.warmup_fraction * num_steps)
    if step < num_warmup:
        return config.learning_rate * (step + 1) / num_warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(classifier: Classifier, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return AdamW over the trainable weights, with weight decay for matrices and filters only.

    Each parameter group has ``rate_scale``, the factor of its learning rate.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, scale in layer_scales(classifier, config.layer_decay):
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "rate_scale": scale}
            for (scale, decay), parameters in groups.items()
        ],
        lr=config.learning_rate,
        fused=True,
    )


def layer_scales(classifier: Classifier, layer_decay: float) -> list[tuple[nn.Parameter, float]]:
    """Return each parameter with the factor of its learning rate: 1 in the last layer, smaller in earlier ones."""
    layers = {f"network.{name}": depth for name, depth in classifier.layers().items()} if layer_decay < 1 else {}
    last = max(layers.values(), default=0)
    return [
        (parameter, layer_decay ** (last - layers.get(name, last))) for name, parameter in classifier.named_parameters()
    ]
