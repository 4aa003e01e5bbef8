"""Shares of images: which images count in which."""

from __future__ import annotations

import numpy as np
import pytest

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.intervals import wilson_interval
from melanoma_ray.metrics.proportions import estimate_accuracy, estimate_sensitivity, estimate_specificity
from tests.unit.metrics.scored_images import bools


def test_sensitivity_counts_melanomas_only_and_specificity_the_others_only() -> None:
    is_melanoma = bools(1, 1, 1, 0, 0, 0, 0, 0)
    is_referred = bools(1, 1, 0, 1, 0, 0, 0, 0)
    sensitivity = estimate_sensitivity(is_referred, is_melanoma)
    specificity = estimate_specificity(is_referred, is_melanoma)
    assert (sensitivity.numerator, sensitivity.denominator) == (2, 3)
    assert (specificity.numerator, specificity.denominator) == (4, 5)
    assert sensitivity.value == pytest.approx(2 / 3)
    assert specificity.low < wilson_interval(4, 5)[0]
    assert specificity.is_sparse


def test_accuracy_is_the_share_of_right_diagnoses() -> None:
    estimate = estimate_accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2]))
    assert (estimate.value, estimate.numerator, estimate.denominator) == (0.75, 3, 4)


def test_sensitivity_without_melanoma_and_specificity_without_others_are_refused_in_one_line() -> None:
    with pytest.raises(MetricError, match=r"^sensitivity is undefined: no melanoma among 2 images$"):
        estimate_sensitivity(bools(1, 0), bools(0, 0))
    with pytest.raises(MetricError, match=r"^specificity is undefined: all 2 images are melanoma$"):
        estimate_specificity(bools(1, 0), bools(1, 1))
