"""When a request is sent again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.errors import ConfigError
from melanoma_ray.retries import NO_RETRIES, Retries, read_retry_after

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_the_longest_and_chance_takes_off_at_most_half(num_tries: int, chance: float) -> None:
    retries = Retries(max_tries=10_001, first_wait_s=0.5, longest_wait_s=8)
    full = min(0.5 * 2 ** min(num_tries - 1, 60), 8)
    wait_s = retries.wait_s(num_tries, None, chance)
    assert wait_s is not None
    assert full / 2 <= wait_s <= full


@given(st.integers(1, 5), st.floats(0, 30), st.floats(0, 1, exclude_max=True))
def test_what_the_service_asks_for_is_never_undercut(num_tries: int, asked: float, chance: float) -> None:
    wait_s = Retries().wait_s(num_tries, asked, chance)
    assert wait_s is not None
    assert wait_s >= asked


def test_the_last_try_and_too_long_a_wait_end_it() -> None:
    assert Retries(max_tries=2).wait_s(2, None, 0.0) is None
    assert Retries(longest_wait_s=5).wait_s(1, 5.1, 0.0) is None
    assert NO_RETRIES.wait_s(1, None, 0.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Thu, 26 Nov 2026 12:00:30 GMT", 30.0),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tries": 0}, "max_tries=0: expected 1 or more"),
        ({"first_wait_s": -1.0}, "first_wait_s=-1.0: expected 0 to longest_wait_s=30.0"),
        ({"first_wait_s": 31.0}, "first_wait_s=31.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Retries(**settings)  # type: ignore[arg-type]
