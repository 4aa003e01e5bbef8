"""The training stream: Ray Data maps the sampling plan through "load and augment", all epochs in one execution.

A block holds one worker's share of a few slots. With ``preserve_order`` Ray's splitter gives each
block to the consumer that has had the fewest rows; since the shares of a slot are equal, block i
goes to worker ``i % num_workers``, and what is in a slot doesn't depend on the number of workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import ray
import ray.data
from jaxtyping import Float32, Float64, Int64, UInt8, UInt64

from melanoma_ray.config import SAMPLING_EXPONENTS, AugmentationConfig, Experiment
from melanoma_ray.data.chunks import read_squares
from melanoma_ray.data.dataset import PreparedDataset
from melanoma_ray.data.pacing import PacedLoop
from melanoma_ray.data.plan import PADDING, SamplingPlan, check_batch_size
from melanoma_ray.imaging.augmentation import augment
from melanoma_ray.imaging.decoding import resize
from melanoma_ray.model.metadata import encode_metadata, nothing_known

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 32 * 1024 * 1024
"""Upper bound of a block of augmented pixels: large enough to hide a task's overhead, small enough
to give several tasks something to do and to keep memory low."""
_MAX_SLOTS_PER_BLOCK = 8
_GROWING_FRACTION = 0.75
"""Of the epochs, in which progressive resizing reaches the whole side."""
_TASK_CPUS = 0.3
"""Of a task that loads and augments: it shares the cores with the network, which has precedence."""
_MEMORY_SHARE = 0.3
"""Of the smallest node's object store, that the decoded images may take: blocks in flight need the rest."""


class ImageSource(Protocol):
    """The train and validation images, numbered as the plan numbers them: train first."""

    @property
    def targets(self) -> np.ndarray:
        """Class of each image, int64; -1 for a diagnosis that training doesn't know."""

    @property
    def metadata(self) -> Float32[np.ndarray, "image feature"]:
        """From ``encode_metadata``."""

    def read(self, numbers: Int64[np.ndarray, " image"]) -> Iterable[UInt8[np.ndarray, "side side 3"]]:
        """Return the stored squares of some images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImages:
    """All images, decoded, in the object store: each node has them once, and nothing is copied."""

    pixels: ray.ObjectRef
    """uint8 array of shape image × side × side × 3."""
    targets: np.ndarray
    metadata: Float32[np.ndarray, "image feature"]

    def read(self, numbers: Int64[np.ndarray, " image"]) -> list[UInt8[np.ndarray, "side side 3"]]:
        """Return views."""
        squares: UInt8[np.ndarray, "image side side 3"] = ray.get(self.pixels)
        return [squares[number] for number in numbers]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImages:
    """A collection larger than memory, read from the prepared dataset as the plan asks for it."""

    pixels_uri: str
    places: ray.ObjectRef
    """Chunk (str) and row (int) of each image, two arrays."""
    side: int
    targets: np.ndarray
    metadata: Float32[np.ndarray, "image feature"]

    def read(self, numbers: Int64[np.ndarray, " image"]) -> UInt8[np.ndarray, "image side side 3"]:
        """Read their record batches."""
        chunk, row = ray.get(self.places)
        return read_squares(self.pixels_uri, chunk[numbers], row[numbers], self.side)


def build_plan(dataset: PreparedDataset, experiment: Experiment) -> SamplingPlan:
    """Return the plan of an experiment on a dataset."""
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
    """Put both splits' squares into the object store, or where they are too many, prepare to read them in order."""
    images = pd.concat([dataset.split("train"), dataset.split("val")], ignore_index=True)
    targets, metadata = dataset.targets(images), encode_metadata(images)
    side = dataset.info.config.image.side
    num_bytes = len(images) * 3 * side**2
    room = _MEMORY_SHARE * min(
        node["Resources"].get("object_store_memory", 0.0) for node in ray.nodes() if node["Alive"]
    )
    if num_bytes <= room:
        logger.info("%d images, %.1f GB decoded, are kept in memory", len(images), num_bytes / 1e9)
        pixels = ray.put(dataset.load_pixels(list(images["path"])))
        return DecodedImages(pixels=pixels, targets=targets, metadata=metadata)
    logger.info("%d images, %.1f GB decoded, are read from %s", len(images), num_bytes / 1e9, dataset.uri)
    places = ray.put((images["chunk"].to_numpy(), images["row"].to_numpy()))
    return StoredImages(pixels_uri=dataset.pixels_uri, places=places, side=side, targets=targets, metadata=metadata)


def build_stream(
    plan: SamplingPlan, images: ImageSource, experiment: Experiment, *, start_slot: int, num_workers: int
) -> ray.data.Dataset:
    """Return the stream from a slot to the end of the run.

    Rows have ``pixels`` (uint8, side × side × 3), ``target`` (int64; -1: not counted), ``metadata`` (float32, as
    ``encode_metadata`` gives them) and ``slot`` (int64).

    Raises:
        ConfigError: The workers can't share a global batch evenly.
    """
    check_batch_size(plan.global_batch_size, num_workers)
    blocks = plan_blocks(plan, experiment, start_slot=start_slot, num_workers=num_workers)
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
        fn_kwargs={"images": images, "config": experiment.augmentation},
    )


def input_side(plan: SamplingPlan, experiment: Experiment, slot: int) -> int:
    """Return the side of the network's input in a slot, pixels: a multiple of 4 while it grows, whole in validation."""
    whole, first = experiment.model.image_side, experiment.initial_side_fraction
    if first == 1 or not plan.is_training(slot):
        return whole
    grown = min(1.0, plan.epoch(slot) / max(1.0, _GROWING_FRACTION * (plan.num_epochs - 1)))
    share = first + (1 - first) * grown
    return whole if share == 1 else max(32, round(whole * share / 4) * 4)


def plan_blocks(plan: SamplingPlan, experiment: Experiment, *, start_slot: int, num_workers: int) -> list[pa.Table]:
    """Return the plan's rows from a slot on as blocks: worker 0's, worker 1's and so on, then worker 0's next.

    A block holds slots of one side. The first one holds a single slot, so that training begins when one batch is ready.
    """
    share = plan.global_batch_size // num_workers
    slots_per_block = max(1, min(_MAX_SLOTS_PER_BLOCK, _BLOCK_BYTES // (share * 3 * experiment.model.image_side**2)))

    def side_and_place(slot: int) -> tuple[int, int]:
        return input_side(plan, experiment, slot), -(-(slot - start_slot) // slots_per_block)

    blocks = []
    for (side, _), same in groupby(range(start_slot, plan.num_slots), key=side_and_place):
        slots = list(same)
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
                        "side": np.full(len(slots) * share, side, np.int64),
                    }
                )
            )
    return blocks


def load_and_augment(batch: dict[str, np.ndarray], images: ImageSource, config: AugmentationConfig) -> dict[str, Any]:
    """Turn rows of the plan, all of one side, into pixels, targets and metadata."""
    numbers, side = batch["image"], int(batch["side"][0])
    places = np.flatnonzero(numbers != PADDING)
    pixels = np.zeros((len(numbers), side, side, 3), np.uint8)
    for place, square in zip(places, images.read(numbers[places]), strict=True):
        if batch["is_training"][place]:
            pixels[place] = augment(square, config, seed=int(batch["augmentation_seed"][place]), image_side=side)
        else:
            pixels[place] = resize(square, side, side)
    targets = np.where(numbers == PADDING, -1, images.targets[numbers])
    is_hidden = batch["is_training"] & (_draw_from(batch["augmentation_seed"]) < config.hidden_metadata_fraction)
    metadata = np.where(is_hidden[:, None], nothing_known(len(numbers)), images.metadata[numbers])
    return {"pixels": pixels, "target": targets, "metadata": metadata, "slot": batch["slot"]}


def _draw_from(seeds: UInt64[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """Return a number in [0, 1) for each seed: its upper bits, since they are mixed already."""
    return np.asarray((seeds >> np.uint64(11)) / 2.0**53, np.float64)
