"""What is known of a step, and of an epoch when it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from melanoma_ray.metrics.multiclass import balanced_accuracy

BEST_METRIC = "val_balanced_accuracy"
"""Of an ``EpochRecord``: the epoch that has most of it is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFigures:
    """Sums over one worker's share of a batch."""

    loss_sum: float
    num_correct: int
    num_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One of about a thousand steps of a run, evenly spread."""

    step: int
    """From 1."""
    loss: float
    """Mean over worker 0's share of the batch."""
    learning_rate: float
    """Of the last layer."""
    ended_at: float
    """Unix time, seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One line of a run's history."""

    epoch: int
    """From 1."""
    step: int
    """Optimizer steps done."""
    train_loss: float
    """Mean over the images seen, augmented, while the weights changed."""
    train_accuracy: float
    """Of the same images."""
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    """Mean recall over the diagnoses of the validation split."""
    images_per_s: float
    """Training images over the time spent on them, waiting included, validation not."""
    waiting_fraction: float
    """Share of the training time spent waiting for data."""
    first_batch_s: float
    """Seconds from the training function's start in a worker to its first batch; 0 but in the epoch it began with."""
    ended_at: float
    """Unix time, seconds."""


class Tally:
    """Sums of one epoch; they are added up over the workers before any mean is taken."""

    def __init__(self, num_diagnoses: int) -> None:
        """Start from zero."""
        self.num_diagnoses = num_diagnoses
        self.train_sums = np.zeros(3)  # loss, correct, images
        self.val_sums = np.zeros(2)  # loss, images
        self.confusion = np.zeros((num_diagnoses, num_diagnoses), np.int64)
        self.seconds = np.zeros(2)  # training, and waiting within it
        self.first_batch_s = 0.0  # of this worker

    def add_training(self, figures: StepFigures) -> None:
        """Count one training batch."""
        self.train_sums += (figures.loss_sum, figures.num_correct, figures.num_images)

    def add_validation(
        self, loss_sum: float, predicted: Int64[np.ndarray, " image"], target: Int64[np.ndarray, " image"]
    ) -> None:
        """Count one validation batch, padding left out by the caller."""
        self.val_sums += (loss_sum, len(target))
        np.add.at(self.confusion, (target, predicted), 1)

    def sums(self) -> np.ndarray:
        """Return everything that is summed over workers as one vector."""
        return np.concatenate([self.train_sums, self.val_sums, self.seconds, self.confusion.ravel()])

    def load(self, sums: np.ndarray) -> None:
        """Go on from ``sums`` in the middle of an epoch."""
        self.train_sums, self.val_sums, self.seconds = sums[:3].copy(), sums[3:5].copy(), sums[5:7].copy()
        self.confusion = sums[7:].reshape(self.num_diagnoses, self.num_diagnoses).astype(np.int64)

    def record(self, total: np.ndarray, *, num_workers: int, epoch: int, step: int) -> EpochRecord:
        """Return the means, given the sums over all workers."""
        train_loss, train_correct, num_train = total[:3]
        val_loss, num_val = total[3:5]
        training_s, waiting_s = total[5:7]
        confusion = total[7:].reshape(self.num_diagnoses, self.num_diagnoses).astype(np.int64)
        target, predicted = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices(confusion.shape))
        return EpochRecord(
            epoch=epoch,
            step=step,
            train_loss=float(train_loss / max(1, num_train)),
            train_accuracy=float(train_correct / max(1, num_train)),
            val_loss=float(val_loss / max(1, num_val)),
            val_accuracy=float(np.trace(confusion) / max(1, num_val)),
            val_balanced_accuracy=balanced_accuracy(predicted, target, self.num_diagnoses),
            images_per_s=float(num_train * num_workers / training_s) if training_s else 0.0,
            waiting_fraction=float(waiting_s / training_s) if training_s else 0.0,
            first_batch_s=self.first_batch_s,
            ended_at=time.time(),
        )


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """Return the number of the first epoch of the greatest validation balanced accuracy; 0 without any."""
    best = max(history, key=lambda record: record.val_balanced_accuracy, default=None)
    return 0 if best is None else best.epoch
