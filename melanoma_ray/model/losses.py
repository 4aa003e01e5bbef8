"""Cross-entropy, weighted or shifted by how rare a diagnosis is."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from melanoma_ray.config import LossConfig

_EFFECTIVE_BETA = 0.999


def class_weights(num_images: Int[np.ndarray, " diagnosis"], config: LossConfig) -> Float[np.ndarray, " diagnosis"]:
    """Return one weight a diagnosis, with a mean of 1 over the training images.

    Args:
        num_images: Of the train split, by diagnosis; a diagnosis without any gets weight 0.
        config: Its class_weighting.
    """
    counts = num_images.astype(float)
    present = np.maximum(counts, 1.0)
    inverse = {
        "none": np.ones_like(present),
        "sqrt": np.sqrt(present),
        "balanced": present,
        "effective": (1 - _EFFECTIVE_BETA**present) / (1 - _EFFECTIVE_BETA),
    }[config.class_weighting]
    weights = np.where(counts > 0, 1 / inverse, 0.0)
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float64)


def logit_offsets(
    num_images: Int[np.ndarray, " diagnosis"], sampling_exponent: float, config: LossConfig
) -> Float[np.ndarray, " diagnosis"]:
    """Return what is added to each logit before the loss is taken.

    Args:
        num_images: Of the train split, by diagnosis; one without any counts as one of a single image.
        sampling_exponent: One of ``SAMPLING_EXPONENTS``.
        config: Its logit_adjustment.
    """
    num_shown = np.maximum(num_images, 1.0) ** (1.0 + sampling_exponent)
    return np.asarray(config.logit_adjustment * np.log(num_shown / num_shown.sum()), np.float64)


def weighted_cross_entropy(
    logits: Float[Tensor, "image diagnosis"],
    target: Int[Tensor, " image"],
    weights: Float[Tensor, " diagnosis"],
    offsets: Float[Tensor, " diagnosis"],
    config: LossConfig,
) -> Float[Tensor, " image"]:
    """Return the loss of each image: its weight times its cross-entropy, or its focal loss.

    Unlike torch's weighted mean, the scale doesn't depend on who else is in the batch, so gradients
    averaged over workers equal those of one worker with the whole batch.

    Args:
        logits: Of the network.
        target: Index of the diagnosis.
        weights: From ``class_weights``.
        offsets: From ``logit_offsets``. Label smoothing spreads its share as they do: spread evenly, it would teach
            that the rarest diagnoses are likelier than their share, and adjusted logits would answer with these.
        config: Its label_smoothing and focal_gamma.
    """
    logits = logits + offsets
    wanted = functional.one_hot(target, len(offsets)) * (1 - config.label_smoothing)
    wanted = wanted + config.label_smoothing * offsets.softmax(dim=0)
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    if config.focal_gamma:
        missing = 1 - logits.softmax(dim=1).gather(1, target[:, None])[:, 0]
        losses = missing.clamp_min(1e-6) ** config.focal_gamma * losses  # the root of 0 has no gradient
    return torch.as_tensor(losses * weights[target])
