"""Settings by their dotted names, and as JSON: shared by command lines, sweeps and checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import field_types


def to_dict(config: object) -> dict[str, Any]:
    """Return settings as nested dictionaries that JSON can hold.

    Raises:
        ConfigError: They aren't one of the dataclasses of ``config``.

    >>> to_dict(Experiment())["optimizer"]["learning_rate"]
    0.001
    """
    if not is_dataclass(config) or isinstance(config, type):
        msg = f"{config!r} is not one of the settings of melanoma_ray.config"
        raise ConfigError(msg)
    return asdict(config)


def experiment_from_dict(data: object) -> Experiment:
    """Return the experiment from which ``to_dict`` made a dictionary.

    Raises:
        ConfigError: It is no dictionary, or a field is unknown, has the wrong type or is out of its range.

    >>> experiment_from_dict({"num_epochs": 3}).num_epochs
    3
    """
    if not isinstance(data, dict):
        msg = f"experiment {data!r}: expected fields and their values, such as {{'num_epochs': 3}}"
        raise ConfigError(msg)
    _refuse_unknown(data, to_dict(Experiment()), "")
    try:
        return _reader().validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        msg = f"experiment field {name}={first['input']!r}: {first['msg']}"
        raise ConfigError(msg) from error


@functools.cache
def _reader() -> TypeAdapter[Experiment]:
    """Return pydantic's reader of experiments, which takes longer to build than to use."""
    return TypeAdapter(Experiment)


def _refuse_unknown(data: dict[str, Any], known: dict[str, Any], prefix: str) -> None:
    for name, value in data.items():
        if name not in known:
            msg = f"experiment field={prefix + name!r}: expected one of {', '.join(known)}"
            raise ConfigError(msg)
        if isinstance(value, bool) and not isinstance(known[name], bool) and isinstance(known[name], int | float):
            msg = f"experiment field {prefix + name}={value!r}: expected a number"
            raise ConfigError(msg)
        if isinstance(known[name], dict) and isinstance(value, dict):
            _refuse_unknown(value, known[name], f"{prefix}{name}.")


def get_setting(experiment: Experiment, dotted_name: str) -> Any:  # noqa: ANN401 - as many types as fields
    """Return the value of one field, named as on the command line (``optimizer.learning_rate``).

    >>> get_setting(Experiment(), "optimizer.learning_rate")
    0.001
    """
    field_annotation(dotted_name)
    value: Any = experiment
    for name in dotted_name.split("."):
        value = getattr(value, name)
    return value


def field_annotation(dotted_name: str) -> object:
    """Return the type annotation of one of an experiment's fields, including its range.

    Raises:
        ConfigError: There is no such field.
    """
    annotation: Any = Experiment
    for name in dotted_name.split("."):
        known = field_types(annotation) if isinstance(annotation, type) and is_dataclass(annotation) else {}
        if name not in known:
            msg = f"setting={dotted_name!r}: expected a field of {', '.join(field_types(Experiment))}"
            raise ConfigError(msg)
        annotation = known[name]
    return annotation


def with_setting(experiment: Experiment, dotted_name: str, value: object) -> Experiment:
    """Return the experiment with one field changed, named as on the command line.

    Raises:
        ConfigError: There is no such field, or the value has the wrong type or is out of its range.

    >>> with_setting(Experiment(), "loss.label_smoothing", 0.1).loss.label_smoothing
    0.1
    """
    return with_settings(experiment, {dotted_name: value})


def with_settings(experiment: Experiment, settings: Mapping[str, object]) -> Experiment:
    """Return the experiment with fields changed, all at once: two of them may be right only together.

    Args:
        experiment: The experiment.
        settings: New values by the dotted names of their fields.

    Raises:
        ConfigError: There is no such field, a value has the wrong type or is out of its range, or the settings
            contradict each other.

    >>> found = with_settings(Experiment(), {"num_accumulations": 3, "global_batch_size": 48})
    >>> found.num_accumulations, found.global_batch_size
    (3, 48)
    """
    data = to_dict(experiment)
    for dotted_name, value in settings.items():
        field_annotation(dotted_name)
        *parents, last = dotted_name.split(".")
        part = data
        for parent in parents:
            part = part[parent]
        part[last] = value
    return experiment_from_dict(data)
