"""AUROC and ROC: against hands, against scikit-learn, and as properties."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import Clusters
from melanoma_ray.metrics.ranking import auroc, estimate_auroc, rank_auroc, roc_curve, spread_of_ranking
from tests.unit.metrics.scored_images import bools, scored_images


def test_auroc_of_three_pairs_with_one_tie_is_counted_by_hand() -> None:
    # positives 0.8, 0.5; negatives 0.5, 0.2, 0.9: wins 2 + 1, one tie, 6 pairs
    assert auroc(np.array([0.8, 0.5, 0.5, 0.2, 0.9]), bools(1, 1, 0, 0, 0)) == pytest.approx(3.5 / 6)


@given(scored_images())
def test_auroc_equals_scikit_learns_with_ties(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    assert auroc(score, is_positive) == pytest.approx(roc_auc_score(is_positive, score))


@given(scored_images())
def test_auroc_ignores_any_rising_change_of_scale(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    assert auroc(np.exp(3 * score) - 7, is_positive) == auroc(score, is_positive)


@given(scored_images())
def test_turning_the_score_round_turns_the_auroc_round(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    assert auroc(-score, is_positive) == pytest.approx(1 - auroc(score, is_positive))


@given(scored_images())
def test_the_auroc_interval_contains_the_auroc_and_stays_in_0_to_1(images: tuple[np.ndarray, np.ndarray]) -> None:
    estimate = estimate_auroc(*images)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


@given(scored_images())
def test_the_auroc_interval_of_the_reversed_score_is_the_mirror_image(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    straight, mirrored = estimate_auroc(score, is_positive), estimate_auroc(-score, is_positive)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((straight.low, straight.high))


def test_the_variance_over_groups_equals_obuchowskis_definition_pair_by_pair() -> None:
    rng = np.random.default_rng(1)
    patient = rng.integers(0, 25, 120)
    is_positive = np.arange(120) < 40
    score = np.round(rng.normal(is_positive * 1.0 + 0.5 * rng.normal(size=25)[patient]), 1)
    pair = score[is_positive][:, None] - score[~is_positive][None, :]
    win = (pair > 0) + 0.5 * (pair == 0)
    value = win.mean()
    above, below = win.mean(axis=1) - value, win.mean(axis=0) - value
    sums = np.array([[above[patient[:40] == g].sum(), below[patient[40:] == g].sum()] for g in range(25)])
    has = np.array([[np.any(patient[:40] == g), np.any(patient[40:] == g)] for g in range(25)]).sum(axis=0)
    variance = (
        has[0] / (has[0] - 1) * (sums[:, 0] ** 2).sum() / 40**2
        + has[1] / (has[1] - 1) * (sums[:, 1] ** 2).sum() / 80**2
        + 2 * 25 / 24 * (sums[:, 0] * sums[:, 1]).sum() / (40 * 80)
    )
    ranking = rank_auroc(score, is_positive)
    assert ranking.value == pytest.approx(value)
    spread = spread_of_ranking(ranking.influence, is_positive, Clusters.build(patient, score))
    assert spread.variance == pytest.approx(variance)


def test_without_groups_the_variance_is_delongs() -> None:
    rng = np.random.default_rng(1)
    is_positive = np.arange(60) < 20
    score = np.round(rng.normal(is_positive * 1.0), 1)
    pair = score[is_positive][:, None] - score[~is_positive][None, :]
    win = (pair > 0) + 0.5 * (pair == 0)
    influence = rank_auroc(score, is_positive).influence
    spread = spread_of_ranking(influence, is_positive, Clusters.build(None, score))
    expected = win.mean(axis=1).var(ddof=1) / 20 + win.mean(axis=0).var(ddof=1) / 40
    # The covariance of the kinds is 0 where no group has both.
    assert spread.variance == pytest.approx(expected)


def test_the_auroc_interval_covers_the_true_value_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    is_positive = np.arange(150) < 50
    true_auroc = 0.8413447  # two normals of unit variance √2 apart: Φ(1)
    covered = 0
    for _ in range(400):
        estimate = estimate_auroc(rng.normal(is_positive * math.sqrt(2)), is_positive)
        covered += estimate.low <= true_auroc <= estimate.high
    assert 0.92 <= covered / 400 <= 0.98


def test_a_perfect_score_on_few_melanomas_still_has_a_wide_interval_and_is_called_sparse() -> None:
    estimate = estimate_auroc(np.array([0.9, 0.8, 0.3, 0.2, 0.1]), bools(1, 1, 0, 0, 0))
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low < 0.7
    assert (estimate.num_groups, estimate.is_sparse) == (2, True)


def test_a_single_melanoma_has_an_auroc_with_an_interval_that_says_next_to_nothing() -> None:
    estimate = estimate_auroc(np.array([0.9, 0.3, 0.2]), bools(1, 0, 0))
    assert estimate.high - estimate.low > 0.5


@given(scored_images())
def test_the_roc_curve_is_scikit_learns_with_every_point_kept(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    fpr, tpr, thresholds = sklearn_roc_curve(is_positive, score, drop_intermediate=False)
    curve = roc_curve(score, is_positive)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)


@given(scored_images())
def test_the_area_under_the_roc_curve_is_the_auroc(images: tuple[np.ndarray, np.ndarray]) -> None:
    curve = roc_curve(*images)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auroc(*images))


@pytest.mark.parametrize("figure", [auroc, estimate_auroc, roc_curve])
@pytest.mark.parametrize("is_positive", [[0, 0], [1, 1]])
def test_a_ranking_of_one_kind_of_image_is_refused(
    figure: Callable[[np.ndarray, np.ndarray], object], is_positive: list[int]
) -> None:
    with pytest.raises(MetricError, match="undefined"):
        figure(np.array([0.1, 0.2]), np.array(is_positive, dtype=bool))
