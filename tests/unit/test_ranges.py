"""The range of a setting: every boundary, and that help tells just what is checked."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from collections.abc import Iterator
from typing import Any

import pytest

from melanoma_ray import config
from melanoma_ray.config import Experiment, OptimizerConfig
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges, field_types, range_of
from melanoma_ray.settings import with_setting

JUST_BELOW_0, JUST_ABOVE_0 = math.nextafter(0, -1), math.nextafter(0, 1)
JUST_BELOW_1, JUST_ABOVE_1 = math.nextafter(1, 0), math.nextafter(1, 2)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (Range(0, 1), [0, 0.5, 1], [JUST_BELOW_0, JUST_ABOVE_1]),
        (Range(0, below=1), [0, JUST_BELOW_1], [JUST_BELOW_0, 1]),
        (Range(above=0, greatest=1), [JUST_ABOVE_0, 1], [0, JUST_ABOVE_1]),
        (Range(above=0, below=1), [JUST_ABOVE_0, JUST_BELOW_1], [0, 1]),
        (Range(above=0), [JUST_ABOVE_0, 1e300], [0, -1]),
        (Range(1), [1, 10**9], [JUST_BELOW_1, 0]),
        (Range(), [-1e300, 0, 1e300], []),
    ],
    ids=str,
)
def test_a_range_holds_its_boundaries_and_no_number_beyond_them(
    allowed: Range, inside: list[float], outside: list[float]
) -> None:
    assert [value for value in inside if value not in allowed] == []
    assert [value for value in outside if value in allowed] == []


@pytest.mark.parametrize("allowed", [Range(0, 1), Range(0), Range(above=0), Range()], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_is_in_no_range(allowed: Range, value: float) -> None:
    assert value not in allowed


@pytest.mark.parametrize(
    ("allowed", "text", "ends"),
    [
        (Range(32, 2048), "[32, 2048]", (32, 2048)),
        (Range(0, below=1), "[0, 1)", (0, 1)),
        (Range(above=0, greatest=1), "(0, 1]", (0, 1)),
        (Range(above=0.5, below=1), "(0.5, 1)", (0.5, 1)),
        (Range(above=0), "more than 0", (0, math.inf)),
        (Range(1), "1 or more", (1, math.inf)),
    ],
)
def test_a_range_is_written_as_in_mathematics_and_knows_its_ends(
    allowed: Range, text: str, ends: tuple[float, float]
) -> None:
    assert str(allowed) == text
    assert (allowed.low, allowed.high) == ends


def test_none_passes_where_the_type_allows_it_and_nowhere_else() -> None:
    check_ranges(OptimizerConfig(ema_decay=None))
    with pytest.raises(ConfigError, match=r"optimizer\.ema_decay=1: expected \(0, 1\)"):
        OptimizerConfig(ema_decay=1)
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate"):
        with_setting(Experiment(), "optimizer.learning_rate", None)


def test_a_setting_without_a_range_is_left_alone() -> None:
    assert range_of(int) is None
    assert range_of(field_types(Experiment)["sampling"]) is None


def settings_classes() -> Iterator[type]:
    for found in vars(config).values():
        if isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == config.__name__:
            yield found


RANGES = [
    (settings, name, allowed)
    for settings in settings_classes()
    for name, annotation in field_types(settings).items()
    if (allowed := range_of(annotation)) is not None
]
EVERY_RANGE = pytest.mark.parametrize(
    ("settings", "name", "allowed"), RANGES, ids=[f"{settings.__name__}.{name}" for settings, name, _ in RANGES]
)


def just_outside(allowed: Range) -> list[float]:
    below = math.nextafter(allowed.least, -math.inf) if allowed.least > -math.inf else allowed.above
    above = math.nextafter(allowed.greatest, math.inf) if allowed.greatest < math.inf else allowed.below
    return [value for value in (below, above) if math.isfinite(value)]


@EVERY_RANGE
def test_every_setting_with_a_range_refuses_what_lies_just_outside(
    settings: type[Any], name: str, allowed: Range
) -> None:
    for value in [*just_outside(allowed), math.nan]:
        with pytest.raises(ConfigError) as caught:
            settings(**{name: value})
        assert str(caught.value).endswith(f"{name}={value!r}: expected {allowed}")


def docstrings_of_fields(settings: type[Any]) -> dict[str, str]:
    """The text under each field, in one line."""
    (definition,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


@EVERY_RANGE
def test_the_text_under_every_setting_tells_its_range(settings: type[Any], name: str, allowed: Range) -> None:
    text = docstrings_of_fields(settings)[name]
    assert str(allowed) in text, f"{settings.__name__}.{name} is {allowed}, and its docstring doesn't say so: {text}"


def test_there_are_settings_with_ranges_to_check() -> None:
    assert len(RANGES) > 30
