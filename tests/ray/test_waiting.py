"""Where Ray has no room, a job says so once, in one line, and gives up when its patience ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from melanoma_ray.cluster import waiting
from melanoma_ray.cluster.waiting import Request, set_patience, wait_for
from melanoma_ray.errors import ResourceError


@ray.remote(num_cpus=2)
class Holder:
    def answer(self) -> int:
        return 1


@ray.remote(num_cpus=2)
def take_two() -> str:
    return "done"


ASKED = Request(what="scoring", resources={"CPU": 2.0}, advice="fewer --things ask for less")


@pytest.fixture
def held(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ray.actor.ActorHandle]:
    """Both CPUs of the tests' Ray are held by an actor; this process is in a hurry."""
    monkeypatch.setattr(waiting, "_LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(waiting, "_TELL_AFTER_S", 1.0)
    monkeypatch.setattr(waiting, "_alive", lambda: [one for one in _ALIVE() if one.class_name == "Holder"])
    holder = Holder.remote()  # type: ignore[attr-defined]
    ray.get(holder.answer.remote())
    yield holder
    ray.kill(holder)
    set_patience(None)


_ALIVE = waiting._alive


@pytest.fixture
def of_another_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder is taken for another job's: what holds the room of its own job is at work for it."""
    monkeypatch.setattr(waiting, "_job_id", lambda: "")


@pytest.mark.usefixtures("of_another_job")
def test_what_waits_says_once_what_it_asks_what_there_is_and_who_holds_it(
    held: ray.actor.ActorHandle, caplog: pytest.LogCaptureFixture
) -> None:
    def free_later() -> str:
        waits = take_two.remote()
        time.sleep(4)
        ray.kill(held)
        return str(ray.get(waits))

    with caplog.at_level(logging.WARNING):
        assert wait_for(free_later, ASKED) == "done"
    (line,) = [message for message in caplog.messages if message.startswith("waiting: ")]
    assert "scoring asks for 1 × 2 CPUs; there are 2 CPUs and 0 GPUs, free 0 CPUs and 0 GPUs" in line
    assert "held by 1 × Holder of job " in line
    assert "it waits until there is room; fewer --things ask for less" in line


@pytest.mark.usefixtures("of_another_job")
def test_patience_ends(held: ray.actor.ActorHandle) -> None:
    set_patience(3 / 60)
    waits = take_two.remote()
    with pytest.raises(ResourceError, match=r"no room within 0\.05 minutes \(--wait-minutes\): scoring asks for"):
        wait_for(lambda: ray.get(waits), ASKED)
    ray.cancel(waits)


def test_what_is_at_work_already_waits_for_nothing(
    held: ray.actor.ActorHandle, caplog: pytest.LogCaptureFixture
) -> None:
    """A pool that would like to grow has an actor at work: nothing is told, and no patience ends."""
    set_patience(2 / 60)
    waits = take_two.remote()
    with caplog.at_level(logging.WARNING):
        wait_for(lambda: time.sleep(4), ASKED)
    assert not [message for message in caplog.messages if message.startswith("waiting: ")]
    ray.cancel(waits)


def test_an_error_of_the_call_is_raised_where_it_was_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: 1 / 0, ASKED)


def test_an_actor_in_a_placement_group_holds_what_it_takes_there(local_ray: None) -> None:
    """As the workers of Ray Train and the trials of Ray Tune do."""
    group = ray.util.placement_group([{"CPU": 2.0}])
    strategy = PlacementGroupSchedulingStrategy(placement_group=group)
    holder = Holder.options(scheduling_strategy=strategy).remote()  # type: ignore[attr-defined]
    assert ray.get(holder.answer.remote()) == 1
    assert [waiting._taken(actor)["CPU"] for actor in waiting._alive() if actor.class_name == "Holder"] == [2.0]
    ray.kill(holder)
    ray.util.remove_placement_group(group)
