"""Wilson's interval and the shares that carry it."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.intervals import Estimate, wilson_interval
from melanoma_ray.metrics.proportions import estimate_accuracy, estimate_sensitivity, estimate_specificity

untimed = settings(deadline=None)  # a busy machine is no failure


def bools(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


# Wilson


def test_wilson_of_5_in_10_is_the_published_interval():
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)


def test_wilson_of_none_of_20_starts_at_exactly_zero_and_keeps_a_width():
    low, high = wilson_interval(0, 20)
    assert low == 0.0
    assert high == pytest.approx(0.1611, abs=5e-5)


@given(total=st.integers(1, 10_000), data=st.data())
@untimed
def test_wilson_contains_the_share_and_stays_in_0_to_1(total, data):
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert low < high


@given(total=st.integers(1, 500), data=st.data())
@untimed
def test_wilson_of_the_failures_is_the_mirror_image(total, data):
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total)
    assert wilson_interval(total - successes, total) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (3, 2), (-1, 2), (math.nan, 2)])
def test_wilson_refuses_what_is_no_share(successes, total):
    with pytest.raises(MetricError):
        wilson_interval(successes, total)


def test_an_estimate_becomes_plain_json_values_and_survives_pickling():
    estimate = Estimate(value=0.5, low=0.2, high=0.8, numerator=5, denominator=10)
    assert estimate.to_dict() == {"value": 0.5, "low": 0.2, "high": 0.8, "numerator": 5, "denominator": 10}
    assert pickle.loads(pickle.dumps(estimate)) == estimate


# shares


def test_sensitivity_counts_melanomas_only_and_specificity_the_others_only():
    is_melanoma = bools(1, 1, 1, 0, 0, 0, 0, 0)
    is_referred = bools(1, 1, 0, 1, 0, 0, 0, 0)
    sensitivity = estimate_sensitivity(is_referred, is_melanoma)
    specificity = estimate_specificity(is_referred, is_melanoma)
    assert (sensitivity.numerator, sensitivity.denominator) == (2, 3)
    assert (specificity.numerator, specificity.denominator) == (4, 5)
    assert sensitivity.value == pytest.approx(2 / 3)
    assert (specificity.low, specificity.high) == wilson_interval(4, 5)


def test_accuracy_is_the_share_of_right_diagnoses():
    estimate = estimate_accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2]))
    assert (estimate.value, estimate.numerator, estimate.denominator) == (0.75, 3, 4)


def test_sensitivity_without_melanoma_and_specificity_without_others_are_refused_in_one_line():
    with pytest.raises(MetricError, match=r"^sensitivity is undefined: no melanoma among 2 images$"):
        estimate_sensitivity(bools(1, 0), bools(0, 0))
    with pytest.raises(MetricError, match=r"^specificity is undefined: all 2 images are melanoma$"):
        estimate_specificity(bools(1, 0), bools(1, 1))
