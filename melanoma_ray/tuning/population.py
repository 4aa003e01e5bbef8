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
"""Probability with which a choice is drawn anew."""
_ROOMS = ("optimizer.", "loss.", "augmentation.")
_FEWEST = 2


class Population:
    """Which trials the generations have; a pure function of the trials before."""

    def __init__(self, space: SearchSpace, options: SearchOptions, size: int, num_epochs: int, seed: int) -> None:
        """Check that the members can exchange their weights.

        Args:
            space: Search space.
            options: How the sweep searches.
            size: Number of members.
            num_epochs: Number of epochs of all generations together.
            seed: Seed of the variations.

        Raises:
            ConfigError: There are too few members, or the space has a setting with which weights can't be exchanged.
        """
        if size < _FEWEST:
            msg = f"num_trials={size}: expected {_FEWEST} or more, the members of the population"
            raise ConfigError(msg)
        for dimension in space.dimensions:
            if not dimension.name.startswith(_ROOMS) and dimension.name != "model.dropout":
                msg = (
                    f"search space: {dimension.name} can't change while a network is trained, as the settings of a "
                    "population do; leave it out, or choose another search"
                )
                raise ConfigError(msg)
        self.space, self.size, self.seed = space, size, seed
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
            settings = {one.name: _vary(one, settings[one.name], random) for one in self.space.dimensions}
        notes |= {"parent": parent.number, "is_clone": is_clone, "first_epoch": self.ends[generation - 1] + 1}
        return study.adopt(settings, notes)

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


def newest_value(trial: FrozenTrial) -> float:
    """Return the value after a trial's newest epoch, whose weights others go on from; minus infinity: it failed."""
    if trial.state is TrialState.FAIL or not trial.intermediate_values:
        return -math.inf
    return float(trial.intermediate_values[max(trial.intermediate_values)])


def _vary(dimension: Dimension, value: Any, random: np.random.Generator) -> Any:  # noqa: ANN401
    if dimension.kind == "choice":
        is_kept = random.random() >= _RESAMPLED
        return value if is_kept else dimension.choices[int(random.integers(len(dimension.choices)))]
    if value is None:
        return value
    assert dimension.low is not None
    assert dimension.high is not None
    varied = min(dimension.high, max(dimension.low, float(value) * float(random.choice(_FACTORS))))
    return round(varied) if dimension.kind == "int" else varied
