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
    """Return a weight for each diagnosis, with a mean of 1 over the training images.

    Args:
        num_images: Number of images of the train split by diagnosis; a diagnosis without images gets weight 0.
        config: Settings with ``class_weighting``.
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
    """Return the offsets that are added to the logits before the loss is computed (arXiv:2007.07314).

    Args:
        num_images: Number of images of the train split by diagnosis; a diagnosis without images counts as one image.
        sampling_exponent: One of ``SAMPLING_EXPONENTS``.
        config: Settings with ``logit_adjustment``.
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
    """Return the loss of each image: its weight times its cross-entropy or focal loss.

    Unlike in torch's weighted mean, the scale doesn't depend on the other images of the batch, so gradients averaged
    over workers equal those of one worker with the whole batch.

    Args:
        logits: Logits of the network.
        target: Target of each image.
        weights: Weights from ``class_weights``.
        offsets: Offsets from ``logit_offsets``. Label smoothing distributes its share in proportion to their softmax:
            distributed evenly, it would make rare diagnoses likelier than their share, and with adjusted logits the
            network would predict them too often.
        config: Settings with ``label_smoothing`` and ``focal_gamma``.
    """
    logits = logits + offsets
    wanted = functional.one_hot(target, len(offsets)) * (1 - config.label_smoothing)
    wanted = wanted + config.label_smoothing * offsets.softmax(dim=0)
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    if config.focal_gamma:
        missing = 1 - logits.softmax(dim=1).gather(1, target[:, None])[:, 0]
        losses = missing.clamp_min(1e-6) ** config.focal_gamma * losses  # with γ < 1 the gradient at 0 is infinite
    return torch.as_tensor(losses * weights[target])
