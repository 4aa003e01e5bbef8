"""Where to cut a score: chosen on the validation split, then only read."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_paired, require_score


def threshold_at_sensitivity(
    score: Float[np.ndarray, " image"], is_melanoma: Bool[np.ndarray, " image"], *, target_sensitivity: float
) -> float:
    """Return the largest threshold at which ``score >= threshold`` catches at least the target share of melanomas.

    It is the score of a melanoma, so nothing between two scores has to be chosen.

    Args:
        score: Finite, higher for melanoma.
        is_melanoma: The truth.
        target_sensitivity: In (0, 1].

    Raises:
        MetricError: No melanoma, shapes that differ, a score that isn't finite, or a target out of range.
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
    # Compared as k / n, not as ceil(target * n): 0.07 * 100 is more than 7 in floating point.
    sensitivity = np.arange(1, melanoma_score.size + 1) / melanoma_score.size
    return float(melanoma_score[np.searchsorted(sensitivity, target_sensitivity)])
