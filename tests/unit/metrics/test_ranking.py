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
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.ranking import (
    Ranking,
    auroc,
    estimate_auroc,
    estimate_average_precision,
    estimate_partial_auroc,
    partial_auroc,
    rank_auroc,
    rank_average_precision,
    rank_partial_auroc,
    roc_curve,
    spread_of_ranking,
)
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


ESTIMATES: list[Callable[..., Estimate]] = [estimate_auroc, estimate_average_precision, estimate_partial_auroc]


@pytest.mark.parametrize("estimate", ESTIMATES)
@given(images=scored_images())
def test_every_interval_holds_its_value_and_has_a_width(
    estimate: Callable[..., Estimate], images: tuple[np.ndarray, np.ndarray]
) -> None:
    found = estimate(*images)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_copies_of_each_image_in_its_lesion_do_not_narrow_an_interval(estimate: Callable[..., Estimate]) -> None:
    rng = np.random.default_rng(0)
    is_positive = np.arange(300) < 60
    score = rng.normal(is_positive * 1.5)
    single = estimate(score, is_positive)
    copied = estimate(np.repeat(score, 5), np.repeat(is_positive, 5), np.repeat(np.arange(300), 5))
    assert copied.value == pytest.approx(single.value, abs=0.02)
    assert copied.high - copied.low == pytest.approx(single.high - single.low, rel=0.05)
    assert (copied.num_groups, copied.is_sparse) == (60, False)


@pytest.mark.parametrize(
    "rank",
    [
        rank_auroc,
        rank_average_precision,
        lambda score, is_positive: rank_partial_auroc(score, is_positive, min_sensitivity=0.8),
    ],
)
def test_the_spread_of_a_figure_is_how_much_it_varies_from_sample_to_sample(rank: Callable[..., Ranking]) -> None:
    rng = np.random.default_rng(0)
    is_positive = np.arange(400) < 100
    values, variances = [], []
    for _ in range(300):
        score = rng.normal(is_positive * 1.5)
        value, influence = rank(score, is_positive)
        values.append(value)
        variances.append(spread_of_ranking(influence, is_positive, Clusters.build(None, score)).variance)
    assert math.sqrt(np.mean(variances)) == pytest.approx(np.std(values), rel=0.12)


def test_the_partial_auroc_of_a_perfect_score_is_all_that_there_is_and_of_a_reversed_one_nothing() -> None:
    score, is_positive = np.arange(10.0), np.arange(10) >= 5
    assert partial_auroc(score, is_positive) == pytest.approx(0.2)
    assert partial_auroc(-score, is_positive) == pytest.approx(0.0)
    assert partial_auroc(score, is_positive, min_sensitivity=0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("above", [0.0, 1.0, math.nan])
def test_a_partial_auroc_above_a_sensitivity_that_is_no_share_is_refused(above: float) -> None:
    with pytest.raises(MetricError, match="min_sensitivity"):
        partial_auroc(np.array([0.1, 0.2]), bools(0, 1), min_sensitivity=above)
