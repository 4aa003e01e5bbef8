"""A search space as a value: dimensions by dotted names, from a named space, a JSON file or the command line.

Named spaces lie around an experiment and include its own values. Whatever the space, the first trial is the
experiment itself, as the result that a sweep must beat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn, get_args

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import range_of
from melanoma_ray.settings import field_annotation, get_setting
from melanoma_ray.tuning.dimension import KINDS, Condition, Dimension, check_name, check_value, parse_value


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """The settings that a sweep varies, and between which values."""

    dimensions: tuple[Dimension, ...]
    """In the order in which trials draw them: as given, but for one that another depends on, which comes before it."""

    def __post_init__(self) -> None:
        """Check that the dimensions go together, and put them in order.

        Raises:
            ConfigError: There is none, two are of the same setting, or some depend on each other in a circle.
        """
        names = [dimension.name for dimension in self.dimensions]
        if not names:
            msg = f"search space: it is empty; name one of {', '.join(SPACES)}, or a setting with its range"
            raise ConfigError(msg)
        for place, dimension in enumerate(self.dimensions):
            if dimension.name in names[:place]:
                msg = f"search space: {dimension.name} is in it twice; leave one of the two out"
                raise ConfigError(msg)
        object.__setattr__(self, "dimensions", _in_order(self.dimensions))

    def own_values(self, experiment: Experiment) -> dict[str, Any]:
        """Return the experiment's own values, by the dotted names of the dimensions."""
        return {dimension.name: get_setting(experiment, dimension.name) for dimension in self.dimensions}

    def values_of(self, name: str, experiment: Experiment) -> list[Any]:
        """Return the values that trials can have of a setting, of a range its two ends; the experiment's own is first.

        Args:
            name: Dotted name of the setting.
            experiment: Experiment that the sweep starts from.
        """
        found = [get_setting(experiment, name)]
        for one in self.dimensions:
            if one.name == name:
                found += one.choices if one.kind == "choice" else [one.low, one.high]
        return found

    def to_list(self) -> list[dict[str, Any]]:
        """Return the dimensions as JSON can hold them."""
        return [dimension.to_dict() for dimension in self.dimensions]


def _in_order(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Return dimensions so that none depends on a later one; those that are in order stay exactly so."""
    by_name = {dimension.name: dimension for dimension in dimensions}
    placed: dict[str, Dimension] = {}
    for dimension in dimensions:
        chain = {dimension.name: dimension}  # it, what it depends on, what that depends on, and so on
        other = _depends_on(dimension)
        while other in by_name and other not in placed:
            if other in chain:
                _refuse_circle([*chain], other)
            chain[other] = by_name[other]
            other = _depends_on(by_name[other])
        placed |= dict(reversed(chain.items()))
    return tuple(placed.values())


def _depends_on(dimension: Dimension) -> str:
    """Return the name of the setting that a dimension's condition names; empty: it has none."""
    return "" if dimension.when is None else dimension.when.name


def _refuse_circle(chain: list[str], first: str) -> NoReturn:
    """Refuse a chain of names whose last one depends on an earlier one, the first of the circle."""
    circle = chain[chain.index(first) :]
    if len(circle) == 1:
        msg = f"search space: {first} depends on itself; name another setting after @"
    else:
        links = ", ".join(f"{one} depends on {other}" for one, other in pairwise([*circle, first]))
        msg = f"search space: {links}: a circle; leave one of these conditions out"
    raise ConfigError(msg)


def build_space(
    texts: Sequence[str], experiment: Experiment, *, is_taken: Callable[[str], bool] | None = None
) -> SearchSpace:
    """Return the space that a command line describes.

    Args:
        texts: Each the name of a space, a JSON file, or one dimension as for ``parse_dimension``; none: ``default``.
            What a file or a text says of a setting counts before what a named space says, and of two named spaces the
            first one counts.
        experiment: Experiment around which the named spaces lie.
        is_taken: Function that returns whether a setting, by its dotted name, is taken from a named space; what is
            named itself is always taken. none: all are.

    Raises:
        ConfigError: A name is unknown, or a setting doesn't take the values.
        DataError: A file can't be read.

    >>> [one.name for one in build_space(["optimizer.learning-rate=log:1e-4:1e-2"], Experiment()).dimensions]
    ['optimizer.learning_rate']
    """
    found: dict[str, Dimension] = {}
    own: set[str] = set()
    for text in texts or ("default",):
        if text in SPACES:
            named = SPACES[text](experiment)
            for dimension in named if is_taken is None else [one for one in named if is_taken(one.name)]:
                found.setdefault(dimension.name, dimension)
            continue
        for dimension in _read_text(text):
            if dimension.name in own:
                msg = f"search space: {dimension.name} is in it twice; leave one of the two out"
                raise ConfigError(msg)
            own.add(dimension.name)
            found[dimension.name] = dimension
    space = SearchSpace(dimensions=tuple(found.values()))
    for dimension in space.dimensions:
        check_value(dimension.name, get_setting(experiment, dimension.name))
        if dimension.when is not None:
            _check_condition(dimension.name, dimension.when, space, experiment)
    return space


def _read_text(text: str) -> list[Dimension]:
    """Return the dimensions of a word of the command line that isn't the name of a space."""
    if text.endswith(".json"):
        return read_space(text)
    if "=" in text:
        return [parse_dimension(text)]
    msg = (
        f"search space: {text!r}: expected one of {', '.join(SPACES)}, a file.json, or a setting with its "
        "range, such as optimizer.learning-rate=log:1e-4:1e-2"
    )
    raise ConfigError(msg)


def _check_condition(name: str, when: Condition, space: SearchSpace, experiment: Experiment) -> None:
    """Refuse a condition that no trial meets, since the setting would never be searched."""
    other = next((one for one in space.dimensions if one.name == when.name), None)
    if other is not None and other.kind in ("uniform", "log"):
        msg = f"search space: {name} depends on {when.name}, which has a range of real numbers; give that a choice"
        raise ConfigError(msg)
    if other is not None:
        met = any(other.includes(value) for value in when.values)
        met |= other.when is not None and get_setting(experiment, when.name) in when.values  # where it isn't searched
    else:
        met = get_setting(experiment, when.name) in when.values
    if not met:
        found = "isn't among its values" if other is not None else "the experiment doesn't have, and nothing searches"
        wanted = f"{when.name}={'|'.join(map(str, when.values))}"
        msg = f"search space: {name} depends on {wanted}, which {found}: no trial would search it"
        raise ConfigError(msg)


def parse_dimension(text: str) -> Dimension:
    """Return a dimension from a text of the command line.

    Args:
        text: ``NAME=uniform:LOW:HIGH``, ``NAME=log:LOW:HIGH``, ``NAME=int:LOW:HIGH`` or ``NAME=choice:A,B,…``; with
            ``@OTHER=A|B`` at its end it is searched where another setting has one of these values.

    Raises:
        ConfigError: It isn't such a text, or the setting doesn't take the values.

    >>> parse_dimension("loss.focal-gamma=uniform:0:3@loss.class-weighting=none|sqrt").when.values
    ('none', 'sqrt')
    """
    body, has_condition, condition = text.partition("@")
    name, _, rest = body.partition("=")
    kind, _, values = rest.partition(":")
    name = name.strip().replace("-", "_")
    check_name(name)
    when = _parse_condition(condition, text) if has_condition else None
    parts = values.split("," if kind == "choice" else ":")
    if kind not in KINDS or not all(parts) or (kind != "choice" and len(parts) != 2):
        msg = f"search space: {text!r}: expected {name}=uniform:LOW:HIGH, log:LOW:HIGH, int:LOW:HIGH or choice:A,B"
        raise ConfigError(msg)
    if kind == "choice":
        return Dimension(name=name, kind="choice", choices=tuple(parse_value(name, part) for part in parts), when=when)
    low, high = (_number(part, text) for part in parts)
    return Dimension(name=name, kind=kind, low=low, high=high, when=when)


def _parse_condition(condition: str, text: str) -> Condition:
    other, is_there, values = condition.partition("=")
    other = other.strip().replace("-", "_")
    if not is_there:
        msg = f"search space: {text!r}: expected @OTHER=VALUE after the range"
        raise ConfigError(msg)
    return Condition(name=other, values=tuple(parse_value(other, value) for value in values.split("|")))


def _number(part: str, text: str) -> float:
    for kind in (int, float):  # a float would round a large whole number
        try:
            return kind(part)
        except ValueError:
            continue
    msg = f"search space: {text!r}: {part!r} is no number"
    raise ConfigError(msg)


def read_space(uri: str) -> list[Dimension]:
    """Return the dimensions in a JSON file.

    Args:
        uri: File with an object of one entry a setting, such as ``{"optimizer.learning_rate": {"log": [1e-4, 1e-2]}}``;
            an entry may also have ``"when": {"loss.class_weighting": ["none", "sqrt"]}``.

    Raises:
        ConfigError: It isn't such an object, or a setting doesn't take the values.
        DataError: The file can't be read.
    """
    return [_read_dimension(name, entry, uri) for name, entry in storage.read_json(uri).items()]


def _read_dimension(name: str, entry: object, uri: str) -> Dimension:
    name = name.replace("-", "_")
    check_name(name)
    kinds = [kind for kind in KINDS if isinstance(entry, dict) and kind in entry]
    values = entry[kinds[0]] if isinstance(entry, dict) and len(kinds) == 1 else None
    if not isinstance(values, list) or not isinstance(entry, dict) or set(entry) - {"when", *kinds}:
        msg = f"{uri}: {name}={entry!r}: expected one of {', '.join(KINDS)} with a list, and perhaps when"
        raise ConfigError(msg)
    when = _read_condition(name, entry["when"], uri) if "when" in entry else None
    if kinds[0] == "choice":
        return Dimension(name=name, kind="choice", choices=tuple(values), when=when)
    if len(values) != 2 or not all(_is_number(value) for value in values):
        msg = f"{uri}: {name}={values!r}: expected two numbers, the smallest and the largest value"
        raise ConfigError(msg)
    return Dimension(name=name, kind=kinds[0], low=values[0], high=values[1], when=when)


def _read_condition(name: str, entry: object, uri: str) -> Condition:
    found = list(entry.items()) if isinstance(entry, dict) else []
    if len(found) != 1 or not isinstance(found[0][1], list) or not found[0][1]:
        msg = f'{uri}: {name}: when={entry!r}: expected one setting with a list, such as {{"loss.focal_gamma": [0]}}'
        raise ConfigError(msg)
    return Condition(name=found[0][0].replace("-", "_"), values=tuple(found[0][1]))


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300)


def _default(experiment: Experiment) -> list[Dimension]:
    """Learning rate, class weights and regularisation: the rate matters most, so it spans a factor of thirty."""
    return [
        _scaled("optimizer.learning_rate", experiment),
        _choice("optimizer.weight_decay", experiment, 0.0, 0.01, 0.05),
        _choice("loss.class_weighting", experiment),
        _uniform("loss.label_smoothing", experiment, 0.0, 0.15),
        _uniform("model.dropout", experiment, 0.0, 0.4),
    ]


def _optimizer(experiment: Experiment) -> list[Dimension]:
    """How the weights are found: rate, its course, decay, average."""
    return [
        _scaled("optimizer.learning_rate", experiment),
        _choice("optimizer.schedule", experiment),
        _uniform("optimizer.warmup_fraction", experiment, 0.0, 0.2),
        _choice("optimizer.weight_decay", experiment, 0.0, 0.01, 0.05),
        _uniform("optimizer.layer_decay", experiment, 0.6, 1.0),
        _choice("optimizer.ema_decay", experiment, None, 0.99, 0.999),
        _uniform("optimizer.max_gradient_norm", experiment, 0.5, 10.0),
    ]


def _augmentation(experiment: Experiment) -> list[Dimension]:
    """How training images are changed."""
    return [
        _uniform("augmentation.max_rotation_degrees", experiment, 0.0, 180.0),
        _uniform("augmentation.min_crop_fraction", experiment, 0.3, 1.0),
        _uniform("augmentation.max_zoom_fraction", experiment, 0.0, 0.3),
        _uniform("augmentation.max_brightness_fraction", experiment, 0.0, 0.3),
        _uniform("augmentation.max_contrast_fraction", experiment, 0.0, 0.3),
        _uniform("augmentation.max_colour_fraction", experiment, 0.0, 0.2),
        _uniform("augmentation.hair_probability", experiment, 0.0, 0.5),
        _uniform("augmentation.max_cutout_fraction", experiment, 0.0, 0.5),
        _choice("augmentation.mixup_alpha", experiment, 0.0, 0.2, 0.4),
        _choice("augmentation.cutmix_alpha", experiment, 0.0, 0.5, 1.0),
    ]


def _loss(experiment: Experiment) -> list[Dimension]:
    """What counts as wrong, and how much: weights of rare diagnoses, smoothing, focus."""
    return [
        _choice("loss.class_weighting", experiment),
        _uniform("loss.label_smoothing", experiment, 0.0, 0.15),
        _uniform("loss.focal_gamma", experiment, 0.0, 3.0),
        _uniform("loss.logit_adjustment", experiment, 0.0, 1.0),
        _choice("sampling", experiment),
    ]


def _architecture(experiment: Experiment) -> list[Dimension]:
    """The network's input and head; networks themselves are named on the command line."""
    own = experiment.model.image_side
    found = [
        _choice("model.image_side", experiment, *(side for side in (own * 3 // 4 // 4 * 4, own * 5 // 4 // 4 * 4))),
        _uniform("model.dropout", experiment, 0.0, 0.5),
    ]
    if experiment.model.pretrained:
        found.append(_choice("model.num_frozen_stages", experiment, 0, 1, 2, 3))
    return found


SPACES: dict[str, Callable[[Experiment], list[Dimension]]] = {
    "default": _default,
    "optimizer": _optimizer,
    "augmentation": _augmentation,
    "loss": _loss,
    "architecture": _architecture,
}
"""The named spaces: functions of the experiment around which they lie."""


def _scaled(name: str, experiment: Experiment) -> Dimension:
    """Return a logarithmic range from a tenth of the experiment's own value to three times it."""
    own = get_setting(experiment, name)
    return Dimension(name=name, kind="log", low=own * 0.1, high=own * 3.0)


def _uniform(name: str, experiment: Experiment, low: float, high: float) -> Dimension:
    own = get_setting(experiment, name)
    return Dimension(name=name, kind="uniform", low=min(low, own), high=max(high, own))


def _choice(name: str, experiment: Experiment, *values: object) -> Dimension:
    """Return the values and the experiment's own one; without values, all words of a ``Literal`` setting."""
    chosen = list(values or get_args(field_annotation(name)))
    own, allowed = get_setting(experiment, name), range_of(field_annotation(name))
    chosen = [value for value in chosen if allowed is None or value is None or value in allowed]
    return Dimension(name=name, kind="choice", choices=tuple(chosen if own in chosen else [*chosen, own]))
