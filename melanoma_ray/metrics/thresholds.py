"""The threshold of a score, which is chosen on the validation split and nowhere else."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_paired, require_score


def threshold_at_sensitivity(
    score: Float[np.ndarray, " image"], is_melanoma: Bool[np.ndarray, " image"], *, target_sensitivity: float
) -> float:
    """Return the largest threshold at which ``score >= threshold`` selects at least the target share of melanomas.

    The threshold is the score of a melanoma, so no value between two scores has to be chosen.

    Args:
        score: Score of each image, finite, higher for melanomas.
        is_melanoma: Whether each image is a melanoma in truth.
        target_sensitivity: Smallest share of melanomas to select, in (0, 1].

    Raises:
        MetricError: There is no melanoma, the shapes differ, a score isn't finite, or the target is out of its range.

    >>> score, is_melanoma = np.array([0.9, 0.6, 0.3, 0.7, 0.1]), np.array([True, True, True, False, False])
    >>> threshold_at_sensitivity(score, is_melanoma, target_sensitivity=0.66)
    0.6
    """
    require_paired(score, is_melanoma)
    require_score(score)
    if not 0 < target_sensitivity <= 1:
        msg = f"target_sensitivity={target_sensitivity}: expected (0, 1]"
        raise MetricError(msg)
    melanoma_score = np.sort(score[is_melanoma])[::-1]
    if melanoma_score.size == 0:
        msg = f"a threshold for sensitivity is undefined: no melanoma among {score.size} images"
        raise MetricError(msg)
    # Compared as k / n, not by ceil(target * n), because 0.07 * 100 is more than 7 in floating point.
    sensitivity = np.arange(1, melanoma_score.size + 1) / melanoma_score.size
    return float(melanoma_score[np.searchsorted(sensitivity, target_sensitivity)])
