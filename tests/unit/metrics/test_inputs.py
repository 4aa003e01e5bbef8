"""What every figure refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import (
    brier_score,
    estimate_brier_score,
    estimate_calibration_line,
    reliability_curve,
)
from melanoma_ray.metrics.calibration_error import estimate_calibration_error, expected_calibration_error
from melanoma_ray.metrics.comparison import compare_auroc, compare_shares, mcnemar
from melanoma_ray.metrics.multiclass import confusion_matrix, measure_diagnoses
from melanoma_ray.metrics.proportions import (
    estimate_npv,
    estimate_ppv,
    estimate_sensitivity,
    estimate_share,
    estimate_specificity,
)
from melanoma_ray.metrics.ranking import (
    auroc,
    average_precision,
    estimate_auroc,
    estimate_average_precision,
    estimate_partial_auroc,
    partial_auroc,
    roc_curve,
)
from melanoma_ray.metrics.tables import decision_curve, measure_point, two_way_table
from melanoma_ray.metrics.thresholds import fix_thresholds, threshold_at_sensitivity, threshold_at_specificity

SCORED: list[Callable[[np.ndarray, np.ndarray], object]] = [
    auroc,
    average_precision,
    brier_score,
    lambda score, is_positive: compare_auroc(score, score, is_positive),
    decision_curve,
    estimate_auroc,
    estimate_average_precision,
    estimate_brier_score,
    estimate_calibration_error,
    estimate_calibration_line,
    estimate_partial_auroc,
    expected_calibration_error,
    fix_thresholds,
    partial_auroc,
    reliability_curve,
    roc_curve,
    lambda score, is_positive: threshold_at_sensitivity(score, is_positive, target_sensitivity=0.9),
    lambda score, is_positive: threshold_at_specificity(score, is_positive, target_specificity=0.9),
    lambda score, is_positive: two_way_table(score, is_positive, ()),
]
DECIDED: list[Callable[[np.ndarray, np.ndarray], object]] = [
    compare_shares,
    estimate_npv,
    estimate_ppv,
    estimate_sensitivity,
    estimate_specificity,
    mcnemar,
    measure_point,
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


@pytest.mark.parametrize("figure", SCORED)
@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_numbers_in_place_of_a_yes_or_no_are_refused(
    figure: Callable[[np.ndarray, np.ndarray], object], kind: type
) -> None:
    # As indices 0 and 1 would choose the first two images, and ~1 is -2.
    with pytest.raises(MetricError, match=r"given as (int|float)64: expected booleans"):
        figure(np.array([0.1, 0.9, 0.3]), np.array([0, 1, 0], dtype=kind))


@pytest.mark.parametrize("figure", SCORED)
def test_scores_that_are_no_numbers_are_refused(figure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    with pytest.raises(MetricError, match="expected finite numbers"):
        figure(np.array(["0.1", "0.9"]), np.array([False, True]))


@pytest.mark.parametrize("figure", DECIDED)
@pytest.mark.parametrize(("first", "second"), [([0, 1, 0], [True, False, True]), ([True, False, True], [0, 1, 0])])
def test_numbers_in_place_of_decisions_are_refused(
    figure: Callable[[np.ndarray, np.ndarray], object], first: list[int], second: list[int]
) -> None:
    with pytest.raises(MetricError, match="given as int64: expected booleans"):
        figure(np.array(first), np.array(second))


@pytest.mark.parametrize("figure", DECIDED)
def test_decisions_for_no_images_or_for_others_are_refused(figure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    with pytest.raises(MetricError, match="no images"):
        figure(np.zeros(0, bool), np.zeros(0, bool))
    with pytest.raises(MetricError, match="differ"):
        figure(np.array([True, False]), np.array([True, False, True]))


def test_a_share_of_numbers_is_refused() -> None:
    with pytest.raises(MetricError, match="expected booleans"):
        estimate_share(np.array([1, 0, 1]))


def test_class_numbers_that_are_no_integers_and_probabilities_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MetricError, match="expected integers"):
        confusion_matrix(np.array([0.0, 1.0]), np.array([0, 1]), 2)
    with pytest.raises(MetricError, match="1 of 4 scores are NaN"):
        measure_diagnoses(np.array([[0.5, 0.5], [math.nan, 1.0]]), np.array([0, 1]))
    with pytest.raises(MetricError, match="a row for each image"):
        measure_diagnoses(np.array([0.5, 0.5]), np.array([0, 1]))
