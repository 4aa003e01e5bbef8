"""Cohen's kappa, beside a peer and over groups."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.agreement import estimate_kappa


def draw(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(number) < 0.3
    first, second = (np.where(rng.random(number) < 0.85, truth, ~truth) for _ in range(2))
    return first, second


def test_the_value_and_with_many_images_the_interval_are_those_of_statsmodels() -> None:
    first, second = draw(2000)
    table = [[np.sum((first == a) & (second == b)) for b in (False, True)] for a in (False, True)]
    peer = cohens_kappa(np.array(table))
    found = estimate_kappa(first, second)
    assert found.value == pytest.approx(peer.kappa)
    assert (found.low, found.high) == pytest.approx((peer.kappa_low, peer.kappa_upp), abs=0.01)


def test_images_of_one_lesion_widen_the_interval() -> None:
    first, second = draw(100)
    alone = estimate_kappa(first, second)
    again = estimate_kappa(np.repeat(first, 5), np.repeat(second, 5), np.repeat(np.arange(100), 5))
    assert again.value == pytest.approx(alone.value)
    assert again.high - again.low > 0.95 * (alone.high - alone.low)


def test_full_agreement_has_a_width_and_full_disagreement_is_below_chance() -> None:
    first = np.arange(30) % 3 == 0
    same = estimate_kappa(first, first)
    assert (same.value, same.high) == (1.0, 1.0)
    assert same.low < 0.9
    assert same.is_sparse
    assert estimate_kappa(first, ~first).value < 0


def test_two_judges_who_say_the_same_to_all_have_no_kappa() -> None:
    with pytest.raises(MetricError, match="both judges say the same to all 4 images"):
        estimate_kappa(np.zeros(4, bool), np.zeros(4, bool))
