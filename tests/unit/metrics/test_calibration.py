"""Whether a probability means what it says: against hands, against scikit-learn, and as properties."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.metrics import brier_score_loss

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import brier_score
from melanoma_ray.metrics.calibration_error import expected_calibration_error
from tests.unit.metrics.scored_images import bools, scored_images


@given(st.integers(1, 40), st.data())
def test_the_brier_score_equals_scikit_learns(num_images: int, data: st.DataObject) -> None:
    probability = data.draw(npst.arrays(np.float64, num_images, elements=st.floats(0, 1)))
    is_positive = data.draw(npst.arrays(np.bool_, num_images))
    is_positive[0] = True
    assert brier_score(probability, is_positive) == pytest.approx(
        brier_score_loss(is_positive, probability, labels=[0, 1]), abs=1e-12
    )


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


@pytest.mark.parametrize("figure", [brier_score, expected_calibration_error])
def test_a_logit_is_not_taken_for_a_probability(figure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    with pytest.raises(MetricError, match=r"\[-2, 3\]: expected \[0, 1\]"):
        figure(np.array([-2.0, 3.0]), bools(0, 1))


def test_zero_bins_are_refused() -> None:
    with pytest.raises(MetricError, match="num_bins=0"):
        expected_calibration_error(np.array([0.5, 0.5]), bools(0, 1), num_bins=0)


def test_a_table_in_place_of_a_vector_is_refused() -> None:
    with pytest.raises(MetricError, match="vector"):
        brier_score(np.full((2, 2), 0.5), np.ones((2, 2), dtype=bool))
