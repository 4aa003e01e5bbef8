"""The lines of a running sweep: one for each trial that ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from melanoma_ray.tuning.options import WORDS, SearchOptions
from melanoma_ray.tuning.study import ENDED, best_value
from melanoma_ray.wording import count

logger = logging.getLogger(__name__)


class TrialLines:
    """Logs a line for each trial that ends; Ray Tune's own tables are wider than a console."""

    def __init__(self, options: SearchOptions, num_trials: int) -> None:
        """Begin to count the time.

        Args:
            options: How the sweep searches.
            num_trials: Number of trials of the sweep.
        """
        self._options, self._num_trials, self._began_at = options, num_trials, time.monotonic()

    def tell(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> None:
        """Log a trial's best figure or its error.

        Args:
            trial: Trial that has ended.
            trials: All trials of the sweep.
        """
        values = [value for one in trials if (value := best_value(one)) is not None]
        num_ended = sum(one.state in ENDED for one in trials)
        best = f"best {max(values):.3f}" if values else "none has a value yet"
        done = f"{num_ended} of {self._num_trials}, {best}"
        took = time.monotonic() - self._began_at
        logger.info("trial %s: %s (%s, %.0f s)", trial.user_attrs["name"], self._describe(trial), done, took)

    def _describe(self, trial: FrozenTrial) -> str:
        if trial.state is TrialState.FAIL:
            return f"failed: {trial.user_attrs.get('error', 'for an unknown reason')}"
        epochs = count(max(trial.intermediate_values, default=0), "epoch")
        stopped = ", stopped early" if trial.state is TrialState.PRUNED else ""
        return f"{WORDS[self._options.objective]} {best_value(trial) or 0.0:.3f} after {epochs}{stopped}"
