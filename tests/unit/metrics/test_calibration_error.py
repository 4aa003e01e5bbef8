"""The calibration error: its bias, and what a calibrated model would show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration_error import estimate_calibration_error, expected_calibration_error
from tests.unit.metrics.scored_images import bools, scored_images


def draw(seed: int, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are true."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.5, 2, num_images)
    return probability, rng.random(num_images) < probability


def test_two_bins_of_two_images_give_the_hand_computed_calibration_error() -> None:
    # bin 1: mean 0.15 against 0.5; bin 2: mean 0.75 against 1.0; each holds half of the images
    error = expected_calibration_error(np.array([0.1, 0.2, 0.7, 0.8]), bools(0, 1, 1, 1), num_bins=2)
    assert error == pytest.approx((0.35 + 0.25) / 2)


def test_one_in_five_positive_at_20_percent_is_perfectly_calibrated_in_any_order() -> None:
    probability, is_positive = np.full(50, 0.2), np.arange(50) % 5 == 0
    assert expected_calibration_error(probability, is_positive) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(probability, np.sort(is_positive)) == pytest.approx(0, abs=1e-12)


@given(scored_images(), st.integers(1, 12))
def test_the_calibration_error_lies_between_the_overall_bias_and_1(
    images: tuple[np.ndarray, np.ndarray], num_bins: int
) -> None:
    score, is_positive = images
    probability = (score + 1) / 2
    error = expected_calibration_error(probability, is_positive, num_bins)
    assert abs(probability.mean() - is_positive.mean()) - 1e-12 <= error <= 1


@given(scored_images())
@settings(max_examples=50)
def test_the_interval_holds_the_debiased_value_and_has_a_width(images: tuple[np.ndarray, np.ndarray]) -> None:
    score, is_positive = images
    found = estimate_calibration_error((score + 1) / 2, is_positive, num_draws=20)
    assert 0 <= found.debiased.low <= found.debiased.value <= found.debiased.high <= 1
    assert found.debiased.low < found.debiased.high
    assert found.debiased.value <= found.plug_in + 1e-12


def test_most_of_what_chance_adds_to_a_calibrated_model_is_taken_off() -> None:
    found = [estimate_calibration_error(*draw(seed, 500), num_draws=50) for seed in range(60)]
    plug_in = float(np.mean([error.plug_in for error in found]))
    assert float(np.mean([error.debiased.value for error in found])) < 0.7 * plug_in
    assert float(np.mean([error.if_calibrated for error in found])) == pytest.approx(plug_in, rel=0.1)


def test_a_calibrated_model_seldom_exceeds_what_chance_allows_and_then_the_interval_starts_above_0() -> None:
    found = [estimate_calibration_error(*draw(seed, 300), num_draws=200) for seed in range(100)]
    assert sum(error.plug_in > error.if_calibrated_high for error in found) <= 8
    assert all((error.debiased.low == 0) or error.plug_in > error.if_calibrated_high for error in found)


def test_probabilities_that_are_too_high_are_found_out() -> None:
    probability, is_positive = draw(0, 2000)
    found = estimate_calibration_error(np.sqrt(probability), is_positive)
    assert found.debiased.low > 0.1
    assert found.plug_in > 3 * found.if_calibrated_high


def test_images_of_one_lesion_share_a_truth_so_chance_allows_more() -> None:
    probability, is_positive = draw(0, 100)
    probability, is_positive = np.repeat(probability, 5), np.repeat(is_positive, 5)
    alone = estimate_calibration_error(probability, is_positive)
    grouped = estimate_calibration_error(probability, is_positive, np.repeat(np.arange(100), 5))
    assert grouped.if_calibrated > 1.5 * alone.if_calibrated


def test_the_same_seed_gives_the_same_answer_and_another_one_another() -> None:
    probability, is_positive = draw(0, 200)
    first, again = (estimate_calibration_error(probability, is_positive, seed=1) for _ in range(2))
    other = estimate_calibration_error(probability, is_positive, seed=2)
    assert first == again
    assert first.if_calibrated != other.if_calibrated


def test_zero_bins_and_zero_draws_are_refused() -> None:
    with pytest.raises(MetricError, match="num_bins=0"):
        expected_calibration_error(np.array([0.5, 0.5]), bools(0, 1), num_bins=0)
    with pytest.raises(MetricError, match="num_draws=0"):
        estimate_calibration_error(np.array([0.5, 0.5]), bools(0, 1), num_draws=0)
