"""A replica's share of a caller's limits: two limiters in one loop, over one ledger, as two replicas have it."""

from __future__ import annotations

import asyncio
import time

import pytest
from ray.exceptions import ActorUnavailableError

from melanoma_ray.access.callers import Caller
from melanoma_ray.access.limits import Grant, Ledger, Limits, Wish
from melanoma_ray.serving.limiting import Ask, Limiter
from melanoma_ray.serving.problems import ProblemError

NO_LIMITS = Limits()


class Office:
    """A ledger that both replicas ask, and how often they did."""

    def __init__(self) -> None:
        self.ledger, self.num_asked = Ledger(), 0

    def ask_as(self, replica: str) -> Ask:
        async def ask(caller: str, limits: Limits, wish: Wish) -> Grant:
            self.num_asked += 1
            await asyncio.sleep(0.001)
            return self.ledger.ask(replica, caller, limits, wish, time.monotonic())

        return ask

    def limiter(self, replica: str, default: Limits = NO_LIMITS) -> Limiter:
        return Limiter(self.ask_as(replica), default)


def caller(name: str = "ward", **limits: float) -> Caller:
    return Caller(caller_id=name, scopes=("predict",), limits=Limits(**limits))  # type: ignore[arg-type]


async def passes(limiter: Limiter, who: Caller, for_s: float = 0.0) -> bool:
    return await refusal(limiter, who, for_s) is None


async def refusal(limiter: Limiter, who: Caller, for_s: float = 0.0) -> ProblemError | None:
    try:
        async with limiter.admit(who):
            await asyncio.sleep(for_s)
    except ProblemError as refused:
        return refused
    return None


def test_two_replicas_let_no_more_pass_than_one_limit_allows() -> None:
    async def go() -> int:
        office = Office()
        replicas = [office.limiter("a"), office.limiter("b")]
        who = caller(requests_per_minute=120)  # twenty at once, then two a second
        return sum([await passes(replicas[i % 2], who) for i in range(60)])

    assert asyncio.run(go()) in {20, 21}


def test_at_a_time_there_are_no_more_than_allowed_on_both_replicas() -> None:
    async def go() -> list[bool]:
        office = Office()
        replicas = [office.limiter("a"), office.limiter("b")]
        who = caller(max_concurrent=3)
        return await asyncio.gather(*(passes(replicas[i % 2], who, for_s=3.0) for i in range(10)))

    assert sum(asyncio.run(go())) == 3


def test_who_is_far_from_both_limits_is_never_refused_however_requests_and_batches_overlap() -> None:
    async def go() -> list[bool]:
        limiter, who = Office().limiter("a"), caller(requests_per_minute=10**7, max_concurrent=10**4)

        async def ask(number: int) -> bool:
            await asyncio.sleep(number * 0.0007)
            async with limiter.admit(who):
                await asyncio.sleep(0.001 * (number % 7))
                limiter.charge(who, number % 5)
            return True

        return [one is True for one in await asyncio.gather(*map(ask, range(1500)), return_exceptions=True)]

    assert all(asyncio.run(go()))


def test_what_one_replica_doesn_t_use_any_more_another_gets_within_a_moment() -> None:
    async def go() -> list[bool]:
        office = Office()
        one, other, who = office.limiter("a"), office.limiter("b"), caller(max_concurrent=2)
        await asyncio.gather(passes(one, who), passes(one, who))  # the first replica still has both places
        return await asyncio.gather(*(passes(other, who, for_s=0.1) for _ in range(2)))

    assert asyncio.run(go()) == [True, True]


def test_a_busy_caller_costs_few_questions() -> None:
    async def go() -> tuple[int, int]:
        office = Office()
        limiter, who = office.limiter("a"), caller(requests_per_minute=60_000, max_concurrent=10)
        for _ in range(800):
            assert await passes(limiter, who, for_s=0.001)
        return office.num_asked, 800

    num_asked, num_requests = asyncio.run(go())
    assert num_asked < num_requests / 10


def test_the_images_of_a_batch_are_paid_for_by_the_requests_after_it() -> None:
    async def go() -> ProblemError | None:
        office = Office()
        limiter, who = office.limiter("a"), caller(requests_per_minute=60)  # ten at once
        async with limiter.admit(who):
            limiter.charge(who, 14)
        return await refusal(limiter, who)

    refused = asyncio.run(go())
    assert refused is not None
    assert refused.slug == "too-many-requests"
    assert refused.retry_after_s is not None
    assert 5 < refused.retry_after_s <= 7  # fifteen images, ten paid: the sixth second has one for the next request


def test_who_is_done_is_forgotten_here_and_there() -> None:
    async def go() -> tuple[int, int]:
        office = Office()
        limiter = office.limiter("a")
        assert await passes(limiter, caller(max_concurrent=2, requests_per_minute=6000))
        await asyncio.sleep(1.2)
        return len(limiter._shares), len(office.ledger)

    assert asyncio.run(go()) == (0, 0)


def test_a_caller_without_limits_asks_nobody_and_the_service_s_own_limit_holds_for_who_has_none() -> None:
    async def go() -> tuple[int, list[bool]]:
        office = Office()
        free, limited = office.limiter("a"), office.limiter("b", Limits(max_concurrent=1))
        assert await passes(free, caller())
        asked = office.num_asked
        return asked, await asyncio.gather(*(passes(limited, caller(), for_s=0.3) for _ in range(2)))

    num_asked, passed = asyncio.run(go())
    assert num_asked == 0
    assert sorted(passed) == [False, True]


def test_without_the_ledger_answers_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(name: str, limits: Limits, wish: Wish) -> Grant:
        raise ActorUnavailableError("gone", None)

    async def go() -> bool:
        return await passes(Limiter(ask, NO_LIMITS), caller(max_concurrent=1, requests_per_minute=60))

    assert asyncio.run(go())
    assert "requests pass uncounted" in caplog.text


def test_a_place_is_given_back_when_a_request_fails() -> None:
    async def go() -> int:
        limiter, who, num_failed = Office().limiter("a"), caller(max_concurrent=1), 0
        for _ in range(3):
            try:
                async with limiter.admit(who):
                    int("a fault")
            except ValueError:
                num_failed += 1
        return num_failed

    assert asyncio.run(go()) == 3
