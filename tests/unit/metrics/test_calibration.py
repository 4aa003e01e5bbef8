"""Whether a probability means what it says: Brier score, reliability curve, slope and intercept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import (
    brier_score,
    estimate_brier_score,
    estimate_calibration_line,
    reliability_curve,
)
from melanoma_ray.metrics.calibration_error import expected_calibration_error
from tests.unit.metrics.scored_images import bools, scored_images


def draw(seed: int, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are true."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.5, 2, num_images)
    return probability, rng.random(num_images) < probability


@given(scored_images())
def test_the_brier_interval_holds_the_score_and_has_a_width(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    probability = (score + 1) / 2
    found = estimate_brier_score(probability, is_positive)
    assert found.value == brier_score(probability, is_positive)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@pytest.mark.parametrize("probability", [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.5, 0.5, 0.5]])
def test_no_brier_interval_collapses_however_alike_the_images_are(probability: list[float]) -> None:
    found = estimate_brier_score(np.array(probability), bools(1, 0, 0))
    assert found.high - found.low > 0.1
    assert found.is_sparse


def test_copies_of_each_image_in_its_lesion_do_not_narrow_the_brier_interval() -> None:
    probability, is_positive = draw(0, 200)
    single = estimate_brier_score(probability, is_positive)
    copied = estimate_brier_score(np.repeat(probability, 4), np.repeat(is_positive, 4), np.repeat(np.arange(200), 4))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), rel=0.02)


def test_the_reliability_curve_has_equally_many_images_a_point_and_their_frequencies() -> None:
    probability, is_positive = draw(0, 200)
    curve = reliability_curve(probability, is_positive, num_bins=5)
    assert [point.frequency.denominator for point in curve] == [40] * 5
    assert sum(point.frequency.numerator or 0 for point in curve) == is_positive.sum()
    for point in curve:
        assert point.lowest_probability <= point.mean_probability <= point.highest_probability
        assert point.frequency.low < point.frequency.high
    assert all(a.highest_probability <= b.lowest_probability for a, b in pairwise(curve))


def test_equal_probabilities_are_one_point() -> None:
    curve = reliability_curve(np.full(50, 0.2), np.arange(50) % 5 == 0)
    assert len(curve) == 1
    assert (curve[0].mean_probability, curve[0].frequency.value) == pytest.approx((0.2, 0.2))


def test_true_probabilities_have_slope_1_and_intercept_0() -> None:
    line = estimate_calibration_line(*draw(0, 20_000))
    assert line.slope.value == pytest.approx(1, abs=0.05)
    assert line.intercept.value == pytest.approx(0, abs=0.05)
    assert line.slope.low < 1 < line.slope.high


def test_logits_twice_too_large_have_half_the_slope() -> None:
    probability, is_positive = draw(0, 20_000)
    odds = (probability / (1 - probability)) ** 2
    assert estimate_calibration_line(odds / (1 + odds), is_positive).slope.value == pytest.approx(0.5, abs=0.03)


def test_there_is_no_line_through_perfect_or_constant_probabilities() -> None:
    for probability in ([0.9, 0.8, 0.1, 0.2], [0.5, 0.5, 0.5, 0.5]):
        with pytest.raises(MetricError, match="calibration line is undefined"):
            estimate_calibration_line(np.array(probability), bools(1, 1, 0, 0))


@pytest.mark.parametrize("probability", [[0.55, 0.6, 0.65], [0.6, 0.6, 0.65], [0.65, 0.6, 0.6]])
def test_there_is_no_line_where_a_threshold_tells_the_kinds_in_either_direction(probability: list[float]) -> None:
    with pytest.raises(MetricError, match="separate the kinds perfectly"):
        estimate_calibration_line(np.array(probability), np.array([True, False, False]))


def test_probabilities_of_exactly_0_and_1_are_counted_where_the_line_needs_their_logits() -> None:
    line = estimate_calibration_line(np.array([1.0, 0.2, 0.0, 0.6, 0.4]), bools(1, 1, 0, 0, 1))
    assert line.num_clipped == 2


@pytest.mark.parametrize("figure", [brier_score, expected_calibration_error])
def test_a_logit_is_not_taken_for_a_probability(figure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    with pytest.raises(MetricError, match=r"\[-2, 3\]: expected \[0, 1\]"):
        figure(np.array([-2.0, 3.0]), bools(0, 1))


def test_a_table_in_place_of_a_vector_is_refused() -> None:
    with pytest.raises(MetricError, match="vector"):
        brier_score(np.full((2, 2), 0.5), np.ones((2, 2), dtype=bool))
