"""AdamW, and its learning rate as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from melanoma_ray.config import OptimizerConfig


def learning_rate(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Return the rate of a step, counted from 0: linear warm-up to the peak, then cosine or constant."""
    num_warmup = round(config.warmup_fraction * num_steps)
    if step < num_warmup:
        return config.learning_rate * (step + 1) / num_warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(classifier: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build AdamW over the trainable weights; only matrices and filters decay."""
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
