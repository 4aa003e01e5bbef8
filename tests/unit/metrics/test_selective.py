"""The error that remains when the most uncertain images go to a person."""

from __future__ import annotations

import numpy as np
import pytest

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.selective import measure_risk_coverage


def test_the_error_is_that_of_the_surest_images() -> None:
    confidence, is_wrong = np.array([0.6, 0.9, 0.7, 0.8]), np.array([True, False, False, True])
    curve = measure_risk_coverage(confidence, is_wrong)
    assert curve.kept == (0.25, 0.5, 0.75, 1.0)
    assert curve.error == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.area == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 2 / 4]))
    assert curve.area_if_perfect == pytest.approx(np.mean([0, 0, 1 / 3, 2 / 4]))
    assert curve.area_if_random == 0.5
    assert (curve.points[0].kept, curve.points[0].error.value) == (1.0, 0.5)


def test_a_confidence_that_knows_nothing_leaves_the_error_as_it_is() -> None:
    is_wrong = np.random.default_rng(0).random(500) < 0.3
    curve = measure_risk_coverage(np.full(500, 0.5), is_wrong)
    np.testing.assert_allclose(curve.error, is_wrong.mean())
    assert curve.area == pytest.approx(curve.area_if_random)


def test_a_calibrated_confidence_comes_to_the_area_that_its_truth_has() -> None:
    """Errors drawn with probability 1 - confidence, uniform in (0.5, 1): the area is 1/8 in the limit."""
    random = np.random.default_rng(1)
    confidence = random.uniform(0.5, 1, 40_000)
    curve = measure_risk_coverage(confidence, random.random(40_000) > confidence)
    assert curve.area == pytest.approx(1 / 8, abs=0.005)
    assert len(curve.kept) == 200
    assert curve.kept[-1] == 1.0


def test_images_of_one_lesion_widen_the_intervals_and_move_no_figure() -> None:
    random = np.random.default_rng(2)
    confidence, is_wrong = np.repeat(random.random(60), 5), np.repeat(random.random(60) < 0.3, 5)
    alone = measure_risk_coverage(confidence, is_wrong)
    grouped = measure_risk_coverage(confidence, is_wrong, np.repeat(np.arange(60), 5))
    assert alone.area == grouped.area
    for before, after in zip(alone.points, grouped.points, strict=True):
        assert after.error.value == before.error.value
        assert after.error.high - after.error.low > 1.3 * (before.error.high - before.error.low)


def test_no_curve_is_drawn_of_nothing_or_of_answers_that_are_missing() -> None:
    with pytest.raises(MetricError, match="no images"):
        measure_risk_coverage(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(MetricError, match="NaN or infinite"):
        measure_risk_coverage(np.array([np.nan, 0.5]), np.array([True, False]))
