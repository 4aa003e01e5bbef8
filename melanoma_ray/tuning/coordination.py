"""What a sweep does next, decided from its study alone, so that a resumed sweep decides as an undisturbed one.

Ray Tune asks for the next trial and tells what trials report (``executor.py``). A trial that was running when the sweep
was killed goes on, with its number and its settings, before a new one begins.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.runs.history import EpochRecord
from melanoma_ray.settings import get_setting, with_settings
from melanoma_ray.tuning.directory import LATENCY, TrialDirectory, name_trial
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.population import Population
from melanoma_ray.tuning.space import SearchSpace
from melanoma_ray.tuning.study import ENDED, NAME, SETTINGS, Study, best_value, num_without_gain

logger = logging.getLogger(__name__)

SECONDS, INTERVAL, ERROR, WHY = "seconds", "interval", "error", "why"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What the process of a trial is told."""

    number: int
    """Number of the trial, from 0."""
    name: str
    settings: Mapping[str, Any]
    """Settings of the trial, by their dotted names."""
    starts_from: str | None
    """Progress directory whose weights the trial begins with; none: it begins anew."""
    last_epoch: int
    """Number of the epoch after which the trial ends, if it isn't stopped before."""


class Coordinator:
    """Proposes trials and records what becomes of them."""

    def __init__(
        self,
        study: Study,
        space: SearchSpace,
        experiment: Experiment,
        *,
        num_trials: int,
        directory_of: Callable[[str], TrialDirectory],
    ) -> None:
        """Go on where the study is.

        Args:
            study: The sweep's memory.
            space: Search space.
            experiment: Experiment that the sweep started from.
            num_trials: Number of trials in all, or of members of a population.
            directory_of: Function that returns the directory of a trial by its name.
        """
        self.study, self.space, self.experiment = study, space, experiment
        self.num_trials, self.directory_of = num_trials, directory_of
        self.own = {
            name: get_setting(experiment, name)
            for one in space.dimensions
            for name in ([one.name] if one.when is None else [one.name, one.when.name])
        }
        self.population = None
        if self.options.is_population:
            self.population = Population(space, self.options, num_trials, experiment)
        self._unfinished: deque[int] = deque()
        self._unfinished.extend(self._take_up())

    @property
    def options(self) -> SearchOptions:
        """How the sweep searches."""
        return self.study.options

    @property
    def num_trials_in_all(self) -> int:
        """Number of trials that the sweep has at its end, if it isn't stopped early."""
        return self.num_trials if self.population is None else self.population.num_trials

    @property
    def num_left(self) -> int:
        """Number of trials that are still to be run, at the most."""
        num_new = 0 if self.is_over() else self.num_trials_in_all - len(self.study.trials)
        return len(self._unfinished) + max(0, num_new)  # a smaller number than before takes no trial away

    def _take_up(self) -> list[int]:
        """Bring the trials that were running up to their progress, and return those that have still to train."""
        running = [trial.number for trial in self.study.trials if trial.state not in ENDED]
        for number in running:
            self._catch_up(number)
        return [number for number in running if self.study.trial(number).state not in ENDED]

    def _catch_up(self, number: int) -> None:
        """Hear of the epochs that a trial has saved, but whose report was lost with a process."""
        for record in self.directory_of(self._name(number)).history():
            if self._first_epoch(number) <= record.epoch and self.hear(number, vars_of(record)):
                break
        if max(self._epochs(number), default=0) >= self.last_epoch(number):
            self._complete(number)

    def is_over(self) -> bool:
        """Return whether no new trial is to begin: there are enough, or nothing has improved for long."""
        trials, patience = self.study.trials, self.options.patience
        if self._unfinished:
            return False
        if len(trials) >= self.num_trials_in_all:
            return True
        return self.population is None and patience is not None and num_without_gain(trials) >= patience

    def next(self) -> Proposal | None:
        """Return the next trial; none: it must wait for others to end, or, if ``is_over``, there is no other."""
        while self._unfinished:
            proposal = self._proposal(self._unfinished.popleft())
            if proposal is not None:
                return proposal
        while not self.is_over():
            trial = self._begin()
            if trial is None:
                return None
            self.study.note(trial.number, **{NAME: name_trial(trial.number + 1, trial.user_attrs[SETTINGS])})
            self.study.save()
            proposal = self._proposal(trial.number)
            if proposal is not None:
                return proposal
        return None

    def _begin(self) -> FrozenTrial | None:
        if self.population is None:
            return self.study.propose(self.space, self.own)
        return self.population.begin(self.study, self.own)

    def _proposal(self, number: int) -> Proposal | None:
        """Return what a trial is told; none: it can't begin, and has failed."""
        trial = self.study.trial(number)
        name, parent = self._name(number), trial.user_attrs.get("parent")
        starts_from = None if parent is None else self.directory_of(self._name(parent)).newest()
        why = self._why_impossible(trial.user_attrs[SETTINGS])
        if parent is not None and starts_from is None:
            is_failed = self.study.trial(parent).state is TrialState.FAIL
            lost = "has failed before its first epoch" if is_failed else "has lost its progress"
            why = f"trial {self._name(parent)}, from which it would go on, {lost}"
        if why:
            logger.warning("trial %s can't begin: %s", name, why)
            self.fail(number, why)
            return None
        return Proposal(
            number=number,
            name=name,
            settings=trial.user_attrs[SETTINGS],
            starts_from=starts_from,
            last_epoch=self.last_epoch(number),
        )

    def _why_impossible(self, settings: Mapping[str, object]) -> str:
        """Return what settings contradict each other; empty: none do."""
        try:
            with_settings(self.experiment, settings)
        except ConfigError as error:
            return str(error)
        return ""

    def hear(self, number: int, result: Mapping[str, Any]) -> bool:
        """Record what a trial reports, and return whether it ends here.

        Args:
            number: Number of the trial.
            result: Fields of an ``EpochRecord``; without ``epoch`` it was saved within an epoch, and nothing is
                recorded.
        """
        if self.study.trial(number).state in ENDED:
            return True
        if "epoch" not in result:
            return False
        epoch, value = int(result["epoch"]), float(_or_nan(result[self.options.metric]))
        if not math.isfinite(float(result["train_loss"])) or not math.isfinite(value):
            # The figure isn't defined where the network's outputs are no numbers; a split without it was refused.
            self.fail(number, f"the loss of epoch {epoch} is no finite number: training has diverged")
            return True
        if epoch not in self._epochs(number):
            self._keep(number, value, result)
            self.study.report(number, epoch, value)
        if epoch >= self.last_epoch(number):
            self._complete(number)
        elif self.study.should_stop(number):
            why = f"{self.options.stopping}: {value:.3f} after epoch {epoch} was among the worse of its rung"
            self.study.end(number, TrialState.PRUNED, notes={WHY: why})
        return self.study.trial(number).state in ENDED

    def _keep(self, number: int, value: float, result: Mapping[str, Any]) -> None:
        """Note the time that the trial has taken, and the interval of its best epoch."""
        trial = self.study.trial(number)
        seconds = float(trial.user_attrs.get(SECONDS, 0.0)) + float(result.get("seconds", 0.0))
        notes: dict[str, object] = {SECONDS: seconds}
        low, high = (result.get(f"{self.options.metric}_{end}") for end in ("low", "high"))
        if low is not None and value > (best_value(trial) or -math.inf):
            notes[INTERVAL] = [low, high]
        self.study.note(number, **notes)

    def finish(self, number: int) -> None:
        """Record that a trial has ended by itself."""
        if self.study.trial(number).state not in ENDED:
            self._catch_up(number)
            self._complete(number)

    def _complete(self, number: int) -> None:
        """Record that a trial has trained to its end; a second end is passed over."""
        value = best_value(self.study.trial(number))
        if value is None:
            self.fail(number, "no epoch was finished")
            return
        values = [value]
        if self.options.has_latency:
            directory = self.directory_of(self._name(number))
            values.append(float(storage.read_json(storage.join(directory.uri, LATENCY))["milliseconds"]))
        self.study.end(number, TrialState.COMPLETE, values=values)

    def fail(self, number: int, error: str) -> None:
        """Record that a trial has failed, and why."""
        self.study.end(number, TrialState.FAIL, notes={ERROR: error})

    def last_epoch(self, number: int) -> int:
        """Return the number of the epoch with which a trial ends, if it isn't stopped before."""
        return int(self.study.trial(number).user_attrs.get("last_epoch", self.experiment.num_epochs))

    def _first_epoch(self, number: int) -> int:
        return int(self.study.trial(number).user_attrs.get("first_epoch", 1))

    def _epochs(self, number: int) -> list[int]:
        return list(self.study.trial(number).intermediate_values)

    def _name(self, number: int) -> str:
        return str(self.study.trial(number).user_attrs[NAME])


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def vars_of(record: EpochRecord) -> dict[str, Any]:
    """Return the fields of a record by name."""
    return {name: getattr(record, name) for name in record.__slots__}
