"""When a message may leave: quiet hours. Pure functions of the time."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo


def parse_time(text: str) -> time | None:
    """Return a time of day; none: the text isn't one.

    >>> parse_time("07:30"), parse_time("25:00")
    (datetime.time(7, 30), None)
    """
    try:
        return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - a time of day has no zone
    except ValueError:
        return None


def is_quiet(now: float, quiet_from: str | None, quiet_until: str | None, time_zone: str) -> bool:
    """Return whether a moment is in the quiet hours, which may go over midnight; their end doesn't belong to them.

    Args:
        now: The moment, seconds since 1970.
        quiet_from: Start of the quiet hours, such as 22:00; none: there are none.
        quiet_until: Their end.
        time_zone: Time zone of both.

    >>> [is_quiet(hour * 3600.0, "22:00", "07:00", "UTC") for hour in (21, 22, 23, 24, 30, 31)]
    [False, True, True, True, True, False]
    """
    start, end = parse_time(quiet_from or ""), parse_time(quiet_until or "")
    if start is None or end is None:
        return False
    clock = datetime.fromtimestamp(now, ZoneInfo(time_zone)).time()
    return start <= clock < end if start < end else clock >= start or clock < end
