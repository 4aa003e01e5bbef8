"""The display of a run's progress: a bar on a terminal, otherwise a line twice a minute."""

from __future__ import annotations

import logging
import time

from ray.experimental import tqdm_ray

from melanoma_ray.loading.sampling_plan import SamplingPlan
from melanoma_ray.runs.history import Tally
from melanoma_ray.training.state import TrainingState

logger = logging.getLogger(__name__)

_LINE_EVERY_S = 30.0


class LiveView:
    """Shows epoch, step, loss, share of waiting, last validation figure, rate and remaining time."""

    def __init__(self, plan: SamplingPlan, *, is_bar: bool, is_shown: bool) -> None:
        """Show nothing before the first step.

        Args:
            plan: Sampling plan of the run.
            is_bar: Draw a bar on the terminal of the job's driver, which may be another machine than this worker's.
            is_shown: Show anything at all; true for one worker of the run.
        """
        self.plan, self.is_bar, self.is_shown = plan, is_bar, is_shown
        self.bar: tqdm_ray.tqdm | None = None
        self.told_at = self.began_at = time.monotonic()
        self.first_step: int | None = None

    def show(self, state: TrainingState, tally: Tally) -> None:
        """Show the state after a step."""
        if not self.is_shown:
            return
        now = time.monotonic()
        if self.first_step is None:
            self.first_step = state.step - 1
        if self.is_bar:
            self._move_bar(state, tally)
        elif now - self.told_at >= _LINE_EVERY_S:
            self.told_at = now
            rate = (state.step - self.first_step) / (now - self.began_at)
            left_s = (self.plan.num_steps - state.step) / rate
            what = describe_progress(self.plan, state, tally)
            logger.info("%s, %.0f images/s, about %.0f s left", what, rate * self.plan.global_batch_size, left_s)

    def _move_bar(self, state: TrainingState, tally: Tally) -> None:
        if self.bar is None:
            total = (self.plan.num_steps - state.step + 1) * self.plan.global_batch_size
            self.bar = tqdm_ray.tqdm(total=total, unit=" images")
        self.bar.set_description(describe_progress(self.plan, state, tally))
        self.bar.update(self.plan.global_batch_size)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def describe_progress(plan: SamplingPlan, state: TrainingState, tally: Tally) -> str:
    """Return the state of a run in a few words."""
    loss_sum, _, num_images = tally.train_sums
    training_s, waiting_s = tally.seconds
    words = [
        f"epoch {min(len(state.history) + 1, len(plan.last_steps))}/{len(plan.last_steps)}",
        f"step {state.step}/{plan.num_steps}",
        f"loss {loss_sum / max(1, num_images):.3f}",
        f"{waiting_s / training_s if training_s else 0:.0%} waiting",
    ]
    if state.history:
        words.append(f"val {state.history[-1].val_balanced_accuracy:.3f}")
    return " ".join(words)
