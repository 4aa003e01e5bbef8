"""The display of a running sweep: a readable name for each trial, and a line when it ends."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ray import tune
from ray.tune.experiment import Trial

from melanoma_ray.runs.history import BEST_METRIC
from melanoma_ray.tuning.space import SPACE

logger = logging.getLogger(__name__)


def name_trial(number: int, settings: Mapping[str, object]) -> str:
    """Return the name of a trial: its number, and the settings that matter most.

    Args:
        number: Number of the trial, from 1.
        settings: Settings of the trial, by their dotted names.

    >>> name_trial(3, {"optimizer.learning_rate": 0.00064664, "loss.class_weighting": "effective"})
    '03-lr-0.00065-weighting-effective'
    """
    words = [f"{number:02d}"]
    for dimension in SPACE:
        if dimension.short and dimension.name in settings:
            value = settings[dimension.name]
            words += [dimension.short, f"{value:.2g}" if isinstance(value, float) else str(value)]
    return "-".join(words)


def trial_namer() -> Callable[[Trial], str]:
    """Return the function from which Ray Tune gets trials' names; it numbers them in the order of the proposals."""
    numbers = itertools.count(1)
    known: dict[str, str] = {}

    def name(trial: Trial) -> str:
        if trial.trial_id not in known:
            known[trial.trial_id] = name_trial(next(numbers), trial.config)
        return known[trial.trial_id]

    return name


def directory_of(trial: Trial) -> str:
    """Return the name of a trial's directory; the id makes it differ from that of an earlier attempt."""
    return f"{trial}-{trial.trial_id}"


def name_in_directory(path: str) -> str:
    """Return the trial's name from its directory.

    >>> name_in_directory("s3://bucket/sweep/01-lr-0.001-weighting-none-2bc2bc97")
    '01-lr-0.001-weighting-none'
    """
    return path.rstrip("/").rsplit("/", 1)[-1].rsplit("-", 1)[0]


class TrialLines(tune.Callback):
    """Logs a line for each trial that ends; Ray Tune's own tables are wider than a console."""

    def __init__(self, num_trials: int, num_epochs: int) -> None:
        """Count from zero.

        Args:
            num_trials: Number of trials of the sweep.
            num_epochs: Number of epochs of a trial that isn't stopped early.
        """
        self._num_trials, self._num_epochs = num_trials, num_epochs
        self._num_ended, self._began_at, self._best = 0, time.monotonic(), 0.0

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:  # noqa: ARG002
        """Log the trial's best figure."""
        epochs = int(trial.last_result.get("epoch", 0))
        value = float(trial.metric_analysis.get(BEST_METRIC, {}).get("max", 0.0))
        self._best = max(self._best, value)
        stopped = "" if epochs >= self._num_epochs else ", stopped early"
        self._tell(trial, f"balanced accuracy {value:.3f} after {_plural(epochs, 'epoch')}{stopped}")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:  # noqa: ARG002
        """Log that the trial failed; sweep.html has the error."""
        self._tell(trial, f"failed: {_last_line(trial.error_file)}")

    def _tell(self, trial: Trial, what: str) -> None:
        self._num_ended += 1
        done = f"{self._num_ended} of {self._num_trials}, best {self._best:.3f}"
        logger.info("trial %s: %s (%s, %.0f s)", trial, what, done, time.monotonic() - self._began_at)


def _last_line(error_file: str | None) -> str:
    """Return the line of a traceback that names the error; a full disk may have kept nothing of it."""
    try:
        return Path(error_file or "").read_text().strip().splitlines()[-1]
    except (OSError, IndexError):
        return "its error could not be kept"


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
