"""The sampling plan: who is seen when."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.config import Experiment, ModelConfig
from melanoma_ray.errors import ConfigError
from melanoma_ray.loading.sampling_plan import PADDING, SamplingPlan, check_batch_size

EXPERIMENT = Experiment(model=ModelConfig(network="tf_efficientnet_lite0", image_side=64))
plans = st.builds(
    SamplingPlan,
    num_train=st.integers(20, 60),
    num_val=st.integers(1, 25),
    global_batch_size=st.sampled_from([4, 6, 12]),
    num_epochs=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)


def batches(plan: SamplingPlan, *, is_training: bool) -> list[int]:
    return [batch_index for batch_index in range(plan.num_batches) if plan.is_training(batch_index) == is_training]


@given(plans)
def test_every_image_is_seen_once_an_epoch_but_for_the_run_s_last_remainder(plan: SamplingPlan) -> None:
    seen = np.concatenate([plan.images(batch_index)[0] for batch_index in batches(plan, is_training=True)])
    assert len(seen) == plan.num_steps * plan.global_batch_size
    assert plan.num_epochs * plan.num_train - len(seen) < plan.global_batch_size
    for epoch in range(plan.num_epochs):
        numbers = seen[epoch * plan.num_train : (epoch + 1) * plan.num_train]
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= set(range(plan.num_train))


@given(plans)
def test_validation_follows_each_epoch_in_order_and_padding_is_marked(plan: SamplingPlan) -> None:
    val = batches(plan, is_training=False)
    numbers = np.concatenate([plan.images(batch_index)[0] for batch_index in val])
    expected = np.arange(plan.num_train, plan.num_train + plan.num_val)
    for part in np.split(numbers, len(plan.last_steps)):
        np.testing.assert_array_equal(part[part != PADDING], expected)
    assert len(val) == len(plan.last_steps) * plan.num_val_batches
    assert not plan.is_training(plan.num_batches - 1)


def test_epochs_differ_in_order_and_in_augmentation_and_a_seed_repeats_both() -> None:
    plan = SamplingPlan(num_train=16, num_val=1, global_batch_size=16, num_epochs=2, seed=3)
    first, second = plan.images(0), plan.images(2)
    assert (first[0] != second[0]).any()
    assert not set(first[1]) & set(second[1])
    again = SamplingPlan(num_train=16, num_val=1, global_batch_size=16, num_epochs=2, seed=3)
    np.testing.assert_array_equal(again.images(0)[1], first[1])


def test_augmentation_seeds_don_t_collide_over_a_long_run() -> None:
    plan = SamplingPlan(num_train=2000, num_val=1, global_batch_size=50, num_epochs=20, seed=0)
    seeds = np.concatenate(
        [plan.images(batch_index)[1] for batch_index in range(plan.num_batches) if plan.is_training(batch_index)]
    )
    assert len(set(seeds.tolist())) == len(seeds)


def test_a_batch_larger_than_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="global_batch_size=64: more than 10 training images"):
        SamplingPlan(num_train=10, num_val=1, global_batch_size=64, num_epochs=2, seed=0)


def test_a_batch_that_the_workers_can_t_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"3 workers can't share it evenly; choose a multiple of 3, such as 33$"):
        check_batch_size(32, 3)
    with pytest.raises(ConfigError, match=r"3 workers can't share it evenly; choose a multiple of 12, such as 36$"):
        check_batch_size(32, 1, 2, 3, 4)
    with pytest.raises(ConfigError, match=r"2 workers .* each in 8 parts; choose a multiple of 16, such as 32$"):
        check_batch_size(24, 2, num_parts=8)
    check_batch_size(24, 1, 2, 3, 4)
    check_batch_size(24, 0)
    check_batch_size(24, 2, num_parts=6)


@given(st.integers(0, 2**31), st.integers(0, 2))
def test_a_weighted_epoch_shows_each_image_in_proportion_to_its_weight(seed: int, epoch: int) -> None:
    weights = np.array([1.0] * 30 + [4.5] * 10)
    plan = SamplingPlan(num_train=40, num_val=4, global_batch_size=8, num_epochs=3, seed=seed, weights=weights)
    training = batches(plan, is_training=True)[epoch * 5 : (epoch + 1) * 5]
    numbers, seeds = (
        np.concatenate(parts) for parts in zip(*(plan.images(batch_index) for batch_index in training), strict=True)
    )
    times = np.bincount(numbers, minlength=40)
    expected = weights / weights.sum() * 40
    assert ((times >= np.floor(expected)) & (times <= np.ceil(expected))).all()
    assert len(set(seeds.tolist())) == 40  # one seen twice is changed in two ways
