"""Cross-entropy, weighted by how rare a diagnosis is."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from melanoma_ray.config import LossConfig


def class_weights(num_images: Int[np.ndarray, " diagnosis"], config: LossConfig) -> Float[np.ndarray, " diagnosis"]:
    """Return one weight a diagnosis, with a mean of 1 over the training images.

    Args:
        num_images: Of the train split, by diagnosis; a diagnosis without any gets weight 0.
        config: none, sqrt (1/√n) or balanced (1/n).
    """
    exponent = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[config.class_weighting]
    counts = num_images.astype(float)
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -exponent, 0.0)
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float64)


def weighted_cross_entropy(
    logits: Float[Tensor, "image diagnosis"],
    target: Int[Tensor, " image"],
    weights: Float[Tensor, " diagnosis"],
    label_smoothing: float,
) -> Float[Tensor, " image"]:
    """Return the loss of each image: its weight times its cross-entropy.

    Unlike torch's weighted mean, the scale doesn't depend on who else is in the batch, so gradients
    averaged over workers equal those of one worker with the whole batch.
    """
    losses = functional.cross_entropy(logits, target, reduction="none", label_smoothing=label_smoothing)
    return torch.as_tensor(losses * weights[target])
