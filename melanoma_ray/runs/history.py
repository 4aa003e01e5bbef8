"""The figures of a step and of an epoch, and the sums from which an epoch's are computed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from melanoma_ray.runs.validation import NUM_BINS, count_scores, measure_confusion, measure_scores

BEST_METRIC = "val_balanced_accuracy"
"""Field of ``EpochRecord`` that decides which epoch's weights are kept: those with the largest value."""
RANKING_METRICS = (BEST_METRIC, "val_melanoma_auroc", "val_specificity")
"""Fields by which a sweep may rank epochs and trials; the larger, the better."""


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
    """Number of the step, from 1."""
    loss: float
    """Mean loss over worker 0's share of the batch."""
    learning_rate: float
    """Learning rate of the last layer."""
    ended_at: float
    """End of the step, Unix time, seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """Figures of one epoch."""

    epoch: int
    """Number of the epoch, from 1."""
    step: int
    """Number of optimizer steps done since the start of the run."""
    train_loss: float
    """Mean loss over the augmented training images, computed while the weights changed."""
    train_accuracy: float
    """Accuracy on the same images, in [0, 1]."""
    val_loss: float
    """Mean loss over the validation images."""
    val_accuracy: float
    """Accuracy on the validation images, in [0, 1]."""
    val_balanced_accuracy: float
    """Mean recall over the diagnoses of the validation images, in [0, 1]."""
    images_per_s: float
    """Training images per second of training time, which includes waiting for data but not validation."""
    waiting_fraction: float
    """Share of the training time that was spent waiting for data, in [0, 1]."""
    first_batch_s: float
    """Seconds from the start of the training function in a worker to its first batch; 0 in all epochs but the first
    after a start."""
    ended_at: float
    """End of the epoch, Unix time, seconds."""
    seconds: float = 0.0
    """Wall time of the epoch with its validation, seconds, from the start of the training function or the end of the
    epoch before; what an interruption cost isn't in it. 0 in records of earlier versions."""
    val_balanced_accuracy_low: float | None = None
    """Lower end of its 95 % interval, each validation image being its own unit; none: it wasn't measured."""
    val_balanced_accuracy_high: float | None = None
    """Upper end."""
    val_melanoma_auroc: float | None = None
    """Area under the ROC curve of the images that are to be referred, in [0, 1]; none: it isn't defined."""
    val_melanoma_auroc_low: float | None = None
    """Lower end of its 95 % interval."""
    val_melanoma_auroc_high: float | None = None
    """Upper end."""
    val_specificity: float | None = None
    """Specificity at a sensitivity of 95 % or more for these images, in [0, 1]; none: it isn't defined."""
    val_specificity_low: float | None = None
    """Lower end of its 95 % interval."""
    val_specificity_high: float | None = None
    """Upper end."""


class Tally:
    """One worker's sums of an epoch; they are added up over the workers before any mean is taken."""

    def __init__(self, num_diagnoses: int, referred: Sequence[int] = ()) -> None:
        """Start from zero.

        Args:
            num_diagnoses: Number of diagnoses.
            referred: Class numbers of the diagnoses that are to be referred.
        """
        self.num_diagnoses, self.referred = num_diagnoses, tuple(referred)
        self.train_sums = np.zeros(3)  # loss, number of correct images, number of images
        self.val_sums = np.zeros(2)  # loss, number of images
        self.confusion = np.zeros((num_diagnoses, num_diagnoses), np.int64)
        self.seconds = np.zeros(2)  # training time, and the part of it that was waiting for data
        self.scores = np.zeros((2, NUM_BINS))
        self.first_batch_s = 0.0  # this worker's alone; not summed

    def add_training(self, figures: StepFigures) -> None:
        """Add one training batch."""
        self.train_sums += (figures.loss_sum, figures.num_correct, figures.num_images)

    def add_validation(
        self, loss_sum: float, logits: Float32[np.ndarray, "image diagnosis"], target: Int64[np.ndarray, " image"]
    ) -> None:
        """Add one validation batch.

        Args:
            loss_sum: Sum of the images' losses.
            logits: The network's logits of each image, without padding.
            target: Target of each of these images.
        """
        self.val_sums += (loss_sum, len(target))
        np.add.at(self.confusion, (target, logits.argmax(axis=1)), 1)
        self.scores += count_scores(logits, self.referred, np.isin(target, self.referred))

    def sums(self) -> np.ndarray:
        """Return all sums as one vector, so that they can be added up over workers."""
        parts = [self.train_sums, self.val_sums, self.seconds, self.confusion.ravel(), self.scores.ravel()]
        return np.concatenate(parts)

    def load(self, sums: np.ndarray) -> None:
        """Continue an epoch that was interrupted, from the vector of ``sums``; an older one has no scores."""
        self.train_sums, self.val_sums, self.seconds = sums[:3].copy(), sums[3:5].copy(), sums[5:7].copy()
        self.confusion, scores = self._split(sums)
        self.scores = scores.copy()

    def _split(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the confusion matrix and the histograms of scores in a vector of ``sums``."""
        side = self.num_diagnoses
        counts, scores = sums[7 : 7 + side**2], sums[7 + side**2 :]
        return counts.reshape(side, side).astype(np.int64), np.resize(scores if scores.size else 0.0, (2, NUM_BINS))

    def record(
        self, total: np.ndarray, *, num_workers: int, epoch: int, step: int, seconds: float = 0.0
    ) -> EpochRecord:
        """Return the figures of the epoch.

        Args:
            total: ``sums`` added up over all workers.
            num_workers: Number of workers.
            epoch: Number of the epoch, from 1.
            step: Number of optimizer steps done since the start of the run.
            seconds: Wall time of the epoch, seconds.
        """
        train_loss, train_correct, num_train = total[:3]
        val_loss, num_val = total[3:5]
        training_s, waiting_s = total[5:7]
        confusion, scores = self._split(total)
        balanced = measure_confusion(confusion)
        return EpochRecord(
            epoch=epoch,
            step=step,
            train_loss=float(train_loss / max(1, num_train)),
            train_accuracy=float(train_correct / max(1, num_train)),
            val_loss=float(val_loss / max(1, num_val)),
            val_accuracy=float(np.trace(confusion) / max(1, num_val)),
            val_balanced_accuracy=balanced.value,
            val_balanced_accuracy_low=balanced.low,
            val_balanced_accuracy_high=balanced.high,
            images_per_s=float(num_train * num_workers / training_s) if training_s else 0.0,
            waiting_fraction=float(waiting_s / training_s) if training_s else 0.0,
            first_batch_s=self.first_batch_s,
            ended_at=time.time(),
            seconds=seconds,
            **measure_scores(scores),
        )


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """Return the number of the first epoch with the largest validation balanced accuracy; 0 if there are no epochs."""
    best = max(history, key=lambda record: record.val_balanced_accuracy, default=None)
    return 0 if best is None else best.epoch
