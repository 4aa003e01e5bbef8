"""The sampling plan: which image is seen when, as a table and a pure function of a seed.

Epochs follow each other without a gap: image k of the run is image ``k % num_train`` of the
permutation of epoch ``k // num_train``, and step s takes the images [s·B, (s+1)·B). So no image of an
epoch is left out because the batch size doesn't divide it; only what is left of the last epoch
after the last whole step, fewer than B images, isn't seen. After each epoch's last step the
validation split follows, in order, padded to whole batches.

Where rare diagnoses are to be seen more often, an epoch's images are drawn by weight instead: image i
of weight w, as a share of the whole, appears ⌊w·num_train⌋ or ⌈w·num_train⌉ times.

A batch here is one global batch, of training or of validation, known by its index in the run. Neither the
number of workers nor an interruption changes what is in it: a resumed run starts at the batch index in its
checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, UInt64

from melanoma_ray.errors import ConfigError

PADDING = -1
"""Image number of a row that only fills a validation batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingPlan:
    """What decides the order of images."""

    num_train: int
    """Images of the train split, numbered from 0."""
    num_val: int
    """Images of the validation split, numbered on from ``num_train``."""
    global_batch_size: int
    num_epochs: int
    seed: int
    weights: Float64[np.ndarray, " image"] | None = None
    """Of the training images, of any scale; none: each is seen once an epoch."""

    def __post_init__(self) -> None:
        """Refuse a plan without a single step."""
        if self.num_steps < 1:
            msg = (
                f"global_batch_size={self.global_batch_size}: more than the {self.num_train} training images "
                f"of {self.num_epochs} epochs; choose a smaller one"
            )
            raise ConfigError(msg)

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.num_epochs * self.num_train // self.global_batch_size

    @property
    def num_val_batches(self) -> int:
        """Batches of one pass over the validation split."""
        return -(-self.num_val // self.global_batch_size)

    @cached_property
    def last_steps(self) -> Int64[np.ndarray, " epoch"]:
        """Number of steps done when each epoch ends; strictly increasing, short epochs fall together."""
        ends = np.arange(1, self.num_epochs + 1) * self.num_train // self.global_batch_size
        return np.asarray(np.unique(ends[ends > 0]), np.int64)

    @property
    def num_batches(self) -> int:
        """Batches of the whole run."""
        return self.num_steps + len(self.last_steps) * self.num_val_batches

    def is_training(self, batch_index: int) -> bool:
        """Tell a training batch from one of validation."""
        return self._locate(batch_index)[1] is None

    def _locate(self, batch_index: int) -> tuple[int, int | None]:
        """Return the training steps before a batch, and its place in a validation pass if it is in one."""
        first_val_batches = self.last_steps + np.arange(len(self.last_steps)) * self.num_val_batches
        passes = int(np.searchsorted(first_val_batches, batch_index, side="right"))
        if passes:
            into = batch_index - int(first_val_batches[passes - 1])
            if into < self.num_val_batches:
                return int(self.last_steps[passes - 1]), into
        return batch_index - passes * self.num_val_batches, None

    def images(self, batch_index: int) -> tuple[Int64[np.ndarray, " image"], UInt64[np.ndarray, " image"]]:
        """Return the image numbers of a batch and their augmentation seeds (0 in validation)."""
        step, into = self._locate(batch_index)
        size = self.global_batch_size
        if into is not None:
            numbers = np.arange(into * size, (into + 1) * size)
            padded = np.where(numbers < self.num_val, numbers + self.num_train, PADDING)
            return padded.astype(np.int64), np.zeros(size, np.uint64)
        place = np.arange(step * size, (step + 1) * size)
        epochs = place // self.num_train
        parts = [_order(self, int(epoch))[:, place[epochs == epoch] % self.num_train] for epoch in np.unique(epochs)]
        numbers, repeats = np.concatenate(parts, axis=1)
        return numbers, _augmentation_seeds(self.seed, epochs, numbers, repeats)

    def epoch(self, batch_index: int) -> int:
        """Return the epoch, from 0, of the first image of a training batch."""
        return self._locate(batch_index)[0] * self.global_batch_size // self.num_train


@lru_cache(maxsize=2)
def _order(plan: SamplingPlan, epoch: int) -> Int64[np.ndarray, "2 image"]:
    """Return an epoch's images and how often each was there before; kept, since the next batch mostly asks again."""
    random = np.random.Generator(np.random.Philox(key=[plan.seed, epoch]))
    order = random.permutation(plan.num_train)
    repeats: Int64[np.ndarray, " image"] = np.zeros(len(order), np.int64)
    if plan.weights is not None:
        ends = np.cumsum(plan.weights[order]) / plan.weights.sum() * plan.num_train
        drawn = np.searchsorted(ends, np.arange(plan.num_train) + random.random(), side="right")
        order = order[np.minimum(drawn, plan.num_train - 1)]
        repeats = pd.Series(order).groupby(order).cumcount().to_numpy().astype(np.int64)
        shuffled = random.permutation(plan.num_train)
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
    """Return a seed an image by (seed, epoch, image, repeat): SplitMix64's mixer over them (Steele 2014)."""
    mixed = np.full(len(numbers), seed, np.uint64)
    with np.errstate(over="ignore"):
        for part in (
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
        global_batch_size: Images.
        worker_counts: Numbers of workers that the run may have.
        num_parts: In which each worker takes its share.

    Raises:
        ConfigError: It is not a multiple of one of the numbers of workers, times the parts.
    """
    counts = [max(1, number) for number in worker_counts]  # what is below is refused by those who start them
    uneven = [number for number in counts if global_batch_size % (number * num_parts)]
    if uneven:
        unit = num_parts * math.lcm(*counts)
        parts = f", each in {num_parts} parts" if num_parts > 1 else ""
        msg = (
            f"global_batch_size={global_batch_size}: {uneven[0]} workers can't share it evenly{parts}; "
            f"choose a multiple of {unit}, such as {-(-global_batch_size // unit) * unit}"
        )
        raise ConfigError(msg)
