"""Quiet hours and pauses."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.alerts.schedule import is_quiet, pause_s

NOON = 1_782_907_200.0
"""2026-07-01 12:00 UTC."""


@pytest.mark.parametrize(
    ("hour", "zone", "expected"),
    [(8, "UTC", True), (10, "UTC", False), (10, "America/New_York", True), (8, "Asia/Tokyo", False)],
)
def test_quiet_hours_are_those_of_the_time_zone(hour: int, zone: str, expected: bool) -> None:  # noqa: FBT001
    assert is_quiet(NOON + 3600 * (hour - 12), "22:00", "09:00", zone) == expected


def test_quiet_hours_may_be_in_the_middle_of_a_day() -> None:
    assert [is_quiet(NOON + 3600 * hour, "12:00", "14:00", "UTC") for hour in (-1, 0, 1, 2)] == [
        False,
        True,
        True,
        False,
    ]


@given(st.integers(1, 10_000), st.randoms(use_true_random=False))
def test_a_pause_doubles_up_to_the_longest_and_half_of_it_is_by_chance(attempt: int, chance: random.Random) -> None:
    longest = min(900.0, 5.0 * 2 ** min(attempt - 1, 60))
    assert longest / 2 <= pause_s(attempt, 5.0, 900.0, chance) <= longest
