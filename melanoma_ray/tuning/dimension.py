"""One dimension of a search space: a setting by its dotted name, and the values that are searched.

When a dimension is made, its numbers become those of the setting's own type (8.0 is 8 for a whole number, 0 is 0.0 for
a real one), and are checked against its range, so a sweep can't propose what the setting would refuse. What depends on
two settings is checked when a trial is proposed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import optuna

from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import range_of
from melanoma_ray.settings import field_annotation, to_dict

Kind = Literal["uniform", "log", "int", "choice"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_UNSEARCHED = {
    "num_epochs": "decides how long trials are, so it is the same for all",
    "patience_epochs": "decides how long trials are, so it is the same for all",
    "seed": "decides nothing but luck, and the best of many would be the luckiest",
}
"""Settings that a sweep doesn't search, and why."""
SHORT_NAMES = {
    "optimizer.learning_rate": "lr",
    "loss.class_weighting": "weighting",
    "model.network": "network",
    "model.image_side": "side",
}
"""Short names of the settings that are in the names of trials."""
LARGEST = 2**53
"""Largest whole number that a setting may have: a JSON reader that knows only doubles would round a larger one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Limits a dimension to the trials in which another setting has one of some values."""

    name: str
    """Dotted name of the other setting."""
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Check the name, and that the setting takes the values.

        Raises:
            ConfigError: It doesn't, or there is no such setting.
        """
        check_name(self.name)
        object.__setattr__(self, "values", tuple(_as_typed(self.name, value) for value in self.values))
        for value in self.values:
            check_value(self.name, value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """One setting and the values that are searched."""

    name: str
    """Dotted name of the setting."""
    kind: Kind
    """uniform or log: real numbers, evenly or by their logarithm; int: whole numbers; choice: the values listed."""
    low: float | None = None
    """Smallest value of a range."""
    high: float | None = None
    """Largest value of a range."""
    choices: tuple[Any, ...] = ()
    """Values to choose from."""
    when: Condition | None = None
    """The trials in which the setting is searched; in others it has the experiment's value. none: all trials."""

    def __post_init__(self) -> None:
        """Check the name, and that the setting takes the values.

        Raises:
            ConfigError: It doesn't, or a sweep can't search the setting.
        """
        check_name(self.name)
        if self.name in _UNSEARCHED:
            msg = f"search space: {self.name} {_UNSEARCHED[self.name]}; leave it out"
            raise ConfigError(msg)
        for end in ("low", "high"):
            object.__setattr__(self, end, _as_typed(self.name, getattr(self, end)))
        object.__setattr__(self, "choices", tuple(_as_typed(self.name, value) for value in self.choices))
        if self.kind == "choice":
            self._check_choices()
        else:
            self._check_range()

    def _check_choices(self) -> None:
        for value in self.choices:
            check_value(self.name, value)
        if len(set(self.choices)) != len(self.choices) or len(self.choices) < 2:
            given = ",".join(map(str, self.choices))
            msg = f"search space: {self.name}=choice:{given}: expected two or more values, each of them once"
            raise ConfigError(msg)

    def _check_range(self) -> None:
        if (words := _words(self.name)) is not None:
            msg = (
                f"search space: {self.name}={self.kind}: expected choice:{','.join(map(str, words))}, or some of these"
            )
            raise ConfigError(msg)
        expected = {"int": int, "uniform": float, "log": float}[self.kind]
        if expected not in _types(self.name):
            kinds = "int or choice" if int in _types(self.name) else "uniform, log or choice"
            allowed = kinds if {int, float} & _types(self.name) else "choice"
            msg = f"search space: {self.name}={self.kind}: expected {allowed}, since its values are of another kind"
            raise ConfigError(msg)
        low, high = self.low, self.high
        if low is None or high is None or not -math.inf < low < high < math.inf:
            msg = f"search space: {self.name}={self.kind}:{low}:{high}: expected two numbers, the smaller one first"
            raise ConfigError(msg)
        if self.kind == "log" and low <= 0:
            msg = f"search space: {self.name}=log:{low:g}:{high:g}: expected more than 0; use uniform"
            raise ConfigError(msg)
        for value in (low, high):
            check_value(self.name, value)

    def includes(self, value: object) -> bool:
        """Return whether a value is among those that are searched."""
        value = _as_typed(self.name, value)
        if self.kind == "choice":
            return any(value == one and type(value) is type(one) for one in self.choices)
        assert self.low is not None
        assert self.high is not None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= float(str(value)) <= self.high

    def applies_to(self, settings: Mapping[str, object]) -> bool:
        """Return whether a trial searches it.

        Args:
            settings: All settings of the trial that its condition may name, by their dotted names.
        """
        return self.when is None or settings.get(self.when.name) in self.when.values

    def suggest(self, trial: optuna.trial.Trial) -> Any:  # noqa: ANN401 - as many types as settings
        """Return the value that a trial of Optuna gets."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, list(self.choices))
        assert self.low is not None
        assert self.high is not None
        if self.kind == "int":
            return trial.suggest_int(self.name, int(self.low), int(self.high))
        return trial.suggest_float(self.name, self.low, self.high, log=self.kind == "log")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}


def check_name(name: str) -> None:
    """Refuse a name that no setting has, and suggest the one whose last part or short name is nearest.

    Raises:
        ConfigError: No setting of an experiment has it.
    """
    known = sorted(_leaves(to_dict(Experiment())))
    if name not in known:
        ends = {one.rsplit(".", 1)[-1]: one for one in known} | {short: one for one, short in SHORT_NAMES.items()}
        near = difflib.get_close_matches(name.rsplit(".", 1)[-1], ends, n=1)
        advice = f"did you mean {ends[near[0]]}?" if near else "python -m jobs.train --help lists the settings"
        msg = f"search space: {name!r} is no setting of an experiment; {advice}"
        raise ConfigError(msg)


def parse_value(name: str, text: str) -> Any:  # noqa: ANN401 - as many types as settings
    """Return a setting's value from a text of the command line.

    Raises:
        ConfigError: The setting can't have it.

    >>> parse_value("optimizer.ema_decay", "none"), parse_value("model.num_views", "4")
    (None, 4)
    """
    check_name(name)
    for value in _readings(name, text):
        return value
    msg = f"search space: {name}={text}: expected {_expected(name)}"
    raise ConfigError(msg)


def _readings(name: str, text: str) -> list[Any]:
    """Return the values that a text can stand for, the most exact first."""
    words = [word for word in _words(name) or () if str(word) == text]
    kinds = _types(name)
    found: list[Any] = list(words)
    if type(None) in kinds and text.lower() == "none":
        found.append(None)
    if bool in kinds and text.lower() in ("true", "yes", "false", "no"):
        found.append(text.lower() in ("true", "yes"))
    for kind in (int, float):
        if kind in kinds:
            try:
                found.append(kind(text))
            except ValueError:
                continue
    if str in kinds:
        found.append(text)
    return found


def _as_typed(name: str, value: object) -> Any:  # noqa: ANN401 - as many types as settings
    """Return a number as its setting's own type; what can't be that, or is no number, is returned as it is."""
    kinds = _types(name)
    if type(value) is int and float in kinds:
        return float(str(value))  # infinite where no float is as large
    if isinstance(value, float) and int in kinds and float not in kinds and value.is_integer():
        return int(value)
    return value


def check_value(name: str, value: object) -> None:
    """Refuse a value that a setting doesn't take, or a whole number too large for the files of a sweep.

    Raises:
        ConfigError: It is one of these.
    """
    value = _as_typed(name, value)
    allowed, words = range_of(field_annotation(name)), _words(name)
    is_right = type(value) in _types(name) and (words is None or value in words)
    if isinstance(value, int | float) and allowed is not None:
        is_right &= value in allowed
    if not is_right:
        msg = f"search space: {name}={value!r}: expected {_expected(name)}"
        raise ConfigError(msg)
    if isinstance(value, int) and abs(value) > LARGEST:
        msg = f"search space: {name}={value}: expected {LARGEST} (2**53) at most, or files round it; choose less"
        raise ConfigError(msg)


def _expected(name: str) -> str:
    words, allowed = _words(name), range_of(field_annotation(name))
    if words is not None:
        return "one of " + ", ".join(map(str, words))
    optional = ", or none" if type(None) in _types(name) else ""
    if allowed is not None:
        whole = "a whole number, " if int in _types(name) and float not in _types(name) else ""
        return f"{whole}{allowed}{optional}"
    return " or ".join(sorted({bool: "true or false", str: "a name"}.get(kind, str(kind)) for kind in _types(name)))


def _words(name: str) -> tuple[Any, ...] | None:
    annotation = field_annotation(name)
    return get_args(annotation) if get_origin(annotation) is Literal else None


def _types(name: str) -> set[type]:
    """Return the types that a setting's value may have."""
    annotation = field_annotation(name)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return {type(word) for word in get_args(annotation)}
    return set(get_args(annotation)) or {annotation}


def _leaves(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in data.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found
