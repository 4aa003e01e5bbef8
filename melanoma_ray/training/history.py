"""What is known of each epoch when it ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from melanoma_ray.metrics.multiclass import balanced_accuracy


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


class Tally:
    """Sums of one epoch; they are added up over the workers before any mean is taken."""

    def __init__(self, num_diagnoses: int) -> None:
        """Start from zero."""
        self.num_diagnoses = num_diagnoses
        self.train_sums = np.zeros(3)  # loss, correct, images
        self.val_sums = np.zeros(2)  # loss, images
        self.confusion = np.zeros((num_diagnoses, num_diagnoses), np.int64)
        self.waiting_s = 0.0
        self.training_s = 0.0

    def add_training(self, loss_sum: float, num_correct: int, num_images: int) -> None:
        """Count one training batch."""
        self.train_sums += (loss_sum, num_correct, num_images)

    def add_validation(
        self, loss_sum: float, predicted: Int64[np.ndarray, " image"], actual: Int64[np.ndarray, " image"]
    ) -> None:
        """Count one validation batch, padding left out by the caller."""
        self.val_sums += (loss_sum, len(actual))
        np.add.at(self.confusion, (actual, predicted), 1)

    def sums(self) -> np.ndarray:
        """Return everything that is summed over workers as one vector."""
        return np.concatenate([self.train_sums, self.val_sums, self.confusion.ravel()])

    def record(self, total: np.ndarray, *, epoch: int, step: int) -> EpochRecord:
        """Return the means, given the sums over all workers."""
        train_loss, train_correct, num_train = total[:3]
        val_loss, num_val = total[3:5]
        confusion = total[5:].reshape(self.num_diagnoses, self.num_diagnoses).astype(np.int64)
        actual, predicted = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices(confusion.shape))
        return EpochRecord(
            epoch=epoch,
            step=step,
            train_loss=float(train_loss / max(1, num_train)),
            train_accuracy=float(train_correct / max(1, num_train)),
            val_loss=float(val_loss / max(1, num_val)),
            val_accuracy=float(np.trace(confusion) / max(1, num_val)),
            val_balanced_accuracy=balanced_accuracy(predicted, actual, self.num_diagnoses),
            images_per_s=float(num_train / self.training_s) if self.training_s else 0.0,
            waiting_fraction=float(self.waiting_s / self.training_s) if self.training_s else 0.0,
        )
