"""The ledger: no more than the limit, whoever asks and however they share it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.access.limits import Ledger, Limits, Wish

SIX_A_MINUTE = Limits(requests_per_minute=6)
TWO_AT_A_TIME = Limits(max_concurrent=2)


def test_a_minute_s_sixth_may_come_at_once_and_then_one_at_a_time() -> None:
    ledger, limits = Ledger(), Limits(requests_per_minute=60)
    assert ledger.ask("a", "ward", limits, Wish(num_tokens=100), 0.0).num_tokens == 10
    refused = ledger.ask("a", "ward", limits, Wish(num_tokens=1), 0.25)
    assert refused.num_tokens == 0
    assert refused.retry_after_s == pytest.approx(0.75)
    assert ledger.ask("a", "ward", limits, Wish(num_tokens=1), 1.0).num_tokens == 1


def test_tokens_that_weren_t_used_come_back() -> None:
    ledger = Ledger()
    assert ledger.ask("a", "ward", SIX_A_MINUTE, Wish(num_tokens=1), 0.0).num_tokens == 1
    assert ledger.ask("b", "ward", SIX_A_MINUTE, Wish(num_tokens=1), 0.0).num_tokens == 0
    ledger.ask("a", "ward", SIX_A_MINUTE, Wish(num_tokens=-1), 0.0)
    assert ledger.ask("b", "ward", SIX_A_MINUTE, Wish(num_tokens=1), 0.0).num_tokens == 1


def test_places_are_those_of_all_replicas_together() -> None:
    ledger = Ledger()
    assert ledger.ask("a", "ward", TWO_AT_A_TIME, Wish(num_places=1), 0.0).num_places == 1
    assert ledger.ask("b", "ward", TWO_AT_A_TIME, Wish(num_places=5), 0.0).num_places == 1
    refused = ledger.ask("c", "ward", TWO_AT_A_TIME, Wish(num_places=1), 0.0)
    assert (refused.num_places, refused.is_lent) == (0, True)
    ledger.ask("a", "ward", TWO_AT_A_TIME, Wish(num_places=0), 0.0)
    assert ledger.ask("c", "ward", TWO_AT_A_TIME, Wish(num_places=1), 0.0).num_places == 1
    assert ledger.ask("a", "other", TWO_AT_A_TIME, Wish(num_places=2), 0.0).num_places == 2


def test_the_places_of_a_replica_that_is_gone_come_back_within_seconds() -> None:
    ledger = Ledger()
    ledger.ask("killed", "ward", TWO_AT_A_TIME, Wish(num_places=2), 0.0)
    assert ledger.ask("b", "ward", TWO_AT_A_TIME, Wish(num_places=1), 4.9).num_places == 0
    assert ledger.ask("b", "ward", TWO_AT_A_TIME, Wish(num_places=1), 5.1).num_places == 1


def test_who_has_come_to_rest_is_forgotten() -> None:
    ledger = Ledger()
    ledger.ask("a", "ward", TWO_AT_A_TIME, Wish(num_places=1), 0.0)
    assert len(ledger) == 1
    ledger.ask("a", "ward", TWO_AT_A_TIME, Wish(num_places=0), 1.0)
    assert len(ledger) == 0


def test_a_limit_of_a_caller_s_own_counts_before_the_service_s() -> None:
    default = Limits(requests_per_minute=10, max_concurrent=3)
    assert Limits(max_concurrent=8).or_else(default) == Limits(requests_per_minute=10, max_concurrent=8)
    assert not Limits()


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-3, 30), st.integers(0, 6), st.floats(0, 3)), max_size=60
)


@given(steps=STEPS, rate=st.floats(1, 600), most=st.integers(1, 4))
def test_whatever_replicas_wish_for_nobody_gets_more_than_the_limits(
    steps: list[tuple[str, int, int, float]], rate: float, most: int
) -> None:
    ledger, limits, now = Ledger(), Limits(requests_per_minute=rate, max_concurrent=most), 0.0
    passed, held, places, seen = 0, dict.fromkeys("abc", 0), dict.fromkeys("abc", 0), dict.fromkeys("abc", 0.0)
    for replica, wanted, wished, pause_s in steps:
        now += pause_s
        wish = max(wanted, -held[replica])  # nobody gives back what it hasn't got
        grant = ledger.ask(replica, "ward", limits, Wish(num_tokens=wish, num_places=wished), now)
        held[replica] += grant.num_tokens
        passed += grant.num_tokens
        places[replica], seen[replica] = grant.num_places, now
        assert passed <= max(1.0, rate / 6) + rate / 60 * now + 1e-6
        assert sum(number for name, number in places.items() if now - seen[name] < 5) <= most
