"""How well probabilities agree with frequencies: of images with a probability of 20 %, is one in five positive?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_paired, require_probability
from melanoma_ray.metrics.ranking import midranks


def brier_score(probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> float:
    """Return the mean squared error of the probability: 0 is perfect, and a constant probability of 0.5 gives 0.25.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.

    Raises:
        MetricError: There are no images, the shapes differ, or a value is outside [0, 1].

    References:
        Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    >>> brier_score(np.array([1.0, 0.5]), np.array([True, False]))
    0.125
    """
    require_paired(probability, is_positive)
    require_probability(probability)
    return float(np.mean((probability.astype(np.float64) - is_positive) ** 2))


def expected_calibration_error(
    probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"], num_bins: int = 10
) -> float:
    """Return the mean difference between probability and frequency over bins with equally many images.

    With bins of equal width most would be empty, since most images are no melanoma. Equal probabilities are in the
    same bin, so the order of the images doesn't matter.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.
        num_bins: Number of bins, 1 or more.

    Raises:
        MetricError: There are no images or no bins, the shapes differ, or a value is outside [0, 1].

    References:
        Naeini 2015, doi:10.1609/aaai.v29i1.9602; equal-mass bins: Nguyen & O'Connor 2015, doi:10.18653/v1/D15-1182.

    >>> round(expected_calibration_error(np.full(5, 0.2), np.array([True, False, False, False, False])), 12)
    0.0
    """
    require_paired(probability, is_positive)
    require_probability(probability)
    if num_bins < 1:
        msg = f"num_bins={num_bins}: expected 1 or more"
        raise MetricError(msg)
    num_images = probability.size
    bin_index = ((midranks(probability) - 0.5) * num_bins / num_images).astype(np.int64)
    # A bin's |mean probability - frequency|, weighted by its share of the images, is |sum of its excesses| / n.
    excess = probability.astype(np.float64) - is_positive
    return float(np.abs(np.bincount(bin_index, weights=excess, minlength=num_bins)).sum() / num_images)
