"""Quiet hours."""

from __future__ import annotations

import pytest

from melanoma_ray.alerts.schedule import is_quiet

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
