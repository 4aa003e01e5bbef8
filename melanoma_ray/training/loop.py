"""The training loop of one worker, independent of the backend."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import nn

from melanoma_ray.config import Experiment
from melanoma_ray.loading.device_prefetch import DeviceBatch, prefetch_to_device
from melanoma_ray.loading.sampling_plan import SamplingPlan, check_batch_size
from melanoma_ray.runs.history import EpochRecord, Tally, best_epoch
from melanoma_ray.runs.progress import local_progress
from melanoma_ray.runs.tracking import TrackingConfig, log_curves
from melanoma_ray.training.backend import Backend, sum_over_workers
from melanoma_ray.training.progress import LiveView
from melanoma_ray.training.state import build_state
from melanoma_ray.training.step import Stepper

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_QUESTIONS = 10
"""Number of steps after which all workers check whether to save; not every step, because each check is a barrier."""
_NOTED_STEPS = 1000
"""Number of steps of a run that its curves show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What a worker needs besides its share of the stream."""

    experiment: Experiment
    plan: SamplingPlan
    num_train_images: tuple[int, ...]
    """Number of images of the train split by diagnosis, in the order of the network's outputs."""
    referred: tuple[int, ...] = ()
    """Class numbers of the diagnoses that are to be referred, whose AUROC is measured on the validation images."""
    checkpoint_every_s: float | None = None
    """Seconds between saves of progress within an epoch; none: progress is saved only at the end of an epoch and when
    a node is about to be removed."""
    tracking: TrackingConfig | None = None
    """Where curves are written; none: nowhere, as in a trial of a sweep, whose curves Ray Tune has."""
    starts_from: str | None = None
    """Progress directory of another run, whose weights, optimizer and place in the plan this one begins with, as a
    trial does that goes on from another trial; none: it begins anew."""
    last_epoch: int | None = None
    """Number of the epoch after which training ends, before the end of the plan, as a generation of a population does;
    none: it goes on to the end of the plan."""
    is_live: bool = False
    """Show a progress bar, for a person at a terminal; otherwise a line twice a minute."""


class Worker:
    """One worker's network and sums; ``train`` is the loop."""

    def __init__(self, job: TrainingJob, backend: Backend) -> None:
        """Build the network, and restore it from the newest progress if there is one.

        Args:
            job: The training to do.
            backend: Place where this worker runs.
        """
        self.job, self.backend = job, backend
        self.started_at = self.epoch_began_at = time.perf_counter()
        num_diagnoses = len(job.num_train_images)
        self.state = build_state(job.experiment, num_diagnoses, backend.device)
        self.tally = Tally(num_diagnoses, job.referred)
        with starting_point(job, backend) as directory:
            if directory is not None:
                self.state.load(directory)
                if backend.rank == 0:
                    self.tally.load(self.state.tally)
        self.stepper = Stepper(self.state, job.experiment, job.num_train_images, backend)
        self.live = LiveView(job.plan, is_bar=job.is_live, is_shown=backend.rank == 0)
        self.saved_at = time.monotonic()

    def train(self) -> list[EpochRecord]:
        """Train to the end of the plan, or until patience ends training early; return the history."""
        plan, state = self.job.plan, self.state
        for batch in self._batches():
            if plan.is_training(state.batch_index):
                figures = self.stepper.train(batch.pixels, batch.metadata, batch.target, plan.num_steps)
                self.tally.add_training(figures)
                state.note_step(figures, every=max(1, plan.num_steps // _NOTED_STEPS))
                self.live.show(state, self.tally)
            else:
                self._validate(batch)
            state.batch_index += 1
            if self._epoch_is_over():
                self._end_epoch()
                if state.batch_index >= plan.num_batches or len(state.history) == self.job.last_epoch:
                    break
            elif self._should_save():
                self._save(metrics={})
        self.live.close()
        return state.history

    def _batches(self) -> Iterator[DeviceBatch]:
        """Yield this worker's batches, check that each is the next one of the plan, and measure the waiting time."""
        plan, backend = self.job.plan, self.backend
        parts = self.job.experiment.num_accumulations
        check_batch_size(plan.global_batch_size, backend.num_workers, num_parts=parts)
        if self.state.batch_index >= plan.num_batches or len(self.state.history) == self.job.last_epoch:
            return
        stream = backend.batches(plan.global_batch_size // backend.num_workers, self.state.batch_index)
        asked, is_first = time.perf_counter(), True
        for batch in prefetch_to_device(stream, backend.device):
            assert (batch.batch_index == self.state.batch_index).all(), (
                f"worker {backend.rank} got batch {batch.batch_index[0]} of the plan, not {self.state.batch_index}"
            )
            is_training = plan.is_training(self.state.batch_index)
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
        if self.job.plan.is_training(self.state.batch_index - 1):
            _share_buffers(evaluated, self.backend)
        logits = self.stepper.forward(evaluated, batch.pixels, batch.metadata)[known]
        loss = nn.functional.cross_entropy(logits, target[known], reduction="sum")
        self.tally.add_validation(float(loss), logits.float().cpu().numpy(), target[known].cpu().numpy())

    def _epoch_is_over(self) -> bool:
        """Return whether the batch before was the last one of a validation pass."""
        plan, batch_index = self.job.plan, self.state.batch_index
        return not plan.is_training(batch_index - 1) and (
            batch_index == plan.num_batches or plan.is_training(batch_index)
        )

    def _end_epoch(self) -> None:
        state, plan = self.state, self.job.plan
        total = sum_over_workers(self.tally.sums(), self.backend)
        now = time.perf_counter()
        record = self.tally.record(
            total,
            num_workers=self.backend.num_workers,
            epoch=len(state.history) + 1,
            step=state.step,
            seconds=now - self.epoch_began_at,
        )
        self.epoch_began_at = now
        state.history.append(record)
        self.tally = Tally(self.tally.num_diagnoses, self.job.referred)
        patience = self.job.experiment.patience_epochs
        has_stopped = patience is not None and len(state.history) - best_epoch(state.history) >= patience
        if has_stopped:
            state.batch_index = plan.num_batches
        if self.backend.rank == 0:
            logger.info(
                describe(record, len(plan.last_steps)) + ("  |  stopped early: no improvement" if has_stopped else "")
            )
        self._save(metrics=asdict(record))
        if self.backend.rank == 0 and self.job.tracking is not None:
            log_curves(self.job.tracking, self.job.experiment, state.steps, state.history)

    def _should_save(self) -> bool:
        """Return whether to save within the epoch: it is time, or a node is leaving. All workers call it together."""
        every, step = self.job.checkpoint_every_s, self.state.step
        if not self.job.plan.is_training(self.state.batch_index - 1) or step % _STEPS_BETWEEN_QUESTIONS:
            return False
        is_due = self.backend.rank == 0 and every is not None and time.monotonic() - self.saved_at >= every
        return bool(sum_over_workers(np.array([float(is_due)]), self.backend)[0]) or self.backend.is_leaving()

    def _save(self, metrics: dict[str, float]) -> None:
        """Report metrics, and from worker 0 a progress directory with the sums of all workers."""
        self.state.tally = sum_over_workers(self.tally.sums(), self.backend)
        progress = None
        if self.backend.rank == 0:
            progress = Path(tempfile.mkdtemp(prefix="melanoma-progress-"))
            self.state.save(progress)
        self.backend.report(metrics, progress)
        self.saved_at = time.monotonic()


@contextmanager
def starting_point(job: TrainingJob, backend: Backend) -> Iterator[Path | None]:
    """Give the progress directory that a worker restores, as a local path; none: it begins anew."""
    own = backend.latest()
    if own is not None or job.starts_from is None:
        yield own
        return
    with local_progress(job.starts_from) as directory:
        yield directory


def describe(record: EpochRecord, num_epochs: int) -> str:
    """Return an epoch's figures as one line."""
    return (
        f"epoch {record.epoch}/{num_epochs}  loss {record.train_loss:.3f}  accuracy {record.train_accuracy:.3f}"
        f"  |  val loss {record.val_loss:.3f}  accuracy {record.val_accuracy:.3f}"
        f"  balanced {record.val_balanced_accuracy:.3f}  |  {record.images_per_s:.0f} images/s"
        f"  {record.waiting_fraction:.0%} waiting"
    )


def _share_buffers(network: nn.Module, backend: Backend) -> None:
    """Give all workers the batch norm statistics of worker 0, because those are the ones that are saved."""
    if backend.num_workers > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)
