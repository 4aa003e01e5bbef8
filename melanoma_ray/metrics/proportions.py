"""Shares of images, each with Wilson's interval: accuracy, sensitivity, specificity."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_paired
from melanoma_ray.metrics.intervals import Estimate, estimate_share


def estimate_accuracy(predicted: Int[np.ndarray, " image"], target: Int[np.ndarray, " image"]) -> Estimate:
    """Return the share of images whose predicted diagnosis is the true one.

    Args:
        predicted: Predicted class number of each image.
        target: Target of each image.

    Raises:
        MetricError: There are no images, or the shapes differ.
    """
    require_paired(predicted, target)
    return estimate_share(int(np.count_nonzero(predicted == target)), target.size)


def estimate_sensitivity(is_referred: Bool[np.ndarray, " image"], is_melanoma: Bool[np.ndarray, " image"]) -> Estimate:
    """Return the share of melanomas that are referred; its denominator is the number of melanomas.

    Raises:
        MetricError: There is no melanoma among the images, or the shapes differ.

    >>> is_referred, is_melanoma = np.array([True, True, False, True]), np.array([True, True, True, False])
    >>> found = estimate_sensitivity(is_referred, is_melanoma)
    >>> found.numerator, found.denominator, f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
    (2, 3, '0.67 (0.21 to 0.94)')
    """
    require_paired(is_referred, is_melanoma)
    num_melanomas = int(np.count_nonzero(is_melanoma))
    if num_melanomas == 0:
        msg = f"sensitivity is undefined: no melanoma among {is_melanoma.size} images"
        raise MetricError(msg)
    return estimate_share(int(np.count_nonzero(is_referred & is_melanoma)), num_melanomas)


def estimate_specificity(is_referred: Bool[np.ndarray, " image"], is_melanoma: Bool[np.ndarray, " image"]) -> Estimate:
    """Return the share of the other images that are not referred; its denominator is their number.

    Raises:
        MetricError: All images are melanomas, or the shapes differ.

    >>> is_referred, is_melanoma = np.array([True, False, False, True]), np.array([False, False, False, True])
    >>> found = estimate_specificity(is_referred, is_melanoma)
    >>> found.numerator, found.denominator
    (2, 3)
    """
    require_paired(is_referred, is_melanoma)
    num_others = int(np.count_nonzero(~is_melanoma))
    if num_others == 0:
        msg = f"specificity is undefined: all {is_melanoma.size} images are melanoma"
        raise MetricError(msg)
    return estimate_share(int(np.count_nonzero(~is_referred & ~is_melanoma)), num_others)
