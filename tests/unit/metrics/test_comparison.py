"""Two models on the same images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.comparison import (
    compare_auroc,
    compare_shares,
    mcnemar,
    net_reclassification,
    paired_bootstrap,
    weighted_auroc,
)
from melanoma_ray.metrics.ranking import auroc
from tests.unit.metrics.scored_images import bools, scored_images


def draw(seed: int, num_lesions: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a good model and of the same with noise; truth; lesion, of two images each."""
    rng = np.random.default_rng(seed)
    lesion = np.repeat(np.arange(num_lesions), 2)
    is_positive = lesion < num_lesions // 4
    good = 2 * is_positive + rng.normal(size=num_lesions)[lesion] + 0.3 * rng.normal(size=lesion.size)
    return good, good + noise * rng.normal(size=lesion.size), is_positive, lesion


def test_a_model_that_is_much_better_is_found_better() -> None:
    good, bad, is_positive, lesion = draw(0, 400, 3.0)
    found = compare_auroc(bad, good, is_positive, lesion)
    assert found.difference.value == pytest.approx(auroc(good, is_positive) - auroc(bad, is_positive))
    assert found.difference.low > 0
    assert found.p_value < 1e-6


def test_a_model_is_not_found_better_than_itself_and_the_interval_has_a_width() -> None:
    good, _, is_positive, lesion = draw(0, 100, 1.0)
    found = compare_auroc(good, good, is_positive, lesion)
    assert (found.difference.value, found.p_value) == (0.0, 1.0)
    assert found.difference.low < 0 < found.difference.high


def test_the_difference_by_delong_and_that_by_resampled_lesions_agree() -> None:
    good, bad, is_positive, lesion = draw(1, 400, 1.0)
    before, after = weighted_auroc(bad, is_positive), weighted_auroc(good, is_positive)
    resampled = paired_bootstrap(lambda times: after(times) - before(times), lesion, num_resamples=500)
    found = compare_auroc(bad, good, is_positive, lesion).difference
    assert resampled.difference == pytest.approx(found.value)
    assert (resampled.low, resampled.high) == pytest.approx((found.low, found.high), abs=0.01)


@given(scored_images(), npst.arrays(np.int64, 30, elements={"min_value": 0, "max_value": 3}))
def test_a_weighted_auroc_is_that_of_images_repeated(images: tuple[np.ndarray, np.ndarray], times: np.ndarray) -> None:
    score, is_positive = images
    times = times[: score.size].copy()
    times[:2] += 1
    expected = auroc(np.repeat(score, times), np.repeat(is_positive, times))
    assert weighted_auroc(score, is_positive)(times) == pytest.approx(expected)


def test_a_resample_without_melanoma_is_left_out_and_too_many_of_them_are_refused() -> None:
    figure = weighted_auroc(np.array([0.9, 0.1, 0.2]), bools(1, 0, 0))
    with pytest.raises(MetricError, match="only one kind"):
        figure(np.array([0, 1, 1]))
    assert paired_bootstrap(figure, np.arange(3), num_resamples=200).difference == 1.0

    def fail(times: np.ndarray) -> float:
        if times.tolist() == [1, 1, 1]:
            return 0.0
        raise MetricError("undefined")

    with pytest.raises(MetricError, match="of 50 resamples"):
        paired_bootstrap(fail, np.arange(3), num_resamples=50)


def test_a_bootstrap_of_no_resamples_is_refused() -> None:
    with pytest.raises(MetricError, match="num_resamples=0"):
        paired_bootstrap(lambda times: float(times.sum()), np.arange(3), num_resamples=0)


def test_ten_images_of_a_lesion_speak_once_in_mcnemars_test() -> None:
    first, second = np.zeros(60, dtype=bool), np.ones(60, dtype=bool)
    assert mcnemar(first, second).p_value < 1e-10
    grouped = mcnemar(first, second, np.repeat(np.arange(6), 10))
    assert grouped.p_value == pytest.approx(2 / 2**6)
    assert (grouped.num_only_first, grouped.num_only_second, grouped.num_groups) == (0, 60, 6)


def test_with_many_disagreements_mcnemars_test_is_the_chi_square_of_the_groups() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(20_000) < 0.7, rng.random(20_000) < 0.71
    lesion = np.arange(20_000) // 2
    found = mcnemar(first, second, lesion)
    sums = np.bincount(lesion, second.astype(float) - first)
    chi_square = sums.sum() ** 2 / (sums**2).sum()
    assert not found.is_exact
    assert found.p_value == pytest.approx(np.mean(rng.chisquare(1, 200_000) > chi_square), abs=0.01)


def test_models_that_are_right_about_the_same_images_do_not_differ() -> None:
    right = bools(1, 1, 0, 1)
    assert (mcnemar(right, right).p_value, mcnemar(right, right).num_groups) == (1.0, 0)
    found = compare_shares(right, right)
    assert found.difference.value == 0
    assert found.difference.low < 0 < found.difference.high


def test_a_difference_has_one_p_value_and_names_its_test() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(60) < 0.6, rng.random(60) < 0.8
    lesion = np.arange(60) // 3
    shares = compare_shares(first, second, lesion)
    assert (shares.p_value, shares.test) == (mcnemar(first, second, lesion).p_value, "McNemar")
    ranked = compare_auroc(rng.random(60), rng.random(60), np.arange(60) % 2 == 0, lesion)
    assert ranked.test == "DeLong"


def test_reclassification_counts_melanomas_and_others_apart() -> None:
    is_melanoma = bools(1, 1, 1, 1, 0, 0, 0, 0)
    before, after = bools(1, 0, 0, 0, 1, 1, 0, 0), bools(1, 1, 1, 0, 1, 0, 0, 1)
    found = net_reclassification(before, after, is_melanoma)
    assert found.melanomas.difference.value == pytest.approx(2 / 4)
    assert found.others.difference.value == pytest.approx(0.0)
    assert found.net == pytest.approx(0.5)


def test_integers_in_place_of_decisions_are_refused() -> None:
    with pytest.raises(MetricError, match="expected booleans"):
        mcnemar(np.array([1, 0]), np.array([1, 1]))
    with pytest.raises(MetricError, match="expected booleans"):
        net_reclassification(bools(1, 0), np.array([1, 1]), bools(1, 0))
