"""How much one caller may ask: requests a minute, and requests at a time, counted in one place for all replicas.

The rate is a token bucket: a request takes a token, tokens come back steadily, and at most a sixth of a minute's
worth is saved up. Places for requests at a time are lent to replicas, which renew them, so that those of a replica that
was killed come back. This module knows neither clocks nor processes: who asks says the time and who it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_SAVED_SHARE = 1 / 6
"""Share of a minute's requests that may come at once: what ten seconds give."""
_KEEP_PLACES_S = 5.0
"""Time after which places that weren't renewed are free again, seconds; replicas renew them every second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much a caller may ask; none: as much as there is room for."""

    requests_per_minute: float | None = None
    """Most requests a minute, on average; an image of a batch counts as one."""
    max_concurrent: int | None = None
    """Most requests that are being answered at a time."""

    def __bool__(self) -> bool:
        """Return whether there is any limit."""
        return self.requests_per_minute is not None or self.max_concurrent is not None

    def or_else(self, default: Limits) -> Limits:
        """Return these, with another's where one is none."""
        return Limits(
            requests_per_minute=default.requests_per_minute
            if self.requests_per_minute is None
            else self.requests_per_minute,
            max_concurrent=default.max_concurrent if self.max_concurrent is None else self.max_concurrent,
        )


UNLIMITED = Limits()


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a replica asks for, for one caller."""

    num_tokens: int = 0
    """Number of requests that it wants to let pass; what it got and didn't use, as a negative number."""
    num_places: int = 0
    """Number of places that it wants to have in all, those that it has included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What a replica got."""

    num_tokens: int
    """Number of further requests that it may let pass."""
    num_places: int
    """Number of places that it has in all."""
    retry_after_s: float
    """Time until there is a token, seconds; 0: there is one."""
    is_lent: bool
    """Whether another replica has places, of which it may give some back within a moment."""


@dataclass(kw_only=True, slots=True)
class _Account:
    """What is known of one caller."""

    num_tokens: float
    counted_at: float
    places: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Number of places of each replica, and the time at which it asked last."""


class Ledger:
    """The accounts of all callers."""

    def __init__(self) -> None:
        """Begin with full buckets and without places."""
        self._accounts: dict[str, _Account] = {}

    def ask(self, replica: str, caller: str, limits: Limits, wish: Wish, now: float) -> Grant:
        """Return what a replica gets for a caller, and write it down.

        Args:
            replica: Id of the replica.
            caller: Id of the caller.
            limits: The caller's limits as they are now.
            wish: What the replica asks for.
            now: Time, seconds, of a clock that doesn't go back.
        """
        most = _most_tokens(limits)
        account = self._accounts.setdefault(caller, _Account(num_tokens=most, counted_at=now))
        num_tokens, retry_after_s = _take_tokens(account, limits, wish.num_tokens, now)
        num_places, is_lent = _take_places(account, limits, replica, wish.num_places, now)
        if not account.places and account.num_tokens >= most:
            del self._accounts[caller]  # as if it had never asked: callers that are gone take no memory
        return Grant(num_tokens=num_tokens, num_places=num_places, retry_after_s=retry_after_s, is_lent=is_lent)

    def __len__(self) -> int:
        """Return the number of callers that are remembered."""
        return len(self._accounts)


def _most_tokens(limits: Limits) -> float:
    rate = limits.requests_per_minute
    return math.inf if rate is None else max(1.0, rate * _SAVED_SHARE)


def _take_tokens(account: _Account, limits: Limits, wanted: int, now: float) -> tuple[int, float]:
    """Return how many of the wanted tokens there are, and the time until the next, seconds."""
    if limits.requests_per_minute is None:
        return wanted, 0.0
    per_s, most = limits.requests_per_minute / 60, _most_tokens(limits)
    there = min(most, account.num_tokens + per_s * max(0.0, now - account.counted_at))
    taken = min(wanted, math.floor(there + 1e-9))
    account.num_tokens, account.counted_at = min(most, there - taken), now
    return taken, max(0.0, 1 - account.num_tokens) / per_s


def _take_places(account: _Account, limits: Limits, replica: str, wanted: int, now: float) -> tuple[int, bool]:
    """Return how many places a replica has from now on, and whether others have some."""
    if limits.max_concurrent is None:
        return wanted, False
    others = {
        name: (number, seen_at)
        for name, (number, seen_at) in account.places.items()
        if name != replica and now - seen_at < _KEEP_PLACES_S
    }
    free = limits.max_concurrent - sum(number for number, _ in others.values())
    number = max(0, min(wanted, free))
    account.places = others | ({replica: (number, now)} if number else {})
    return number, bool(others)
