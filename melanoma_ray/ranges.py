"""The range of a setting as part of its type: checked by one function, and used by messages and search spaces."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from melanoma_ray.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that a setting may have, in its annotation: ``dropout: Annotated[float, Range(0, below=1)]``.

    >>> str(Range(0, 1)), str(Range(0, below=1)), str(Range(above=0)), str(Range(1))
    ('[0, 1]', '[0, 1)', 'more than 0', '1 or more')
    """

    least: float = -math.inf
    """Smallest number allowed."""
    greatest: float = math.inf
    """Largest number allowed."""
    above: float = dataclasses.field(default=-math.inf, kw_only=True)
    """All numbers allowed are larger than this one."""
    below: float = dataclasses.field(default=math.inf, kw_only=True)
    """All numbers allowed are smaller than this one."""

    def __contains__(self, value: float) -> bool:
        """Return whether a number is allowed; NaN never is."""
        return self.least <= value <= self.greatest and self.above < value < self.below

    @property
    def low(self) -> float:
        """The lower end, whether the end itself is allowed or not."""
        return max(self.least, self.above)

    @property
    def high(self) -> float:
        """The upper end, whether the end itself is allowed or not."""
        return min(self.greatest, self.below)

    def __str__(self) -> str:
        """Return the range as in messages and help texts."""
        is_open = self.above > -math.inf
        if self.high == math.inf:
            return f"more than {self.low:g}" if is_open else f"{self.low:g} or more"
        return f"{'(' if is_open else '['}{self.low:g}, {self.high:g}{')' if self.below < math.inf else ']'}"


@functools.cache
def field_types(settings: type) -> dict[str, Any]:
    """Return the type annotations of a dataclass's fields by name, including ranges."""
    hints = get_type_hints(settings, include_extras=True)
    return {one.name: hints[one.name] for one in dataclasses.fields(settings)}


def range_of(annotation: object) -> Range | None:
    """Return the range in a field's annotation, if it has one.

    >>> range_of(Annotated[float, Range(0, below=1)])
    Range(least=0, greatest=inf, above=-inf, below=1)
    """
    if get_origin(annotation) is not Annotated:
        return None
    return next((one for one in get_args(annotation)[1:] if isinstance(one, Range)), None)


def check_ranges(settings: DataclassInstance, prefix: str = "") -> None:
    """Refuse settings that are out of their range; none is accepted for a setting whose type allows none.

    Args:
        settings: An instance of a dataclass.
        prefix: Start of the settings' names on the command line, such as ``optimizer.``.

    Raises:
        ConfigError: A setting is out of its range; the message has the first one.
    """
    for name, annotation in field_types(type(settings)).items():
        allowed, value = range_of(annotation), getattr(settings, name)
        if allowed is not None and not _is_allowed(value, annotation, allowed):
            msg = f"{prefix}{name}={value!r}: expected {allowed}"
            raise ConfigError(msg)


def _is_allowed(value: object, annotation: object, allowed: Range) -> bool:
    """Return whether a value is in a range, or is none where the annotation allows it (``float | None``)."""
    if value is None:
        return type(None) in get_args(get_args(annotation)[0])
    return isinstance(value, int | float) and value in allowed
