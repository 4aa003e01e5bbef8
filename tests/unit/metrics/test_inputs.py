"""What every figure refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import brier_score
from melanoma_ray.metrics.calibration_error import expected_calibration_error
from melanoma_ray.metrics.ranking import auroc, estimate_auroc, roc_curve
from melanoma_ray.metrics.thresholds import threshold_at_sensitivity

SCORED: list[Callable[[np.ndarray, np.ndarray], object]] = [
    auroc,
    estimate_auroc,
    roc_curve,
    lambda score, is_positive: threshold_at_sensitivity(score, is_positive, target_sensitivity=0.9),
    brier_score,
    expected_calibration_error,
]


@pytest.mark.parametrize("figure", SCORED)
@pytest.mark.parametrize(
    ("score", "is_positive", "reason"),
    [
        ([], [], "no images"),
        ([0.1, math.nan], [0, 1], "1 of 2 scores are NaN"),
        ([0.1, math.inf], [0, 1], "NaN or infinite"),
        ([0.1, 0.2, 0.3], [0, 1], "differ"),
    ],
)
def test_no_images_nan_and_unequal_lengths_are_refused_in_one_line(
    figure: Callable[[np.ndarray, np.ndarray], object], score: list[float], is_positive: list[int], reason: str
) -> None:
    with pytest.raises(MetricError, match=reason) as caught:
        figure(np.array(score, dtype=np.float64), np.array(is_positive, dtype=bool))
    assert "\n" not in str(caught.value)
