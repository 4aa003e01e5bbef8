"""The stream: the plan's rows as blocks, one worker's share each, and what loading makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.config import AugmentationConfig, Experiment, ModelConfig
from melanoma_ray.loading.sampling_plan import SamplingPlan
from melanoma_ray.loading.stream import input_side, load_and_augment, plan_blocks
from tests.unit.training.local_backend import SIDE, Images

EXPERIMENT = Experiment(model=ModelConfig(network="tf_efficientnet_lite0", image_side=64))
plans = st.builds(
    SamplingPlan,
    num_train=st.integers(20, 60),
    num_val=st.integers(1, 25),
    global_batch_size=st.sampled_from([4, 6, 12]),
    num_epochs=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)


@given(plans, st.sampled_from([1, 2]))
def test_a_global_batch_holds_the_same_images_for_any_number_of_workers(plan: SamplingPlan, num_workers: int) -> None:
    blocks = plan_blocks(plan, EXPERIMENT, start_batch=0, num_workers=num_workers)
    images: dict[int, list[int]] = {batch_index: [] for batch_index in range(plan.num_batches)}
    for block in blocks:
        for batch_index, image in zip(block["batch_index"].to_pylist(), block["image"].to_pylist(), strict=True):
            images[batch_index].append(image)
    for batch_index, numbers in images.items():
        assert sorted(numbers) == sorted(plan.images(batch_index)[0].tolist())


@given(plans)
def test_a_resumed_plan_is_the_tail_of_the_whole_plan(plan: SamplingPlan) -> None:
    start = plan.num_batches // 2
    tail = [
        row for block in plan_blocks(plan, EXPERIMENT, start_batch=start, num_workers=1) for row in block.to_pylist()
    ]
    whole = [row for block in plan_blocks(plan, EXPERIMENT, start_batch=0, num_workers=1) for row in block.to_pylist()]
    assert tail == [row for row in whole if row["batch_index"] >= start]


def test_workers_shares_of_a_batch_have_equal_rows_so_that_the_splitter_takes_turns() -> None:
    plan = SamplingPlan(num_train=50, num_val=7, global_batch_size=8, num_epochs=3, seed=1)
    blocks = plan_blocks(plan, EXPERIMENT, start_batch=3, num_workers=4)
    rows = [block.num_rows for block in blocks]
    assert all(len(set(rows[i : i + 4])) == 1 for i in range(0, len(rows), 4))


def test_the_first_block_holds_a_single_batch_so_that_training_needn_t_wait_for_more() -> None:
    plan = SamplingPlan(num_train=50, num_val=7, global_batch_size=8, num_epochs=3, seed=1)
    batches_of = [
        sorted(set(b["batch_index"].to_pylist())) for b in plan_blocks(plan, EXPERIMENT, start_batch=3, num_workers=2)
    ]
    assert batches_of[:2] == [[3], [3]]
    assert batches_of[2] == batches_of[3] == list(range(4, 12))


def test_the_input_grows_to_its_whole_side_in_training_alone() -> None:
    plan = SamplingPlan(num_train=32, num_val=4, global_batch_size=8, num_epochs=9, seed=0)
    experiment = replace(EXPERIMENT, initial_side_fraction=0.5, num_epochs=9)
    sides = [input_side(plan, experiment, i) for i in range(plan.num_batches) if plan.is_training(i)]
    assert sides == sorted(sides)
    assert sides[0] == 32
    assert set(sides[-12:]) == {64}
    assert all(side % 4 == 0 for side in sides)
    assert {input_side(plan, experiment, i) for i in range(plan.num_batches) if not plan.is_training(i)} == {64}
    for block in plan_blocks(plan, experiment, start_batch=0, num_workers=2):
        assert len(set(block["side"].to_pylist())) == 1


def rows(num_rows: int, *, is_training: bool) -> dict[str, np.ndarray]:
    seeds = np.random.default_rng(0).integers(0, 2**64, num_rows, np.uint64)
    return {
        "image": np.arange(num_rows) % 60,
        "augmentation_seed": seeds,
        "batch_index": np.zeros(num_rows, np.int64),
        "is_training": np.full(num_rows, is_training),
        "side": np.full(num_rows, SIDE),
    }


def test_a_share_of_the_training_images_hides_its_metadata_and_none_in_validation() -> None:
    images = Images()
    images.metadata = np.ones_like(images.metadata)
    config = AugmentationConfig(hidden_metadata_fraction=0.3)
    training = load_and_augment(rows(1000, is_training=True), images, config)["metadata"]
    assert training.any(axis=1).mean() == pytest.approx(0.7, abs=0.05)
    assert training.dtype == np.float32
    assert load_and_augment(rows(100, is_training=False), images, config)["metadata"].all()
