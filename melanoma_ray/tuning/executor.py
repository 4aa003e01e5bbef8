"""Ray Tune as the executor of a sweep: it asks for trials and passes on what they report; the study decides."""

from __future__ import annotations

import contextlib
import logging
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from ray import cloudpickle
from ray.exceptions import RayError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from melanoma_ray import storage
from melanoma_ray.cluster.failures import describe, find_cause
from melanoma_ray.cluster.workarounds import free_orphaned_places
from melanoma_ray.errors import MelanomaRayError, StorageError
from melanoma_ray.tuning.coordination import Coordinator

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
_PROBED_BYTES = 2**20
"""Free space without which a disk counts as full, bytes; an epoch's progress needs more."""


class StudySearcher(Searcher):
    """Gives Ray Tune the next trial of a study."""

    def __init__(self, coordinator: Coordinator) -> None:
        """Ask the coordinator."""
        super().__init__()
        self._coordinator = coordinator

    def set_search_properties(self, *args: object, **kwargs: object) -> bool:  # noqa: ARG002 - Ray Tune's
        """Take nothing from Ray Tune: the study has the space and the objective."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002 - Ray Tune's
        """Return what the next trial's process is told; none: it must wait."""
        proposal = self._coordinator.next()
        if proposal is not None:
            return asdict(proposal)
        return str(Searcher.FINISHED) if self._coordinator.is_over() else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002
        """Do nothing: the scheduler, which knows the trial, records its end."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study has everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the study has everything."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Save nothing: the study has everything."""


class StudyScheduler(FIFOScheduler):
    """Records in the study what Ray Tune's trials report, and stops those that the study stops."""

    _supports_buffered_results = False

    def __init__(self, coordinator: Coordinator) -> None:
        """Ask the coordinator."""
        super().__init__()
        self._coordinator = coordinator

    def set_search_properties(self, *args: object, **kwargs: object) -> bool:  # noqa: ARG002 - Ray Tune's
        """Take nothing from Ray Tune: the study has the objective."""
        return True

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Return whether the trial goes on."""
        is_over = self._coordinator.hear(number_of(trial), result)
        return str(TrialScheduler.STOP if is_over else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Record that a trial has ended by itself."""
        self._coordinator.finish(number_of(trial))

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Do nothing: Ray Tune calls this at failures from which it goes on, too; ``EndOfTrial`` hears of the last."""


class EndOfTrial(Callback):
    """Records in the study that a trial has failed for good, and calls a function when one has ended in any way."""

    def __init__(self, coordinator: Coordinator, tell: Callable[[int], None]) -> None:
        """Call ``tell`` with the trial's number."""
        self._coordinator, self._tell = coordinator, tell

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:  # noqa: ARG002
        """Tell that it was finished or stopped."""
        self._tell(number_of(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:  # noqa: ARG002
        """Tell that it has failed more often than it may.

        A disk or a store that fails isn't the trial's fault, and would be the end of all others: it ends the sweep,
        whose same command goes on with this trial.

        Raises:
            OSError: The trial failed for that.
        """
        error = error_of(trial)
        if error is None:  # Ray Tune couldn't write it down
            storage.check_writable(self._coordinator.directory_of(name_of(trial)).uri, _PROBED_BYTES)
        cause = None if error is None else find_cause(error)
        if isinstance(cause, StorageError) or (isinstance(cause, OSError) and cause.errno in storage.DISK_FAULTS):
            raise cause
        self._coordinator.fail(number_of(trial), reason_of(error, cause))
        self._tell(number_of(trial))


class PlacesOfTrials(Callback):
    """Frees the places of workers whose trial ended before they had started."""

    def __init__(self) -> None:
        """Look for the first time at once."""
        self._looked_at = -math.inf

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:  # noqa: ARG002
        """Look now and then; Ray Tune calls this all the time."""
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            try:
                free_orphaned_places()
            except (RayError, RuntimeError) as error:  # it tries again
                logger.debug("places of lost trials can't be looked for now: %s", error)


def number_of(trial: Trial) -> int:
    """Return the number that the study has for a trial of Ray Tune."""
    return int(trial.config["number"])


def name_of(trial: Trial) -> str:
    """Return the name that the study has for a trial of Ray Tune."""
    return str(trial.config["name"])


def directory_of(trial: Trial) -> str:
    """Return the name of Ray Tune's own directory of a trial; the id makes it differ from that of an earlier start."""
    return f"{name_of(trial)}-{trial.trial_id}"


def error_of(trial: Trial) -> BaseException | None:
    """Return the error with which a trial failed last; none: Ray Tune couldn't write it down.

    Ray Tune writes it on this machine, and copies it to where the results are later on, often too late to be asked for
    there (``Trial.get_pickled_error``).
    """
    file = trial.pickled_error_file
    with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):  # it is gone, or a full disk has cut it off
        if file is not None:
            return cast("BaseException", cloudpickle.loads(Path(file).read_bytes()))
    return None


def reason_of(error: BaseException | None, cause: MelanomaRayError | OSError | None) -> str:
    """Return in one line why a trial failed.

    Args:
        error: What Ray Tune has kept; none: nothing.
        cause: The error of this project or of the system behind it; none: there is none.
    """
    if error is None:
        return "its error could not be kept"
    lines = (describe(cause) if cause else str(error)).strip().splitlines()
    return lines[0 if cause else -1] if lines else type(error).__name__
