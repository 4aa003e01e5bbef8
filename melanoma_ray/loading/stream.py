"""The training stream: Ray Data loads and augments the images of the sampling plan, all epochs in one execution.

A block has one worker's share of a few batches. With ``preserve_order`` Ray's splitter gives each block to the worker
that has had the fewest rows so far. Since all shares are equal, block i goes to worker ``i % num_workers``, and the
images of a batch don't depend on the number of workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import ray
import ray.data
from jaxtyping import Float32, Float64, Int64, UInt8, UInt64

from melanoma_ray.cluster.resources import smallest_object_store_bytes
from melanoma_ray.cluster.workarounds import dataset_of_blocks
from melanoma_ray.config import SAMPLING_EXPONENTS, AugmentationConfig, Experiment
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.dataset.shards import read_crops
from melanoma_ray.imaging.augmentation import augment
from melanoma_ray.imaging.decoding import resize
from melanoma_ray.loading.sampling_plan import PADDING, SamplingPlan, check_batch_size
from melanoma_ray.patients import encode_metadata, nothing_known

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 32 * 1024 * 1024
"""Largest size of a block of augmented pixels, bytes: large enough to hide a task's overhead, small enough for
several tasks to run at a time and for low use of memory."""
_MAX_BATCHES_PER_BLOCK = 8
_GROWING_FRACTION = 0.75
"""Share of the epochs after which progressive resizing reaches the whole side."""
_TASK_CPUS = 0.3
"""CPUs of a task that loads and augments: it shares the cores with the network, which has precedence."""
_MEMORY_SHARE = 0.3
"""Largest share of the smallest node's object store for the decoded images: blocks on their way need the rest."""


Batch = dict[str, np.ndarray]
"""One worker's share of a global batch, with the columns of ``build_stream``."""


class ImageSource(Protocol):
    """The train and validation images, numbered as in the plan: train first."""

    @property
    def target(self) -> np.ndarray:
        """Target of each image, int64; -1 for a diagnosis that the train split doesn't have."""

    @property
    def metadata(self) -> Float32[np.ndarray, "image feature"]:
        """Metadata of each image, from ``encode_metadata``."""

    def read(self, numbers: Int64[np.ndarray, " image"]) -> Iterable[UInt8[np.ndarray, "side side 3"]]:
        """Return the crops of some images.

        Args:
            numbers: Numbers of the images.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImages:
    """All crops in the object store, decompressed: each node has them once, and all tasks of a node share them."""

    pixels: ray.ObjectRef
    """Crops, uint8 array of shape image × side × side × 3."""
    target: np.ndarray
    metadata: Float32[np.ndarray, "image feature"]

    def read(self, numbers: Int64[np.ndarray, " image"]) -> list[UInt8[np.ndarray, "side side 3"]]:
        """Return the crops of some images, without copying them."""
        crops: UInt8[np.ndarray, "image side side 3"] = ray.get(self.pixels)
        return [crops[number] for number in numbers]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImages:
    """The images of a collection larger than memory, read from the prepared dataset when the plan needs them."""

    pixels_uri: str
    """Directory of the shards."""
    places: ray.ObjectRef
    """Shard (str) and row (int) of each image, as two arrays."""
    side: int
    """Width and height of the crops, pixels."""
    target: np.ndarray
    metadata: Float32[np.ndarray, "image feature"]

    def read(self, numbers: Int64[np.ndarray, " image"]) -> UInt8[np.ndarray, "image side side 3"]:
        """Return the crops of some images, read from their shards."""
        shard, row = ray.get(self.places)
        return read_crops(self.pixels_uri, shard[numbers], row[numbers], self.side)


def build_plan(dataset: PreparedDataset, experiment: Experiment) -> SamplingPlan:
    """Return the sampling plan of an experiment on a dataset."""
    train = dataset.split("train")
    weights = None
    if experiment.sampling != "uniform":
        num_images = train.groupby("diagnosis")["diagnosis"].transform("size").to_numpy(np.float64)
        weights = num_images ** SAMPLING_EXPONENTS[experiment.sampling]
    return SamplingPlan(
        num_train=len(train),
        num_val=len(dataset.split("val")),
        global_batch_size=experiment.global_batch_size,
        num_epochs=experiment.num_epochs,
        seed=experiment.seed,
        weights=weights,
    )


def open_images(dataset: PreparedDataset) -> ImageSource:
    """Return the train and validation images, in the object store if it has room for them, else on disk."""
    images = pd.concat([dataset.split("train"), dataset.split("val")], ignore_index=True)
    target, metadata = dataset.target(images), encode_metadata(images)
    side = dataset.info.config.image.side
    num_bytes = len(images) * 3 * side**2
    if num_bytes <= _MEMORY_SHARE * smallest_object_store_bytes():
        logger.info("%d images, %.1f GB decoded, are kept in memory", len(images), num_bytes / 1e9)
        pixels = ray.put(dataset.load_pixels(list(images["path"])))
        return DecodedImages(pixels=pixels, target=target, metadata=metadata)
    logger.info("%d images, %.1f GB decoded, are read from %s", len(images), num_bytes / 1e9, dataset.uri)
    places = ray.put((images["shard"].to_numpy(), images["row"].to_numpy()))
    return StoredImages(pixels_uri=dataset.pixels_uri, places=places, side=side, target=target, metadata=metadata)


def build_stream(
    plan: SamplingPlan, images: ImageSource, experiment: Experiment, *, start_batch: int, num_workers: int
) -> ray.data.Dataset:
    """Return the stream from a batch to the end of the run.

    Rows have ``pixels`` (uint8, side × side × 3), ``target`` (int64; -1: the image doesn't count), ``metadata``
    (float32, from ``encode_metadata``) and ``batch_index`` (int64).

    Args:
        plan: Sampling plan of the run.
        images: Train and validation images.
        experiment: Experiment of the run.
        start_batch: Batch index of the first batch.
        num_workers: Number of workers that share each batch.

    Raises:
        ConfigError: The workers can't share a global batch evenly.
    """
    check_batch_size(plan.global_batch_size, num_workers)
    blocks = plan_blocks(plan, experiment, start_batch=start_batch, num_workers=num_workers)
    stream = dataset_of_blocks(blocks)
    context = stream.context
    context.execution_options.preserve_order = True
    context.target_max_block_size = None  # a block must stay whole: it is one worker's share
    return stream.map_batches(
        load_and_augment,
        batch_size=None,
        batch_format="numpy",
        zero_copy_batch=True,
        num_cpus=_TASK_CPUS,
        fn_kwargs={"images": images, "config": experiment.augmentation},
    )


def input_side(plan: SamplingPlan, experiment: Experiment, batch_index: int) -> int:
    """Return the side of the network's input in a batch, pixels: a multiple of 4 while it grows, whole in validation.

    Args:
        plan: Sampling plan of the run.
        experiment: Experiment of the run, with ``model.image_side`` and ``initial_side_fraction``.
        batch_index: Batch index of the batch.
    """
    whole, first = experiment.model.image_side, experiment.initial_side_fraction
    if first == 1 or not plan.is_training(batch_index):
        return whole
    grown = min(1.0, plan.epoch(batch_index) / max(1.0, _GROWING_FRACTION * (plan.num_epochs - 1)))
    share = first + (1 - first) * grown
    return whole if share == 1 else max(32, round(whole * share / 4) * 4)


def plan_blocks(plan: SamplingPlan, experiment: Experiment, *, start_batch: int, num_workers: int) -> list[pa.Table]:
    """Return the plan's rows from a batch on as blocks: one for worker 0, one for worker 1 and so on, then again.

    All batches of a block have the same input side. The first block of each worker has a single batch, so that
    training starts as soon as that batch is ready.

    Args:
        plan: Sampling plan of the run.
        experiment: Experiment of the run.
        start_batch: Batch index of the first batch.
        num_workers: Number of workers that share each batch.
    """
    share = plan.global_batch_size // num_workers
    batches_per_block = max(
        1, min(_MAX_BATCHES_PER_BLOCK, _BLOCK_BYTES // (share * 3 * experiment.model.image_side**2))
    )

    def side_and_place(batch_index: int) -> tuple[int, int]:
        # Rounded up, so that the first batch is alone: 0, then 1 for the next batches_per_block batches, and so on.
        return input_side(plan, experiment, batch_index), -(-(batch_index - start_batch) // batches_per_block)

    blocks = []
    for (side, _), same in groupby(range(start_batch, plan.num_batches), key=side_and_place):
        batches = list(same)
        rows = [plan.images(batch_index) for batch_index in batches]
        for worker in range(num_workers):
            mine = slice(worker * share, (worker + 1) * share)
            blocks.append(
                pa.table(
                    {
                        "image": np.concatenate([numbers[mine] for numbers, _ in rows]),
                        "augmentation_seed": np.concatenate([seeds[mine] for _, seeds in rows]),
                        "batch_index": np.repeat(np.asarray(batches, np.int64), share),
                        "is_training": np.repeat([plan.is_training(batch_index) for batch_index in batches], share),
                        "side": np.full(len(batches) * share, side, np.int64),
                    }
                )
            )
    return blocks


def load_and_augment(batch: dict[str, np.ndarray], images: ImageSource, config: AugmentationConfig) -> dict[str, Any]:
    """Return the stream's rows for rows of the plan that have the same input side.

    Args:
        batch: Rows of a block of ``plan_blocks``.
        images: Train and validation images.
        config: Augmentation of the training images.
    """
    cv2.setNumThreads(1)  # Ray runs a task for each CPU there is
    numbers, side = batch["image"], int(batch["side"][0])
    places = np.flatnonzero(numbers != PADDING)
    pixels = np.zeros((len(numbers), side, side, 3), np.uint8)
    for place, crop in zip(places, images.read(numbers[places]), strict=True):
        if batch["is_training"][place]:
            pixels[place] = augment(crop, config, seed=int(batch["augmentation_seed"][place]), image_side=side)
        else:
            pixels[place] = resize(crop, side, side)
    target = np.where(numbers == PADDING, -1, images.target[numbers])
    is_hidden = batch["is_training"] & (_draw_from(batch["augmentation_seed"]) < config.hidden_metadata_fraction)
    metadata = np.where(is_hidden[:, None], nothing_known(len(numbers)), images.metadata[numbers])
    return {"pixels": pixels, "target": target, "metadata": metadata, "batch_index": batch["batch_index"]}


def _draw_from(seeds: UInt64[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """Return a number in [0, 1) for each augmentation seed: its upper 53 bits, which are uniformly distributed."""
    return np.asarray((seeds >> np.uint64(11)) / 2.0**53, np.float64)
