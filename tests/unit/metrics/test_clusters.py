"""Groups of images: their sums, variances and effective numbers."""

from __future__ import annotations

import numpy as np
import pytest

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import Clusters, Spread, design_effect


def test_groups_may_be_strings_or_numbers_with_gaps() -> None:
    values = np.array([1.0, 2.0, 4.0])
    for group in (np.array(["b", "a", "b"]), np.array([7, -3, 7]), np.array([5, 2, 5]), np.array([1.5, 0.1, 1.5])):
        clusters = Clusters.build(group, values)
        assert clusters.num_groups == 2
        assert sorted(clusters.add_up(values)) == [2.0, 5.0]


def test_without_groups_each_image_is_its_own() -> None:
    assert Clusters.build(None, np.zeros(3)).num_groups == 3


def test_groups_of_another_number_of_images_are_refused() -> None:
    with pytest.raises(MetricError, match="differ"):
        Clusters.build(np.array([1, 2]), np.zeros(3))


def test_chosen_images_keep_who_belongs_together() -> None:
    clusters = Clusters.build(np.array([0, 0, 1, 2, 2]), np.zeros(5)).select(np.array([True, True, False, True, False]))
    assert clusters.num_groups == 2
    assert clusters.add_up(np.ones(3)).tolist() == [2.0, 1.0]


def test_the_variance_over_single_images_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).random(50)
    spread = Clusters.build(None, values).spread((values - values.mean()) / 50)
    assert spread.variance == pytest.approx(values.var(ddof=1) / 50)


def test_copies_within_a_group_leave_the_variance_as_it_is() -> None:
    values = np.random.default_rng(0).random(50)
    single = Clusters.build(None, values).spread((values - values.mean()) / 50)
    copied = np.repeat(values, 10)
    spread = Clusters.build(np.repeat(np.arange(50), 10), copied).spread((copied - copied.mean()) / 500)
    assert spread == pytest.approx(single)


def test_degrees_of_freedom_are_few_where_one_group_makes_the_variance() -> None:
    even, uneven = np.tile([1.0, -1.0], 50), np.full(100, -0.01)
    uneven[0] = 0.99
    clusters = Clusters.build(None, even)
    assert clusters.spread(even).df == pytest.approx(99)
    assert clusters.spread(uneven).df < 3


def test_one_group_tells_nothing_of_the_variance() -> None:
    assert Clusters.build(np.zeros(5), np.zeros(5)).spread(np.ones(5)) == Spread(0.0, 0.0)


def test_the_mean_size_is_kishs() -> None:
    assert Clusters.build(np.array([0, 1, 1, 1]), np.zeros(4)).mean_size == pytest.approx((1 + 9) / 4)


def test_images_of_a_group_are_taken_for_alike_where_nothing_varies() -> None:
    clusters = Clusters.build(np.repeat(np.arange(10), 3), np.zeros(30))
    assert design_effect(clusters, Spread(0.0, 0.0), 0.0) == pytest.approx(3.0)


def test_the_design_effect_of_many_groups_is_what_is_seen() -> None:
    clusters = Clusters.build(np.repeat(np.arange(4000), 3), np.zeros(12_000))
    assert design_effect(clusters, Spread(1.5, 3999), 1.0) == pytest.approx(1.5, abs=0.01)
