"""Shares of images, each with Wilson's interval: accuracy, sensitivity, specificity."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_paired
from melanoma_ray.metrics.intervals import Estimate, estimate_share


def estimate_accuracy(predicted: Int[np.ndarray, " image"], target: Int[np.ndarray, " image"]) -> Estimate:
    """Return the share of images whose diagnosis is right.

    Raises:
        MetricError: No images, or shapes that differ.
    """
    require_paired(predicted, target)
    return estimate_share(int(np.count_nonzero(predicted == target)), target.size)


def estimate_sensitivity(is_referred: Bool[np.ndarray, " image"], is_melanoma: Bool[np.ndarray, " image"]) -> Estimate:
    """Return the share of melanomas that are referred; its denominator is the number of melanomas.

    Raises:
        MetricError: No melanoma among the images, or shapes that differ.
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
        MetricError: Nothing but melanoma among the images, or shapes that differ.
    """
    require_paired(is_referred, is_melanoma)
    num_others = int(np.count_nonzero(~is_melanoma))
    if num_others == 0:
        msg = f"specificity is undefined: all {is_melanoma.size} images are melanoma"
        raise MetricError(msg)
    return estimate_share(int(np.count_nonzero(~is_referred & ~is_melanoma)), num_others)
