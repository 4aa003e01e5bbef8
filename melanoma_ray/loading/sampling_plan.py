"""The sampling plan: which image is in which batch, as a pure function of a seed.

Epochs follow each other without a gap: image k of the run is image ``k % num_train`` of the permutation of epoch
``k // num_train``, and step s has the images [s·B, (s+1)·B), where B is the global batch size. So a batch may have
images of two epochs, and no image of an epoch is left out because B doesn't divide the epoch; only the fewer than B
images after the last whole step of the run aren't seen. After each epoch's last step the validation split follows, in
order, padded to whole batches.

Where rare diagnoses are to be seen more often, an epoch's images are drawn by weight instead: an image whose share of
all weights is w appears ⌊w·num_train⌋ or ⌈w·num_train⌉ times.

A batch here is one global batch, of training or of validation, identified by its batch index in the run. Its images
depend neither on the number of workers nor on interruptions: a resumed run starts at the batch index of its progress.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, UInt64

from melanoma_ray.errors import ConfigError
from melanoma_ray.wording import count

PADDING = -1
"""Image number of a row that only fills up a validation batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingPlan:
    """Everything that decides the order of images."""

    num_train: int
    """Number of images of the train split, which are numbered from 0."""
    num_val: int
    """Number of images of the validation split, which are numbered from ``num_train``."""
    global_batch_size: int
    """Number of images of a batch, over all workers."""
    num_epochs: int
    seed: int
    weights: Float64[np.ndarray, " image"] | None = None
    """Sampling weight of each training image, on any scale; none: each image is seen once in an epoch."""

    def __post_init__(self) -> None:
        """Refuse a plan without a single step."""
        if self.num_steps < 1:
            msg = (
                f"global_batch_size={self.global_batch_size}: more than {count(self.num_train, 'training image')} in "
                f"{count(self.num_epochs, 'epoch')}; choose a smaller one"
            )
            raise ConfigError(msg)

    @property
    def num_steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self.num_epochs * self.num_train // self.global_batch_size

    @property
    def num_val_batches(self) -> int:
        """Number of batches of one pass over the validation split."""
        return -(-self.num_val // self.global_batch_size)

    @cached_property
    def last_steps(self) -> Int64[np.ndarray, " epoch"]:
        """Number of steps done at the end of each epoch, strictly increasing: epochs shorter than a step are merged."""
        ends = np.arange(1, self.num_epochs + 1) * self.num_train // self.global_batch_size
        return np.asarray(np.unique(ends[ends > 0]), np.int64)

    @property
    def num_batches(self) -> int:
        """Number of batches of the whole run, of training and of validation."""
        return self.num_steps + len(self.last_steps) * self.num_val_batches

    def is_training(self, batch_index: int) -> bool:
        """Return whether a batch is one of training, and not of validation."""
        return self._locate(batch_index)[1] is None

    def _locate(self, batch_index: int) -> tuple[int, int | None]:
        """Return the number of steps before a batch, and its place in its validation pass; none: a training batch."""
        # Before the first batch of pass p there are the steps of p + 1 epochs and the batches of p validation passes.
        first_val_batches = self.last_steps + np.arange(len(self.last_steps)) * self.num_val_batches
        passes = int(np.searchsorted(first_val_batches, batch_index, side="right"))  # that have begun at this batch
        if passes:
            into = batch_index - int(first_val_batches[passes - 1])
            if into < self.num_val_batches:
                return int(self.last_steps[passes - 1]), into
        return batch_index - passes * self.num_val_batches, None

    def images(self, batch_index: int) -> tuple[Int64[np.ndarray, " image"], UInt64[np.ndarray, " image"]]:
        """Return the image numbers of a batch, and the augmentation seed of each image (0 in validation)."""
        step, into = self._locate(batch_index)
        size = self.global_batch_size
        if into is not None:  # validation: the next images in order, and padding behind the last one
            numbers = np.arange(into * size, (into + 1) * size)
            padded = np.where(numbers < self.num_val, numbers + self.num_train, PADDING)
            return padded.astype(np.int64), np.zeros(size, np.uint64)
        # Training: places in the sequence of all epochs, each looked up in the order of its own epoch.
        place = np.arange(step * size, (step + 1) * size)
        epochs = place // self.num_train
        parts = [_order(self, int(epoch))[:, place[epochs == epoch] % self.num_train] for epoch in np.unique(epochs)]
        numbers, repeats = np.concatenate(parts, axis=1)
        return numbers, _augmentation_seeds(self.seed, epochs, numbers, repeats)

    def epoch(self, batch_index: int) -> int:
        """Return the number, from 0, of the epoch that the first image of a training batch belongs to."""
        return self._locate(batch_index)[0] * self.global_batch_size // self.num_train


@lru_cache(maxsize=2)
def _order(plan: SamplingPlan, epoch: int) -> Int64[np.ndarray, "2 image"]:
    """Return the image numbers of an epoch in their order, and for each how often it occurred in the epoch before.

    Cached, because the next batch is mostly of the same epoch.
    """
    random = np.random.Generator(np.random.Philox(key=[plan.seed, epoch]))
    order = random.permutation(plan.num_train)
    repeats: Int64[np.ndarray, " image"] = np.zeros(len(order), np.int64)
    if plan.weights is not None:
        # Systematic sampling: image i is a segment of length w·num_train of a line, on which num_train points lie at
        # distance 1 behind a random start. An image is drawn once for each point in its segment.
        ends = np.cumsum(plan.weights[order]) / plan.weights.sum() * plan.num_train
        drawn = np.searchsorted(ends, np.arange(plan.num_train) + random.random(), side="right")
        order = order[np.minimum(drawn, plan.num_train - 1)]  # rounding may leave the last end below the last point
        repeats = pd.Series(order).groupby(order).cumcount().to_numpy().astype(np.int64)
        shuffled = random.permutation(plan.num_train)  # the draws of an image are neighbours until now
        order, repeats = order[shuffled], repeats[shuffled]
    found = np.stack([order, repeats])
    found.flags.writeable = False
    return found


def _augmentation_seeds(
    seed: int,
    epochs: Int64[np.ndarray, " image"],
    numbers: Int64[np.ndarray, " image"],
    repeats: Int64[np.ndarray, " image"],
) -> UInt64[np.ndarray, " image"]:
    """Return a seed for each (seed, epoch, image, repeat), mixed by SplitMix64's finalizer.

    References:
        Steele 2014, doi:10.1145/2660193.2660195.
    """
    mixed = np.full(len(numbers), seed, np.uint64)
    with np.errstate(over="ignore"):
        for part in (  # image and repeat share one number: the repeat has its upper 24 bits
            epochs.astype(np.uint64),
            numbers.astype(np.uint64) + (repeats.astype(np.uint64) << np.uint64(40)),
        ):
            state = (mixed + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9) + part
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = state ^ (state >> np.uint64(31))
    return mixed


def check_batch_size(global_batch_size: int, *worker_counts: int, num_parts: int = 1) -> None:
    """Refuse a global batch that the workers can't share evenly.

    Args:
        global_batch_size: Number of images of a global batch.
        worker_counts: Numbers of workers that the run may have.
        num_parts: Number of parts in which each worker processes its share.

    Raises:
        ConfigError: For one of the numbers of workers, it isn't a multiple of that number times the parts.
    """
    counts = [max(1, number) for number in worker_counts]  # numbers below 1 are refused where workers are started
    uneven = [number for number in counts if global_batch_size % (number * num_parts)]
    if uneven:
        unit = num_parts * math.lcm(*counts)
        parts = f", each in {num_parts} parts" if num_parts > 1 else ""
        msg = (
            f"global_batch_size={global_batch_size}: {uneven[0]} workers can't share it evenly{parts}; "
            f"choose a multiple of {unit}, such as {-(-global_batch_size // unit) * unit}"
        )
        raise ConfigError(msg)
