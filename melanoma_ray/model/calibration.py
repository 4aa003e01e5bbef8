"""Calibration, fitted on the validation split at the end of training: the temperature and the two thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from melanoma_ray.config import DecisionConfig
from melanoma_ray.errors import DataError
from melanoma_ray.metrics.thresholds import threshold_at_sensitivity

Logits = Float[np.ndarray, "image diagnosis"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The numbers by which logits become probabilities and decisions."""

    temperature: float
    """Number that logits are divided by, more than 0 (Guo 2017, arXiv:1706.04599)."""
    decision_threshold: float
    """Probability of melanoma (or of a malignant diagnosis, if none is melanoma) from which an image is referred."""
    out_of_distribution_threshold: float
    """Energy above which an image is out of distribution (Liu 2020, arXiv:2010.03759)."""
    num_validation_images: int
    """Number of images that all of this was fitted on."""
    num_validation_melanomas: int
    """Number of these images that must be referred: melanomas, or malignant ones where no diagnosis is melanoma."""


def calibrated_probability(logits: Logits, temperature: float) -> Logits:
    """Return the softmax of the logits divided by the temperature."""
    return np.asarray(softmax(logits.astype(np.float64) / temperature, axis=1), np.float32)


def energy(logits: Logits) -> Float[np.ndarray, " image"]:
    """Return minus the log-sum-exp of the logits, which is high where no diagnosis has a high logit."""
    return np.asarray(-logsumexp(logits.astype(np.float64), axis=1), np.float32)


def fit_temperature(logits: Logits, target: Int[np.ndarray, " image"]) -> float:
    """Return the temperature in [0.05, 20] that minimises the negative log-likelihood.

    Args:
        logits: Logits of the images.
        target: Target of each image.
    """
    rows = np.arange(len(target))

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        return float(-log_softmax(scaled, axis=1)[rows, target].mean())

    found = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def fit_calibration(
    logits: Logits, target: Int[np.ndarray, " image"], *, referred: Sequence[int], config: DecisionConfig
) -> Calibration:
    """Fit the temperature, the decision threshold on the probabilities that it gives, and the energy threshold.

    Args:
        logits: Logits of the validation split.
        target: Target of each image.
        referred: Class numbers that must be referred: melanoma, or where no class is melanoma, all malignant classes.
        config: Sensitivity to reach, and share of images that must count as assessable.

    Raises:
        DataError: The validation split has no image that must be referred, so no threshold can be chosen.
    """
    is_referred = np.isin(target, np.array(referred, np.int64))
    if not is_referred.any():
        msg = (
            f"0 of {len(target)} validation images are melanoma (or malignant, where no diagnosis is melanoma): "
            "add some, or enlarge split.val_fraction"
        )
        raise DataError(msg)
    temperature = fit_temperature(logits, target)
    probability = calibrated_probability(logits, temperature)[:, list(referred)].sum(axis=1)
    return Calibration(
        temperature=temperature,
        decision_threshold=threshold_at_sensitivity(
            probability, is_referred, target_sensitivity=config.target_sensitivity
        ),
        out_of_distribution_threshold=float(np.quantile(energy(logits), config.assessable_quantile)),
        num_validation_images=len(target),
        num_validation_melanomas=int(is_referred.sum()),
    )
