"""What every worker does, whoever runs it."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import nn

from melanoma_ray.config import Experiment
from melanoma_ray.data.plan import SamplingPlan, check_batch_size
from melanoma_ray.errors import DataError
from melanoma_ray.training.feeding import DeviceBatch, feed
from melanoma_ray.training.history import EpochRecord, Tally, best_epoch
from melanoma_ray.training.live import LiveView
from melanoma_ray.training.port import RunPort, sum_over_workers
from melanoma_ray.training.state import build_state
from melanoma_ray.training.step import Stepper
from melanoma_ray.training.tracking import TrackingConfig, track

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_QUESTIONS = 10
"""After so many steps all workers ask whether it is time to save: each question is a barrier."""
_NOTED_STEPS = 1000
"""Of a run, so many go into its curves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What a worker must know besides its share of the stream."""

    experiment: Experiment
    plan: SamplingPlan
    num_train_images: tuple[int, ...]
    """Of each diagnosis, in the order of the network's outputs."""
    checkpoint_every_s: float | None = None
    """Seconds between checkpoints within an epoch; none: only at its end, and when a node is about to go."""
    tracking: TrackingConfig | None = None
    """Where the curves go; none, as in a trial of a sweep, whose curves are Ray Tune's: nowhere."""
    is_live: bool = False
    """Show a bar that moves, for a person who looks on; else a line now and then."""


class Worker:
    """One worker's network and sums; ``run`` is its table of contents."""

    def __init__(self, job: TrainingJob, port: RunPort) -> None:
        """Build the network and go on from the newest checkpoint."""
        self.job, self.port = job, port
        self.started_at = time.perf_counter()
        num_diagnoses = len(job.num_train_images)
        self.state = build_state(job.experiment, num_diagnoses, port.device)
        self.tally = Tally(num_diagnoses)
        if (directory := port.latest()) is not None:
            self.state.load(directory)
            if port.rank == 0:
                self.tally.load(self.state.tally)
        self.stepper = Stepper(self.state, job.experiment, job.num_train_images, port)
        self.live = LiveView(job.plan, is_bar=job.is_live, is_shown=port.rank == 0)
        self.saved_at = time.monotonic()

    def run(self) -> list[EpochRecord]:
        """Train to the end of the plan, or of patience; return the history."""
        plan, state = self.job.plan, self.state
        for batch in self._batches():
            if plan.is_training(state.slot):
                figures = self.stepper.train(batch.pixels, batch.metadata, batch.target, plan.num_steps)
                self.tally.add_training(figures)
                state.note_step(figures, every=max(1, plan.num_steps // _NOTED_STEPS))
                self.live.show(state, self.tally)
            else:
                self._validate(batch)
            state.slot += 1
            if self._epoch_is_over():
                self._end_epoch()
                if state.slot >= plan.num_slots:
                    break
            elif self._should_save():
                self._save(metrics={})
        self.live.close()
        return state.history

    def _batches(self) -> Iterator[DeviceBatch]:
        """Yield this worker's batches and check that each is the one that the plan says."""
        plan, port = self.job.plan, self.port
        parts = self.job.experiment.num_accumulations
        check_batch_size(plan.global_batch_size, port.num_workers, num_parts=parts)
        if self.state.slot >= plan.num_slots:
            return
        stream = port.batches(plan.global_batch_size // port.num_workers, self.state.slot)
        asked, is_first = time.perf_counter(), True
        for batch in feed(stream, port.device):
            if not (batch.slot == self.state.slot).all():
                msg = f"worker {port.rank} got slot {batch.slot[0]} of the plan instead of {self.state.slot}"
                raise DataError(msg)
            is_training = plan.is_training(self.state.slot)
            tally, got = self.tally, time.perf_counter()
            if is_first:
                tally.first_batch_s, is_first = got - self.started_at, False
            yield batch
            if is_training:
                tally.seconds += (time.perf_counter() - asked, got - asked)
            asked = time.perf_counter()

    @torch.inference_mode()
    def _validate(self, batch: DeviceBatch) -> None:
        target, known = batch.target, batch.target >= 0
        evaluated = self.state.evaluated.eval()
        if self.job.plan.is_training(self.state.slot - 1):
            _share_buffers(evaluated, self.port)
        logits = self.stepper.forward(evaluated, batch.pixels, batch.metadata)[known]
        loss = nn.functional.cross_entropy(logits, target[known], reduction="sum")
        self.tally.add_validation(float(loss), logits.argmax(dim=1).cpu().numpy(), target[known].cpu().numpy())

    def _epoch_is_over(self) -> bool:
        """True after the last validation slot of a pass."""
        plan, slot = self.job.plan, self.state.slot
        return not plan.is_training(slot - 1) and (slot == plan.num_slots or plan.is_training(slot))

    def _end_epoch(self) -> None:
        state, plan = self.state, self.job.plan
        total = sum_over_workers(self.tally.sums(), self.port)
        record = self.tally.record(
            total, num_workers=self.port.num_workers, epoch=len(state.history) + 1, step=state.step
        )
        state.history.append(record)
        self.tally = Tally(self.tally.num_diagnoses)
        patience = self.job.experiment.patience_epochs
        has_stopped = patience is not None and len(state.history) - best_epoch(state.history) >= patience
        if has_stopped:
            state.slot = plan.num_slots
        if self.port.rank == 0:
            logger.info(
                describe(record, len(plan.last_steps)) + ("  |  no better for long: the end" if has_stopped else "")
            )
        self._save(metrics=asdict(record))
        if self.port.rank == 0 and self.job.tracking is not None:
            track(self.job.tracking, self.job.experiment, state.steps, state.history)

    def _should_save(self) -> bool:
        """Ask, together with all workers, whether the time has come or this node is about to go."""
        every, step = self.job.checkpoint_every_s, self.state.step
        if not self.job.plan.is_training(self.state.slot - 1) or step % _STEPS_BETWEEN_QUESTIONS:
            return False
        is_due = self.port.rank == 0 and every is not None and time.monotonic() - self.saved_at >= every
        return bool(sum_over_workers(np.array([float(is_due)]), self.port)[0]) or self.port.is_leaving()

    def _save(self, metrics: dict[str, float]) -> None:
        """Hand the figures over, with a checkpoint by worker 0."""
        self.state.tally = sum_over_workers(self.tally.sums(), self.port)
        progress = None
        if self.port.rank == 0:
            progress = Path(tempfile.mkdtemp(prefix="melanoma-progress-"))
            self.state.save(progress)
        self.port.report(metrics, progress)
        self.saved_at = time.monotonic()


def describe(record: EpochRecord, num_epochs: int) -> str:
    """Return one line for a person."""
    return (
        f"epoch {record.epoch}/{num_epochs}  loss {record.train_loss:.3f}  accuracy {record.train_accuracy:.3f}"
        f"  |  val loss {record.val_loss:.3f}  accuracy {record.val_accuracy:.3f}"
        f"  balanced {record.val_balanced_accuracy:.3f}  |  {record.images_per_s:.0f} images/s"
        f"  {record.waiting_fraction:.0%} waiting"
    )


def _share_buffers(network: nn.Module, port: RunPort) -> None:
    """Give all workers worker 0's batch norm statistics, the ones that are saved, before they validate."""
    if port.num_workers > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)
