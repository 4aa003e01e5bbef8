"""Where a score is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.thresholds import threshold_at_sensitivity, threshold_at_specificity
from tests.unit.metrics.scored_images import bools, scored_images


def test_the_threshold_for_two_thirds_of_three_melanomas_is_the_second_highest() -> None:
    score = np.array([0.9, 0.6, 0.3, 0.7, 0.1])
    assert threshold_at_sensitivity(score, bools(1, 1, 1, 0, 0), target_sensitivity=2 / 3) == 0.6


@given(scored_images(), st.floats(0.01, 1))
def test_the_threshold_reaches_its_target_and_no_higher_score_does(
    images: tuple[np.ndarray, np.ndarray], target: float
) -> None:
    score, is_melanoma = images
    threshold = threshold_at_sensitivity(score, is_melanoma, target_sensitivity=target)
    assert (score[is_melanoma] >= threshold).mean() >= target
    for higher in score[score > threshold]:
        assert (score[is_melanoma] >= higher).mean() < target


def test_a_target_of_7_percent_of_100_melanomas_catches_7_not_8() -> None:
    score = np.arange(100) / 100
    threshold = threshold_at_sensitivity(score, np.ones(100, dtype=bool), target_sensitivity=0.07)
    assert np.count_nonzero(score >= threshold) == 7


def test_the_threshold_of_single_precision_scores_still_catches_its_own_melanoma() -> None:
    score = np.array([0.1, 0.7], dtype=np.float32)
    threshold = threshold_at_sensitivity(score, bools(0, 1), target_sensitivity=1.0)
    assert (score >= threshold).tolist() == [False, True]


@pytest.mark.parametrize("target", [0.0, -0.1, 1.01, math.nan])
def test_a_target_that_is_no_share_is_refused(target: float) -> None:
    with pytest.raises(MetricError, match="target_sensitivity"):
        threshold_at_sensitivity(np.array([0.1, 0.2]), bools(0, 1), target_sensitivity=target)


def test_a_threshold_without_melanoma_is_refused() -> None:
    with pytest.raises(MetricError, match="no melanoma among 2 images"):
        threshold_at_sensitivity(np.array([0.1, 0.2]), bools(0, 0), target_sensitivity=0.9)


@given(scored_images(), st.floats(0.01, 1))
def test_the_threshold_for_a_specificity_reaches_it_and_no_lower_score_does(
    images: tuple[np.ndarray, np.ndarray], target: float
) -> None:
    score, is_melanoma = images
    threshold = threshold_at_specificity(score, is_melanoma, target_specificity=target)
    assert (score[~is_melanoma] < threshold).mean() >= target
    for lower in score[score < threshold]:
        assert (score[~is_melanoma] < lower).mean() < target


def test_the_threshold_for_a_specificity_of_single_precision_scores_leaves_the_image_that_it_was_taken_from() -> None:
    score = np.array([0.1, 0.7], dtype=np.float32)
    threshold = threshold_at_specificity(score, bools(1, 0), target_specificity=1.0)
    assert (score >= threshold).tolist() == [False, False]


@pytest.mark.parametrize("target", [0.0, -0.1, 1.01, math.nan])
def test_a_specificity_that_is_no_share_is_refused(target: float) -> None:
    with pytest.raises(MetricError, match="target_specificity"):
        threshold_at_specificity(np.array([0.1, 0.2]), bools(0, 1), target_specificity=target)


def test_a_threshold_for_a_specificity_without_others_is_refused() -> None:
    with pytest.raises(MetricError, match="all 2 images are melanoma"):
        threshold_at_specificity(np.array([0.1, 0.2]), bools(1, 1), target_specificity=0.9)
