"""The study: a sweep's memory, which outlives the process that runs it.

An Optuna study in Optuna's journal format has each trial with its settings, its value after each epoch and its end.
The journal is a local temporary file; after every event it is written as ``study.log`` into the sweep's directory in
one piece, so a process killed at any moment leaves a whole file, on a disk or in s3://. ``optuna-dashboard study.log``
reads it. What is proposed depends on the seed, the number of the trial and the trials before it, and on nothing else:
the sampler is made anew for each trial, so a resumed sweep proposes what an undisturbed one would.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from melanoma_ray import storage
from melanoma_ray.errors import DataError
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.space import SearchSpace

STUDY = "study.log"
_NAME = "sweep"
_REDUCTION_FACTOR = 2
NAME, SETTINGS = "name", "settings"
_TRACKED = "tracked"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Study:
    """All trials of a sweep, in its directory."""

    def __init__(self, uri: str, options: SearchOptions, *, seed: int, num_epochs: int) -> None:
        """Open the study of a sweep, or begin it.

        Args:
            uri: Directory of the sweep.
            options: How the sweep searches.
            seed: Seed of what is proposed.
            num_epochs: Number of epochs of a trial that isn't stopped.

        Raises:
            DataError: The file is damaged.
        """
        self.options, self.seed = options, seed
        self._address = storage.join(uri, STUDY)
        folder = tempfile.mkdtemp(prefix="melanoma-study-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._journal = Path(folder) / STUDY
        journal = storage.read_bytes(self._address) if storage.exists(self._address) else b""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            if journal:
                self._journal.write_bytes(_end_line(journal))
            self._study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self._journal))),
                study_name=_NAME,
                directions=["maximize", "minimize"] if options.has_latency else ["maximize"],
                pruner=build_pruner(options, num_epochs),
                load_if_exists=True,
            )
            self._check_whole()
        except OSError:
            raise
        except Exception as error:  # Optuna's parser stumbles in many ways
            msg = f"{self._address}: damaged ({type(error).__name__}: {error}); put it back, or give another --name"
            raise DataError(msg) from error

    def _check_whole(self) -> None:
        """Raise KeyError where a trial lacks what ``save`` always writes with it."""
        for trial in self._study.get_trials(deepcopy=False):
            for name in (NAME, SETTINGS):
                trial.user_attrs[name]

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return list(self._study.get_trials(deepcopy=False))

    def trial(self, number: int) -> FrozenTrial:
        """Return a trial."""
        return self.trials[number]

    def propose(self, space: SearchSpace, own: Mapping[str, Any]) -> FrozenTrial:
        """Begin a trial: the first with the experiment's own settings, each other with what the sampler proposes.

        It is in the directory after ``save``, with all that is known of it or not at all.

        Args:
            space: Search space.
            own: The experiment's own values of its dimensions, and of the settings that conditions name.
        """
        number = len(self.trials)
        if number == 0:
            within = {one.name: own[one.name] for one in space.dimensions if one.includes(own[one.name])}
            self._study.enqueue_trial(within)
        self._study.sampler = build_sampler(self.options, seed_of(self.seed, number))
        trial = self._study.ask()
        settings: dict[str, Any] = dict(own)
        for dimension in space.dimensions:
            if dimension.applies_to(settings) and (number or dimension.includes(own[dimension.name])):
                settings[dimension.name] = dimension.suggest(trial)
        searched = {one.name: settings[one.name] for one in space.dimensions}
        trial.set_user_attr(SETTINGS, searched)
        return self.trial(number)

    def adopt(self, settings: Mapping[str, Any], notes: Mapping[str, Any]) -> FrozenTrial:
        """Begin a trial with given settings, such as a member of a population's next generation.

        Args:
            settings: Settings of the trial, by their dotted names.
            notes: What else is to be known of it.
        """
        number = len(self.trials)
        trial = self._study.ask()
        for name, value in {SETTINGS: dict(settings), **notes}.items():
            trial.set_user_attr(name, value)
        return self.trial(number)

    def note(self, number: int, **notes: object) -> None:
        """Keep facts about a trial; they are in the directory with the next event."""
        for name, value in notes.items():
            self._study._storage.set_trial_user_attr(self.trial(number)._trial_id, name, value)  # noqa: SLF001 - as in report

    @property
    def tracked(self) -> set[int]:
        """Numbers of the trials of which MLflow knows how they ended."""
        return set(self._study.user_attrs.get(_TRACKED, []))

    def note_tracked(self, number: int) -> None:
        """Keep that MLflow was told how a trial ended; what has ended takes no notes of its own any more."""
        self._study.set_user_attr(_TRACKED, sorted(self.tracked | {number}))
        self.save()

    def report(self, number: int, epoch: int, value: float) -> None:
        """Keep the value of an epoch; that of an epoch that is known already stays as it is.

        Args:
            number: Number of the trial.
            epoch: Number of the epoch, from 1.
            value: Value of the objective's metric.
        """
        trial = self.trial(number)
        if epoch not in trial.intermediate_values and trial.state not in ENDED:
            # Optuna's own report refuses two objectives, whose learning curves are wanted all the same.
            self._study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)  # noqa: SLF001
        self.save()

    def should_stop(self, number: int) -> bool:
        """Return whether the pruner stops a trial, which its newest epoch has fallen behind."""
        trial = self.trial(number)
        if self.options.has_latency or not trial.intermediate_values:
            return False
        is_behind = bool(self._study.pruner.prune(self._study, trial))
        self.save()  # successive halving keeps a trial's value at each rung with the trial
        return is_behind

    def end(
        self,
        number: int,
        state: TrialState,
        *,
        values: Sequence[float] | None = None,
        notes: Mapping[str, object] | None = None,
    ) -> None:
        """End a trial, once; a second end is passed over.

        Args:
            number: Number of the trial.
            state: Complete, stopped early (pruned) or failed.
            values: Values of the objectives; none: it failed.
            notes: What else is to be known of it, such as the error; none: nothing.
        """
        if self.trial(number).state in ENDED:
            return
        self.note(number, **(notes or {}))
        if state is TrialState.COMPLETE and values is not None:
            self._study.tell(number, list(values))
        else:
            self._study.tell(number, state=state)
        self.save()

    def save(self) -> None:
        """Write the journal into the sweep's directory."""
        storage.write_bytes(self._address, self._journal.read_bytes())


def _end_line(journal: bytes) -> bytes:
    """Return a journal that another line can follow; raises ValueError where its last line isn't whole.

    Optuna passes over such a line, and appends the next one to it.
    """
    lines = journal.splitlines(keepends=True)
    json.loads(lines[-1])
    return journal if lines[-1].endswith(b"\n") else journal + b"\n"  # as some editors leave it


def build_sampler(options: SearchOptions, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial.

    Args:
        options: How the sweep searches; a population's first generation is drawn at random.
        seed: Seed of the trial, from ``seed_of``.
    """
    if options.search == "tpe":
        # constant_liar: trials that are still running count as bad, so that those beside them differ.
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


def build_pruner(options: SearchOptions, num_epochs: int) -> optuna.pruners.BasePruner:
    """Return what decides which trials are stopped early.

    Args:
        options: How the sweep searches; nothing of a population is stopped, and nothing with two objectives.
        num_epochs: Number of epochs of a trial that isn't stopped.
    """
    if options.is_population or options.has_latency or options.stopping == "none":
        return optuna.pruners.NopPruner()
    if options.stopping == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=max(2, num_epochs), reduction_factor=_REDUCTION_FACTOR
        )
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_REDUCTION_FACTOR)


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a trial's proposal, which depends on the sweep's seed and the trial's number alone."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def best_value(trial: FrozenTrial) -> float | None:
    """Return the largest value over a trial's epochs; none: it has no finite one, or the trial failed."""
    finite = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return max(finite) if finite and trial.state is not TrialState.FAIL else None


def latency_of(trial: FrozenTrial) -> float | None:
    """Return the time of an image, milliseconds; none: it isn't searched for, or the trial wasn't finished."""
    return float(trial.values[1]) if trial.state is TrialState.COMPLETE and len(trial.values) > 1 else None


def num_without_gain(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials have ended since the one that was better than all that ended before it."""
    ended = sorted((one for one in trials if one.state in ENDED), key=lambda one: (one.datetime_complete, one.number))
    best, since = -math.inf, 0
    for trial in ended:
        value = best_value(trial)
        best, since = (value, 0) if value is not None and value > best else (best, since + 1)
    return since
