"""A replica's share of each caller's limits: most requests pass by what it already has, without asking anybody.

The ledger (``access/limits.py``) is with one actor for all replicas. A call to it costs more than the check of a key,
so a replica that many requests of one caller reach gets tokens for a quarter of a second ahead, and gives back what it
didn't use. Neither limit is ever exceeded by that; a caller who is at its limit at one replica waits a moment, at most,
for what another one has to spare.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from melanoma_ray.access.callers import Caller
from melanoma_ray.access.limits import Grant, Ledger, Limits, Wish
from melanoma_ray.serving.problems import ProblemError

logger = logging.getLogger(__name__)

NAMESPACE = "melanoma-ray-limits"
_NAME = "ledger"
_SETTLE_S = 0.25
"""Time after which a replica gives back what it doesn't use, seconds."""
_RENEW_S = 1.0
"""Time after which it renews the places that it uses, seconds."""
_ANSWER_S = 10.0
"""Longest time to wait for the actor, seconds: enough for it to start."""
_PLENTY = 1 << 30
"""Number of tokens and places where there is no limit."""

Ask = Callable[[str, Limits, Wish], Awaitable[Grant]]
"""Asks the ledger, for a caller with its limits."""


class LedgerActor:
    """Has the ledger, for all replicas of a cluster."""

    def __init__(self) -> None:
        """Begin with nothing asked; after a restart, too."""
        self._ledger = Ledger()

    def ask(self, replica: str, caller: str, limits: Limits, wish: Wish) -> Grant:
        """Return what a replica gets for a caller."""
        return self._ledger.ask(replica, caller, limits, wish, time.monotonic())


def ask_actor(replica: str) -> Ask:
    """Return the function by which a replica asks the cluster's one actor, which it starts if it isn't there.

    Args:
        replica: Id of the replica.
    """
    options = {"name": _NAME, "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}

    @functools.cache  # with the first caller that has a limit: where nobody has one, there is no process for it
    def find() -> Any:  # noqa: ANN401 - Ray's handles have no type
        return ray.remote(LedgerActor).options(**options, max_restarts=-1, num_cpus=0).remote()

    async def ask(caller: str, limits: Limits, wish: Wish) -> Grant:
        found: Grant = await asyncio.wait_for(find().ask.remote(replica, caller, limits, wish), _ANSWER_S)
        return found

    return ask


@dataclass(kw_only=True, slots=True)
class _Share:
    """What a replica has of one caller's limits."""

    limits: Limits
    num_tokens: int = 0
    """Requests that may pass; negative: images of batches that are still to be paid for."""
    num_places: int = 0
    num_running: int = 0
    num_asking: int = 0
    """Requests that wait for the ledger."""
    num_passed: int = 0
    """Requests that passed since it was settled last."""
    most_running: int = 0
    """Most requests at a time since then."""
    asked_at: float = 0.0
    full_at: float = -math.inf
    """Time at which all places of all replicas were found to be taken."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_enough(self) -> bool:
        return self.num_tokens > 0 and self.num_running < self.num_places

    @property
    def is_rated(self) -> bool:
        return self.limits.requests_per_minute is not None

    @property
    def num_unneeded(self) -> int:
        """Tokens to give back, or if negative to be paid."""
        return self.num_tokens if self.is_rated and (self.num_tokens < 0 or not self.num_passed) else 0

    @property
    def is_over(self) -> bool:
        """Whether nobody uses it and nothing is held or owed."""
        is_used = self.num_running or self.num_asking or self.num_passed
        return not is_used and not (self.is_rated and self.num_tokens)


class Limiter:
    """Lets requests pass, or refuses them with 429."""

    def __init__(self, ask: Ask, default: Limits) -> None:
        """Begin with nothing.

        Args:
            ask: Asks the ledger.
            default: Limits of callers that have none of their own.
        """
        self._ask, self._default = ask, default
        self._shares: dict[str, _Share] = {}
        self._settling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def admit(self, caller: Caller) -> AsyncIterator[None]:
        """Have a request of a caller counted while the block runs.

        Raises:
            ProblemError: The caller is at one of its limits.
        """
        limits = caller.limits.or_else(self._default)
        if not limits:
            yield
            return
        share = self._share(caller.caller_id, limits)
        if not share.is_enough:
            share.num_asking += 1
            try:
                await self._fill(caller.caller_id, share)
            finally:
                share.num_asking -= 1
        share.num_tokens -= 1
        share.num_passed += 1
        share.num_running += 1
        share.most_running = max(share.most_running, share.num_running)
        try:
            yield
        finally:
            share.num_running -= 1

    def charge(self, caller: Caller, num_more: int) -> None:
        """Count more images of a request that was admitted; what isn't there now is paid by the requests after it."""
        share = self._shares.get(caller.caller_id)
        if share is not None and share.is_rated:
            share.num_tokens -= num_more
            share.num_passed += num_more

    def _share(self, caller: str, limits: Limits) -> _Share:
        share = self._shares.get(caller)
        if share is None:
            share = self._shares[caller] = _Share(limits=limits)
            task = asyncio.get_running_loop().create_task(self._settle(caller, share))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        share.limits = limits
        return share

    async def _fill(self, caller: str, share: _Share) -> None:
        """Get a token and a place, or refuse."""
        async with share.lock:  # who waits here finds what the first one got
            for is_last in (False, True):
                if share.is_enough:
                    return
                grant = await self._get(caller, share)
                if share.is_enough:
                    return
                if share.num_tokens <= 0:
                    raise _too_often(share, grant)
                was_full = time.monotonic() - share.full_at < 4 * _SETTLE_S  # then those before have waited in vain
                if is_last or was_full or not grant.is_lent:
                    break
                await asyncio.sleep(2 * _SETTLE_S)
            share.full_at = time.monotonic()
        msg = f"at most {share.limits.max_concurrent} requests at a time of one caller"
        raise ProblemError("too-many-requests", msg, retry_after_s=1.0)

    async def _get(self, caller: str, share: _Share) -> Grant:
        """Ask the ledger, and again if it has more: others pass while it answers, and may have taken the last token."""
        while True:
            grant = await self._exchange(caller, share, at_least=1)
            if share.num_tokens > 0 or grant.retry_after_s > 0:
                return grant

    async def _exchange(self, caller: str, share: _Share, *, at_least: int) -> Grant:
        """Ask for what the share lacks, and a quarter of a second ahead."""
        ahead = max(at_least, share.num_passed)
        missing = ahead - share.num_tokens if share.num_tokens < at_least else 0
        return await self._send(
            caller,
            share,
            Wish(num_tokens=missing, num_places=max(share.num_running + at_least, share.most_running)),
        )

    async def _send(self, caller: str, share: _Share, wish: Wish) -> Grant:
        """Ask the ledger; if it can't be reached, all that is wished for is there, so that answers go on."""
        share.num_tokens += min(0, wish.num_tokens)  # what is given back must let nobody pass meanwhile
        share.num_places = min(share.num_places, wish.num_places)
        try:
            grant = await self._ask(caller, share.limits, wish)
        except (TimeoutError, RayError):
            logger.exception("limits: the ledger doesn't answer, so requests pass uncounted")
            grant = Grant(num_tokens=wish.num_tokens, num_places=wish.num_places, retry_after_s=0, is_lent=False)
        share.num_tokens += max(0, grant.num_tokens)
        if not share.is_rated:
            share.num_tokens = _PLENTY
        share.num_places = _PLENTY if share.limits.max_concurrent is None else grant.num_places
        share.asked_at = time.monotonic()
        return grant

    async def _settle(self, caller: str, share: _Share) -> None:
        """Give back what isn't used and renew what is, until there is nothing left; then forget the caller."""
        while True:
            await asyncio.sleep(_SETTLE_S)
            async with share.lock:
                unused = share.limits.max_concurrent is not None and share.num_places > share.most_running
                is_old = time.monotonic() - share.asked_at >= _RENEW_S
                if share.num_unneeded or unused or is_old:
                    wish = Wish(num_tokens=-share.num_unneeded, num_places=share.most_running)
                    await self._send(caller, share, wish)
                if share.is_over:
                    del self._shares[caller]
                    return
                share.num_passed, share.most_running = 0, share.num_running


def _too_often(share: _Share, grant: Grant) -> ProblemError:
    per_minute = share.limits.requests_per_minute or math.inf
    msg = f"at most {per_minute:g} requests a minute of one caller"
    return ProblemError(
        "too-many-requests", msg, retry_after_s=grant.retry_after_s - 60 * share.num_tokens / per_minute
    )
