"""How often and when a request is sent again that a service was too busy for, or whose connection was lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from melanoma_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How often a request is sent again, and how long it waits before each try.

    The waits double and are shortened by chance, so that callers that were refused together don't return together
    (Brooker 2015, "Exponential Backoff And Jitter"). A Retry-After of the service is never undercut.
    """

    max_tries: int = 6
    """Times that a request is sent at most, the first included, 1 or more; 1: it is never sent again."""
    first_wait_s: float = 0.25
    """Longest wait before the second try, seconds, 0 or more; each later one is twice the one before."""
    longest_wait_s: float = 30.0
    """Longest single wait, seconds; a service that asks for more is given up at once."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.max_tries < 1:
            msg = f"max_tries={self.max_tries}: expected 1 or more"
            raise ConfigError(msg)
        if not 0 <= self.first_wait_s <= self.longest_wait_s:
            msg = f"first_wait_s={self.first_wait_s}: expected 0 to longest_wait_s={self.longest_wait_s}"
            raise ConfigError(msg)

    def wait_s(self, num_tries: int, retry_after_s: float | None, chance: float) -> float | None:
        """Return how long to wait before the next try, seconds; none: the request is given up.

        Args:
            num_tries: Times that the request was sent, 1 or more.
            retry_after_s: What the service asked for, seconds; none: nothing.
            chance: Uniform random number in [0, 1).

        >>> Retries(first_wait_s=1).wait_s(3, None, 0.5), Retries().wait_s(1, 2.0, 0.5), Retries().wait_s(1, 99.0, 0.5)
        (3.0, 2.125, None)
        """
        if num_tries >= self.max_tries or (retry_after_s or 0) > self.longest_wait_s:
            return None
        if retry_after_s is None:
            return pause_s(num_tries, self.first_wait_s, self.longest_wait_s, chance)
        return retry_after_s + longest_pause_s(num_tries, self.first_wait_s, self.longest_wait_s) * chance


DEFAULT_RETRIES = Retries()
NO_RETRIES = Retries(max_tries=1)


def longest_pause_s(num_tries: int, first_s: float, longest_s: float) -> float:
    """Return the longest pause before the next try, seconds: it doubles from try to try.

    Args:
        num_tries: Tries so far, 1 or more.
        first_s: Longest pause after the first try, seconds.
        longest_s: Longest pause, seconds.
    """
    return min(longest_s, math.ldexp(first_s, min(num_tries - 1, 60)))


def pause_s(num_tries: int, first_s: float, longest_s: float, chance: float) -> float:
    """Return the pause before the next try, seconds: its upper half is by chance ("equal jitter").

    So many callers don't come back to a server at the same moment.

    Args:
        num_tries: Tries so far, 1 or more.
        first_s: Longest pause after the first try, seconds.
        longest_s: Longest pause, seconds.
        chance: Uniform random number in [0, 1).
    """
    return longest_pause_s(num_tries, first_s, longest_s) * (1 + chance) / 2


def read_retry_after(value: str, now: datetime) -> float | None:
    """Return how long a Retry-After header asks to wait, seconds; none: it says nothing that can be read.

    References:
        RFC 9110, 10.2.3: a number of seconds, or a date.

    >>> read_retry_after("7", datetime.min), read_retry_after("soon", datetime.min)
    (7.0, None)
    """
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):  # no date, or one without a time zone
        return None
