"""The search space around an experiment, as one table of dimensions.

The words of a setting are read from its ``Literal``, and numbers are checked against its ``Range``, so the space can't
have values that the setting would refuse. Each dimension includes the experiment's own value, so that the first trial
can be the experiment itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from ray import tune
from ray.tune.search.sample import Domain

from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import range_of
from melanoma_ray.settings import field_annotation, get_setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """One setting and the values that are searched."""

    name: str
    """Dotted name of the setting."""
    uniform: tuple[float, float] | None = None
    """Smallest and largest value of a uniform distribution."""
    log_factors: tuple[float, float] | None = None
    """Factors of the experiment's own value that give the ends of a log-uniform distribution."""
    choices: tuple[float, ...] = ()
    """Numbers to choose from; a ``Literal`` setting needs none, since all of its words are searched."""
    short: str = ""
    """Short name of the setting in the names of trials; empty: it isn't in them."""

    def domain(self, experiment: Experiment) -> Domain:
        """Return Ray Tune's domain of this dimension around an experiment.

        Raises:
            ConfigError: A value of the dimension is out of the setting's range.
        """
        own, annotation = get_setting(experiment, self.name), field_annotation(self.name)
        if get_origin(annotation) is Literal:
            return tune.choice(list(get_args(annotation)))
        if self.choices:
            return tune.choice(sorted({*self._allowed(self.choices), own}))
        if self.log_factors is not None:
            low, high = self._allowed([own * factor for factor in self.log_factors])
            return tune.loguniform(low, high)
        low, high = self._allowed(self.uniform or ())
        return tune.uniform(min(low, own), max(high, own))

    def _allowed(self, values: tuple[float, ...] | list[float]) -> list[float]:
        allowed = range_of(field_annotation(self.name))
        for value in values:
            if allowed is not None and value not in allowed:
                msg = f"search space: {self.name}={value!r}: expected {allowed}"
                raise ConfigError(msg)
        return list(values)


SPACE = (
    Dimension(name="optimizer.learning_rate", log_factors=(0.1, 3.0), short="lr"),
    Dimension(name="optimizer.weight_decay", choices=(0.0, 0.01, 0.05)),
    Dimension(name="loss.class_weighting", short="weighting"),
    Dimension(name="loss.label_smoothing", uniform=(0.0, 0.15)),
    Dimension(name="model.dropout", uniform=(0.0, 0.4)),
)
"""The learning rate matters most, so it is searched over a factor of thirty; next matter the weights of rare diagnoses
and regularisation."""


def build_space(experiment: Experiment) -> dict[str, Domain]:
    """Return the domains around an experiment, by the dotted names of the settings."""
    return {dimension.name: dimension.domain(experiment) for dimension in SPACE}


def own_values(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment's own values in the space, which are tried first, as the result that a sweep must beat."""
    return {dimension.name: get_setting(experiment, dimension.name) for dimension in SPACE}
