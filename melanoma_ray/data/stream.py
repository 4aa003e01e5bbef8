"""The training stream: Ray Data maps the sampling plan through "load and augment", all epochs in one execution.

A block holds one worker's share of a few slots. With ``preserve_order`` Ray's splitter gives each
block to the consumer that has had the fewest rows; since the shares of a slot are equal, block i
goes to worker ``i % num_workers``, and what is in a slot doesn't depend on the number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from jaxtyping import UInt8

from melanoma_ray.config import AugmentationConfig, Experiment
from melanoma_ray.data.dataset import PreparedDataset
from melanoma_ray.data.pacing import PacedLoop
from melanoma_ray.data.plan import PADDING, SamplingPlan, check_batch_size
from melanoma_ray.imaging.augmentation import augment
from melanoma_ray.imaging.decoding import resize

_BLOCK_BYTES = 32 * 1024 * 1024
"""Upper bound of a block of augmented pixels: large enough to hide a task's overhead, small enough
to give several tasks something to do and to keep memory low."""
_MAX_SLOTS_PER_BLOCK = 8
_TASK_CPUS = 0.3
"""Of a task that loads and augments: it shares the cores with the network, which has precedence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedSplits:
    """The train and validation images, decoded, in the object store."""

    pixels: ray.ObjectRef
    """uint8 array of shape image × side × side × 3: train first, then validation."""
    targets: np.ndarray
    """Class of each image, int64; -1 for a diagnosis that training doesn't know."""


def build_plan(dataset: PreparedDataset, experiment: Experiment) -> SamplingPlan:
    """Return the plan of an experiment on a dataset."""
    return SamplingPlan(
        num_train=len(dataset.split("train")),
        num_val=len(dataset.split("val")),
        global_batch_size=experiment.global_batch_size,
        num_epochs=experiment.num_epochs,
        seed=experiment.seed,
    )


def load_decoded(dataset: PreparedDataset) -> DecodedSplits:
    """Put both splits' squares into the object store, once for all epochs and tasks of a node."""
    train, val = dataset.split("train"), dataset.split("val")
    paths = [*train["path"], *val["path"]]
    targets = np.concatenate([dataset.targets(train), dataset.targets(val)])
    return DecodedSplits(pixels=ray.put(dataset.load_pixels(paths)), targets=targets)


def build_stream(
    plan: SamplingPlan, decoded: DecodedSplits, experiment: Experiment, *, start_slot: int, num_workers: int
) -> ray.data.Dataset:
    """Return the stream from a slot to the end of the run.

    Rows have ``pixels`` (uint8, image_side × image_side × 3), ``target`` (int64; -1: not counted) and
    ``slot`` (int64).

    Raises:
        ConfigError: The workers can't share a global batch evenly.
    """
    check_batch_size(plan.global_batch_size, num_workers)
    blocks = plan_blocks(plan, experiment.model.image_side, start_slot=start_slot, num_workers=num_workers)
    stream = ray.data.from_blocks(blocks)  # from_arrow asks a task of one CPU about each: it could wait forever
    context = stream.context
    context.execution_options.preserve_order = True
    context.target_max_block_size = None  # a block must stay whole: it is one worker's share
    context.enable_progress_bars = False
    context.custom_execution_callback_classes = [PacedLoop]
    return stream.map_batches(
        load_and_augment,
        batch_size=None,
        batch_format="numpy",
        zero_copy_batch=True,
        num_cpus=_TASK_CPUS,
        fn_kwargs={
            "decoded": decoded,
            "config": experiment.augmentation,
            "image_side": experiment.model.image_side,
        },
    )


def plan_blocks(plan: SamplingPlan, image_side: int, *, start_slot: int, num_workers: int) -> list[pa.Table]:
    """Return the plan's rows from a slot on as blocks: worker 0's, worker 1's and so on, then worker 0's next."""
    share = plan.global_batch_size // num_workers
    slots_per_block = max(1, min(_MAX_SLOTS_PER_BLOCK, _BLOCK_BYTES // (share * 3 * image_side**2)))
    blocks = []
    for first in range(start_slot, plan.num_slots, slots_per_block):
        slots = range(first, min(first + slots_per_block, plan.num_slots))
        rows = [plan.images(slot) for slot in slots]
        for worker in range(num_workers):
            mine = slice(worker * share, (worker + 1) * share)
            blocks.append(
                pa.table(
                    {
                        "image": np.concatenate([numbers[mine] for numbers, _ in rows]),
                        "augmentation_seed": np.concatenate([seeds[mine] for _, seeds in rows]),
                        "slot": np.repeat(np.asarray(slots, np.int64), share),
                        "is_training": np.repeat([plan.is_training(slot) for slot in slots], share),
                    }
                )
            )
    return blocks


def load_and_augment(
    batch: dict[str, np.ndarray], decoded: DecodedSplits, config: AugmentationConfig, image_side: int
) -> dict[str, Any]:
    """Turn rows of the plan into pixels and targets."""
    squares: UInt8[np.ndarray, "image side side 3"] = ray.get(decoded.pixels)
    numbers = batch["image"]
    pixels = np.zeros((len(numbers), image_side, image_side, 3), np.uint8)
    rows = zip(numbers, batch["augmentation_seed"], batch["is_training"], strict=True)
    for row, (number, seed, is_training) in enumerate(rows):
        if is_training:
            pixels[row] = augment(squares[number], config, seed=int(seed), image_side=image_side)
        elif number != PADDING:
            pixels[row] = resize(squares[number], image_side, image_side)
    targets = np.where(numbers == PADDING, -1, decoded.targets[numbers])
    return {"pixels": pixels, "target": targets, "slot": batch["slot"]}
