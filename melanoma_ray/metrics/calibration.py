"""Whether a probability means what it says: of images given 20 %, is one in five positive?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_paired, require_probability
from melanoma_ray.metrics.ranking import midranks


def brier_score(probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> float:
    """Return the mean squared error of the probability: 0 is perfect, 0.25 is what a constant one half gets.

    Args:
        probability: Of being positive, in [0, 1].
        is_positive: The truth.

    Raises:
        MetricError: No images, shapes that differ, or values outside [0, 1].

    References:
        Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    require_paired(probability, is_positive)
    require_probability(probability)
    return float(np.mean((probability.astype(np.float64) - is_positive) ** 2))


def expected_calibration_error(
    probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"], num_bins: int = 10
) -> float:
    """Return the mean distance between probability and outcome over bins that hold equally many images.

    Bins of equal width would leave most of them empty, since most images are no melanoma. Equal
    probabilities share a bin, so the order of the images doesn't matter.

    Args:
        probability: Of being positive, in [0, 1].
        is_positive: The truth.
        num_bins: 1 or more.

    Raises:
        MetricError: No images, shapes that differ, values outside [0, 1], or no bins.

    References:
        Naeini 2015, doi:10.1609/aaai.v29i1.9602; equal-mass bins: Nguyen & O'Connor 2015, doi:10.18653/v1/D15-1182.
    """
    require_paired(probability, is_positive)
    require_probability(probability)
    if num_bins < 1:
        msg = f"num_bins={num_bins}: expected 1 or more"
        raise MetricError(msg)
    num_images = probability.size
    bin_index = ((midranks(probability) - 0.5) * num_bins / num_images).astype(np.int64)
    excess = probability.astype(np.float64) - is_positive
    return float(np.abs(np.bincount(bin_index, weights=excess, minlength=num_bins)).sum() / num_images)
