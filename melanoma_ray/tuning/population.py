"""Population based training as trials of a study: each trial is one member's share of one generation.

All members train for a generation. Then each of the worst fifth goes on from the weights, the optimizer and the
settings of one of the best fifth (exploit), with these settings varied (explore); all others go on from their own. So
a generation's trial starts from the progress of a trial of the generation before, and the study, which has every trial
with its parent, is all that a resumed sweep needs. Source: Jaderberg et al. 2017, arXiv:1711.09846.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.tuning.dimension import Dimension
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.space import SearchSpace
from melanoma_ray.tuning.study import ENDED, SETTINGS, Study, seed_of

_SHARE = 0.2
"""Share of the members that are replaced after a generation, and of those that replace them; at least one."""
_FACTORS = (0.8, 1.2)
"""Factors by which a number is varied, as in the source."""
_RESAMPLED = 0.25
"""Probability with which a setting is drawn anew."""
_ROOMS = ("optimizer.", "loss.", "augmentation.")
_FEWEST = 2


class Population:
    """Which trials the generations have; a pure function of the trials before."""

    def __init__(self, space: SearchSpace, options: SearchOptions, size: int, experiment: Experiment) -> None:
        """Check that the members can exchange their weights.

        Args:
            space: Search space.
            options: How the sweep searches.
            size: Number of members.
            experiment: Experiment that the sweep starts from, with the number of epochs of all generations together
                and the seed of the variations.

        Raises:
            ConfigError: There are too few members, there is a single generation, members could end by themselves, or
                the space has a setting with which weights can't be exchanged.
        """
        num_epochs = experiment.num_epochs
        if size < _FEWEST:
            msg = f"num_trials={size}: expected {_FEWEST} or more, the members of the population"
            raise ConfigError(msg)
        if options.generation_epochs >= num_epochs:
            msg = (
                f"generation_epochs={options.generation_epochs}: expected fewer than the {num_epochs} epochs of all "
                "generations together, or none follows from the first"
            )
            raise ConfigError(msg)
        if experiment.patience_epochs is not None:
            msg = (
                f"patience_epochs={experiment.patience_epochs}: the members of a population end together; leave it out"
            )
            raise ConfigError(msg)
        for dimension in space.dimensions:
            if not can_change(dimension.name):
                msg = (
                    f"search space: {dimension.name} can't change while a network is trained, as the settings of a "
                    "population do; leave it out, or choose another search"
                )
                raise ConfigError(msg)
        self.space, self.size, self.seed = space, size, experiment.seed
        self.ends = [
            min(end, num_epochs)
            for end in range(
                options.generation_epochs, num_epochs + options.generation_epochs, options.generation_epochs
            )
        ]

    @property
    def num_trials(self) -> int:
        """Number of members times number of generations."""
        return self.size * len(self.ends)

    def begin(self, study: Study, own: Mapping[str, Any]) -> FrozenTrial | None:
        """Begin the next trial; none: the generation before isn't over.

        Args:
            study: The sweep's memory.
            own: The experiment's own values, with which the first member begins.
        """
        trials = study.trials
        generation, member = divmod(len(trials), self.size)
        notes: dict[str, Any] = {
            "generation": generation + 1,
            "member": member + 1,
            "last_epoch": self.ends[generation],
        }
        if generation == 0:
            trial = study.propose(self.space, own)
            study.note(trial.number, **notes)
            return study.trial(trial.number)
        before = trials[(generation - 1) * self.size : generation * self.size]
        if any(trial.state not in ENDED for trial in before):
            return None
        random = np.random.default_rng(seed_of(self.seed, len(trials)))
        parent = self._parent(before, member, random)
        settings = dict(parent.user_attrs[SETTINGS])
        is_clone = parent is not before[member]
        if is_clone:
            settings = self._explore(settings, own, random)
        notes |= {"parent": parent.number, "is_clone": is_clone, "first_epoch": self.ends[generation - 1] + 1}
        return study.adopt(settings, notes)

    def _explore(
        self, settings: Mapping[str, Any], own: Mapping[str, Any], random: np.random.Generator
    ) -> dict[str, Any]:
        """Return settings varied; one whose condition isn't met has the experiment's own value."""
        varied = dict(own)
        for one in self.space.dimensions:
            if one.applies_to(varied):
                varied[one.name] = vary(one, settings[one.name], random)
        return {one.name: varied[one.name] for one in self.space.dimensions}

    def _parent(self, before: list[FrozenTrial], member: int, random: np.random.Generator) -> FrozenTrial:
        """Return the trial of the generation before from which a member goes on."""
        ranked = sorted(before, key=lambda trial: (newest_value(trial), -trial.number))
        num_replaced = max(1, int(_SHARE * self.size))
        own = before[member]
        if any(own is trial for trial in ranked[:num_replaced]) or own.state is TrialState.FAIL:
            best = [trial for trial in ranked[-num_replaced:] if trial.state is not TrialState.FAIL]
            if best:
                return best[int(random.integers(len(best)))]
        return own


def can_change(name: str) -> bool:
    """Return whether a setting can change while a network is trained.

    Args:
        name: Dotted name of the setting.
    """
    return name.startswith(_ROOMS) or name == "model.dropout"


def newest_value(trial: FrozenTrial) -> float:
    """Return the value after a trial's newest epoch, whose weights others go on from; minus infinity: it failed."""
    if trial.state is TrialState.FAIL or not trial.intermediate_values:
        return -math.inf
    return float(trial.intermediate_values[max(trial.intermediate_values)])


def vary(dimension: Dimension, value: Any, random: np.random.Generator) -> Any:  # noqa: ANN401
    """Return a value near another one, or one drawn anew: now and then, or where no other is near within the range.

    Args:
        dimension: Setting with its range.
        value: The other one.
        random: Source of chance.
    """
    is_anew = random.random() < _RESAMPLED or not dimension.includes(value)
    if dimension.kind == "choice":
        return dimension.choices[int(random.integers(len(dimension.choices)))] if is_anew else value
    assert dimension.low is not None
    assert dimension.high is not None
    low, high = dimension.low, dimension.high
    if not is_anew and value != 0:
        varied = min(high, max(low, float(value) * float(random.choice(_FACTORS))))
    elif dimension.kind == "log":
        varied = math.exp(random.uniform(math.log(low), math.log(high)))
    else:
        varied = random.uniform(low, high)
    return round(varied) if dimension.kind == "int" else varied
