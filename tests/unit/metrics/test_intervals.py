"""Wilson's interval, and an estimate on its way."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.intervals import Estimate, wilson_interval


def test_wilson_of_5_in_10_is_the_published_interval() -> None:
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)


def test_wilson_of_none_of_20_starts_at_exactly_zero_and_keeps_a_width() -> None:
    low, high = wilson_interval(0, 20)
    assert low == 0.0
    assert high == pytest.approx(0.1611, abs=5e-5)


@given(total=st.integers(1, 10_000), data=st.data())
def test_wilson_contains_the_share_and_stays_in_0_to_1(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert low < high


@given(total=st.integers(1, 500), data=st.data())
def test_wilson_of_the_failures_is_the_mirror_image(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total)
    assert wilson_interval(total - successes, total) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (3, 2), (-1, 2), (math.nan, 2)])
def test_wilson_refuses_what_is_no_share(successes: float, total: int) -> None:
    with pytest.raises(MetricError):
        wilson_interval(successes, total)


def test_an_estimate_becomes_plain_json_values_and_survives_pickling() -> None:
    estimate = Estimate(value=0.5, low=0.2, high=0.8, numerator=5, denominator=10)
    plain = {"value": 0.5, "low": 0.2, "high": 0.8, "numerator": 5, "denominator": 10}
    assert estimate.to_dict() == plain | {"num_groups": None, "is_sparse": False}
    assert pickle.loads(pickle.dumps(estimate)) == estimate
