"""AUROC, ROC, thresholds and calibration: against hands, against scikit-learn, and as properties."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import brier_score, expected_calibration_error
from melanoma_ray.metrics.intervals import wilson_interval
from melanoma_ray.metrics.ranking import auroc, estimate_auroc, roc_curve
from melanoma_ray.metrics.thresholds import threshold_at_sensitivity


def bools(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


untimed = settings(deadline=None)  # a busy machine is no failure


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties (13 distinct values) and at least one image of each kind."""
    num_images = draw(st.integers(2, 30))
    score = draw(npst.arrays(np.int64, num_images, elements=st.integers(-6, 6))) / 8
    is_positive = draw(npst.arrays(np.bool_, num_images))
    is_positive[:2] = [True, False]
    return score, is_positive


# AUROC


def test_auroc_of_three_pairs_with_one_tie_is_counted_by_hand():
    # positives 0.8, 0.5; negatives 0.5, 0.2, 0.9: wins 2 + 1, one tie, 6 pairs
    assert auroc(np.array([0.8, 0.5, 0.5, 0.2, 0.9]), bools(1, 1, 0, 0, 0)) == pytest.approx(3.5 / 6)


@given(scored_images())
@untimed
def test_auroc_equals_scikit_learns_with_ties(images):
    score, is_positive = images
    assert auroc(score, is_positive) == pytest.approx(roc_auc_score(is_positive, score))


@given(scored_images())
@untimed
def test_auroc_ignores_any_rising_change_of_scale(images):
    score, is_positive = images
    assert auroc(np.exp(3 * score) - 7, is_positive) == auroc(score, is_positive)


@given(scored_images())
@untimed
def test_turning_the_score_round_turns_the_auroc_round(images):
    score, is_positive = images
    assert auroc(-score, is_positive) == pytest.approx(1 - auroc(score, is_positive))


@given(scored_images())
@untimed
def test_the_auroc_interval_contains_the_auroc_and_stays_in_0_to_1(images):
    estimate = estimate_auroc(*images)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


@given(scored_images())
@untimed
def test_the_auroc_interval_of_the_reversed_score_is_the_mirror_image(images):
    score, is_positive = images
    straight, mirrored = estimate_auroc(score, is_positive), estimate_auroc(-score, is_positive)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((straight.low, straight.high))


def test_delongs_variance_equals_its_definition_pair_by_pair():
    rng = np.random.default_rng(1)
    is_positive = np.arange(60) < 20
    score = np.round(rng.normal(is_positive * 1.0), 1)
    pair = score[is_positive][:, None] - score[~is_positive][None, :]
    win = (pair > 0) + 0.5 * (pair == 0)
    variance = win.mean(axis=1).var(ddof=1) / 20 + win.mean(axis=0).var(ddof=1) / 40
    value = win.mean()
    half = 1.959964 * math.sqrt(variance) / (value * (1 - value))
    logit = math.log(value / (1 - value))
    estimate = estimate_auroc(score, is_positive)
    assert estimate.value == pytest.approx(value)
    assert estimate.low == pytest.approx(1 / (1 + math.exp(half - logit)), abs=1e-6)
    assert estimate.high == pytest.approx(1 / (1 + math.exp(-half - logit)), abs=1e-6)


def test_the_auroc_interval_covers_the_true_value_about_95_times_in_100():
    rng = np.random.default_rng(0)
    is_positive = np.arange(150) < 50
    true_auroc = 0.8413447  # two normals of unit variance √2 apart: Φ(1)
    covered = 0
    for _ in range(400):
        estimate = estimate_auroc(rng.normal(is_positive * math.sqrt(2)), is_positive)
        covered += estimate.low <= true_auroc <= estimate.high
    assert 0.92 <= covered / 400 <= 0.98


def test_a_perfect_score_on_few_melanomas_still_has_a_wide_interval():
    estimate = estimate_auroc(np.array([0.9, 0.8, 0.3, 0.2, 0.1]), bools(1, 1, 0, 0, 0))
    assert estimate.value == 1.0
    assert (estimate.low, estimate.high) == wilson_interval(2, 2)


def test_a_single_melanoma_has_an_auroc_and_an_interval_of_one_pair():
    estimate = estimate_auroc(np.array([0.9, 0.3, 0.2]), bools(1, 0, 0))
    assert (estimate.low, estimate.high) == wilson_interval(1, 1)


# ROC


@given(scored_images())
@untimed
def test_the_roc_curve_is_scikit_learns_with_every_point_kept(images):
    score, is_positive = images
    fpr, tpr, thresholds = sklearn_roc_curve(is_positive, score, drop_intermediate=False)
    curve = roc_curve(score, is_positive)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)


@given(scored_images())
@untimed
def test_the_area_under_the_roc_curve_is_the_auroc(images):
    curve = roc_curve(*images)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auroc(*images))


# thresholds


def test_the_threshold_for_two_thirds_of_three_melanomas_is_the_second_highest():
    score = np.array([0.9, 0.6, 0.3, 0.7, 0.1])
    assert threshold_at_sensitivity(score, bools(1, 1, 1, 0, 0), target_sensitivity=2 / 3) == 0.6


@given(scored_images(), st.floats(0.01, 1))
@untimed
def test_the_threshold_reaches_its_target_and_no_higher_score_does(images, target):
    score, is_melanoma = images
    threshold = threshold_at_sensitivity(score, is_melanoma, target_sensitivity=target)
    assert (score[is_melanoma] >= threshold).mean() >= target
    for higher in score[score > threshold]:
        assert (score[is_melanoma] >= higher).mean() < target


def test_a_target_of_7_percent_of_100_melanomas_catches_7_not_8():
    score = np.arange(100) / 100
    threshold = threshold_at_sensitivity(score, np.ones(100, dtype=bool), target_sensitivity=0.07)
    assert np.count_nonzero(score >= threshold) == 7


def test_the_threshold_of_single_precision_scores_still_catches_its_own_melanoma():
    score = np.array([0.1, 0.7], dtype=np.float32)
    threshold = threshold_at_sensitivity(score, bools(0, 1), target_sensitivity=1.0)
    assert (score >= threshold).tolist() == [False, True]


@pytest.mark.parametrize("target", [0.0, -0.1, 1.01, math.nan])
def test_a_target_that_is_no_share_is_refused(target):
    with pytest.raises(MetricError, match="target_sensitivity"):
        threshold_at_sensitivity(np.array([0.1, 0.2]), bools(0, 1), target_sensitivity=target)


# calibration


@given(st.integers(1, 40), st.data())
@untimed
def test_the_brier_score_equals_scikit_learns(num_images, data):
    probability = data.draw(npst.arrays(np.float64, num_images, elements=st.floats(0, 1)))
    is_positive = data.draw(npst.arrays(np.bool_, num_images))
    is_positive[0] = True
    assert brier_score(probability, is_positive) == pytest.approx(
        brier_score_loss(is_positive, probability, labels=[0, 1]), abs=1e-12
    )


def test_two_bins_of_two_images_give_the_hand_computed_calibration_error():
    # bin 1: mean 0.15 against 0.5; bin 2: mean 0.75 against 1.0; each holds half of the images
    error = expected_calibration_error(np.array([0.1, 0.2, 0.7, 0.8]), bools(0, 1, 1, 1), num_bins=2)
    assert error == pytest.approx((0.35 + 0.25) / 2)


def test_one_in_five_positive_at_20_percent_is_perfectly_calibrated_in_any_order():
    probability, is_positive = np.full(50, 0.2), np.arange(50) % 5 == 0
    assert expected_calibration_error(probability, is_positive) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(probability, np.sort(is_positive)) == pytest.approx(0, abs=1e-12)


@given(scored_images(), st.integers(1, 12))
@untimed
def test_the_calibration_error_lies_between_the_overall_bias_and_1(images, num_bins):
    score, is_positive = images
    probability = (score + 1) / 2
    error = expected_calibration_error(probability, is_positive, num_bins)
    assert abs(probability.mean() - is_positive.mean()) - 1e-12 <= error <= 1


# refusals that all share

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
def test_no_images_nan_and_unequal_lengths_are_refused_in_one_line(figure, score, is_positive, reason):
    with pytest.raises(MetricError, match=reason) as caught:
        figure(np.array(score, dtype=np.float64), np.array(is_positive, dtype=bool))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("figure", [auroc, estimate_auroc, roc_curve])
@pytest.mark.parametrize("is_positive", [[0, 0], [1, 1]])
def test_a_ranking_of_one_kind_of_image_is_refused(figure, is_positive):
    with pytest.raises(MetricError, match="undefined"):
        figure(np.array([0.1, 0.2]), np.array(is_positive, dtype=bool))


def test_a_threshold_without_melanoma_is_refused():
    with pytest.raises(MetricError, match="no melanoma among 2 images"):
        threshold_at_sensitivity(np.array([0.1, 0.2]), bools(0, 0), target_sensitivity=0.9)


@pytest.mark.parametrize("figure", [brier_score, expected_calibration_error])
def test_a_logit_is_not_taken_for_a_probability(figure):
    with pytest.raises(MetricError, match=r"\[-2, 3\]: expected \[0, 1\]"):
        figure(np.array([-2.0, 3.0]), bools(0, 1))


def test_zero_bins_are_refused():
    with pytest.raises(MetricError, match="num_bins=0"):
        expected_calibration_error(np.array([0.5, 0.5]), bools(0, 1), num_bins=0)


def test_a_table_in_place_of_a_vector_is_refused():
    with pytest.raises(MetricError, match="vector"):
        brier_score(np.full((2, 2), 0.5), np.ones((2, 2), dtype=bool))
