"""What follows from a threshold: two-way tables, other prevalences, net benefit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.tables import decision_curve, measure_point, two_way_table
from melanoma_ray.metrics.thresholds import SENSITIVITIES, SPECIFICITIES, fix_thresholds
from tests.unit.metrics.scored_images import bools, scored_images


def test_the_two_way_table_of_ten_images_is_counted_by_hand() -> None:
    is_melanoma = bools(1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    is_referred = bools(1, 1, 1, 0, 1, 1, 0, 0, 0, 0)
    point = measure_point(is_referred, is_melanoma)
    assert point.sensitivity.value == 3 / 4
    assert point.specificity.value == 4 / 6
    assert point.ppv is not None
    assert point.ppv.value == 3 / 5
    assert point.npv is not None
    assert point.npv.value == 4 / 5
    assert point.number_needed_to_refer is not None
    assert point.number_needed_to_refer.value == pytest.approx(5 / 3)
    assert point.flagged_per_1000.value == 500
    assert (point.prevalence, point.is_own_prevalence) == (0.4, True)


def test_at_a_prevalence_of_2_percent_most_referrals_are_no_melanoma() -> None:
    is_melanoma = np.arange(200) < 100
    is_referred = (np.arange(200) < 90) | (np.arange(200) >= 180)  # sensitivity 90 %, specificity 80 %
    point = measure_point(is_referred, is_melanoma, prevalence=0.02)
    caught, false = 0.02 * 0.9, 0.98 * 0.2
    assert point.ppv is not None
    assert point.ppv.value == pytest.approx(caught / (caught + false))
    assert point.ppv.low < point.ppv.value < point.ppv.high
    assert point.npv is not None
    assert point.npv.value == pytest.approx(0.98 * 0.8 / (0.98 * 0.8 + 0.02 * 0.1))
    assert point.flagged_per_1000.value == pytest.approx(1000 * (caught + false))
    assert point.number_needed_to_refer is not None
    assert point.number_needed_to_refer.value == pytest.approx(1 / point.ppv.value)
    assert not point.is_own_prevalence


@given(scored_images(), st.sampled_from([None, 0.01, 0.5]))
def test_every_interval_of_a_point_holds_its_value_and_has_a_width(
    images: tuple[np.ndarray, np.ndarray], prevalence: float | None
) -> None:
    score, is_positive = images
    point = measure_point(score >= 0, is_positive, prevalence=prevalence)
    found = (point.sensitivity, point.specificity, point.ppv, point.npv, point.number_needed_to_refer)
    for estimate in (*found, point.flagged_per_1000):
        if estimate is not None:
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.low < estimate.high


def test_where_nothing_is_referred_what_needs_a_referral_is_none_and_the_rest_is_there() -> None:
    for prevalence in (None, 0.1):
        point = measure_point(bools(0, 0, 0), bools(1, 0, 0), prevalence=prevalence)
        assert (point.ppv, point.number_needed_to_refer) == (None, None)
        assert point.npv is not None
        assert point.flagged_per_1000.value == 0
        assert point.flagged_per_1000.high > 0


def test_where_all_is_referred_there_is_no_npv() -> None:
    for prevalence in (None, 0.1):
        assert measure_point(bools(1, 1, 1), bools(1, 0, 0), prevalence=prevalence).npv is None


@given(scored_images())
def test_each_threshold_reaches_its_target_on_the_images_that_it_was_chosen_on(
    images: tuple[np.ndarray, np.ndarray],
) -> None:
    score, is_positive = images
    rows = two_way_table(score, is_positive, fix_thresholds(score, is_positive))
    assert [row.fixed.target for row in rows] == [*SENSITIVITIES, *SPECIFICITIES]
    for row in rows:
        reached = row.point.sensitivity if row.fixed.aim == "sensitivity" else row.point.specificity
        assert reached.value >= row.fixed.target


def test_thresholds_fixed_elsewhere_are_not_moved_to_reach_their_target_here() -> None:
    fixed = fix_thresholds(np.array([0.9, 0.8, 0.1, 0.2]), bools(1, 1, 0, 0), sensitivities=(1.0,), specificities=())
    (row,) = two_way_table(np.array([0.9, 0.7, 0.1, 0.85]), bools(1, 1, 0, 0), fixed)
    assert row.fixed.threshold == 0.8
    assert (row.point.sensitivity.value, row.point.specificity.value) == (0.5, 0.5)


def test_net_benefit_is_that_of_vickers_and_elkin() -> None:
    probability, is_melanoma = np.array([0.6, 0.3, 0.3, 0.1, 0.05]), bools(1, 1, 0, 0, 0)
    (point,) = decision_curve(probability, is_melanoma, thresholds=(0.2,))
    assert point.model.value == pytest.approx(2 / 5 - 1 / 5 * 0.2 / 0.8)
    assert point.refer_all == pytest.approx(2 / 5 - 3 / 5 * 0.2 / 0.8)
    assert point.model.low < point.model.value < point.model.high


def test_referring_all_has_the_net_benefit_of_referring_all() -> None:
    (point,) = decision_curve(np.full(10, 0.9), np.arange(10) < 3, thresholds=(0.1,))
    assert point.model.value == pytest.approx(point.refer_all)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, np.nan])
def test_a_prevalence_that_is_no_share_is_refused(prevalence: float) -> None:
    with pytest.raises(MetricError, match="prevalence"):
        measure_point(bools(1, 0), bools(1, 0), prevalence=prevalence)
    with pytest.raises(MetricError, match="prevalence"):
        decision_curve(np.array([0.5, 0.1]), bools(1, 0), prevalence=prevalence)


def test_a_threshold_of_1_has_infinite_odds_and_is_refused() -> None:
    with pytest.raises(MetricError, match="threshold=1"):
        decision_curve(np.array([0.5, 0.1]), bools(1, 0), thresholds=(1.0,))
