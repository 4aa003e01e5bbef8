"""How many trials run at a time follows the machine, or the cluster as it is when the next trial is due."""

from __future__ import annotations

import pytest
from ray.train import ScalingConfig
from ray.tune.search import Searcher

from melanoma_ray.cluster.resources import LOADING_CPUS
from melanoma_ray.tuning import concurrency
from melanoma_ray.tuning.concurrency import RoomLimiter, num_at_a_time, num_that_fit, takes_of_trial

ALONE = {"CPU": 1.0}


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """CPUs and GPUs of a cluster, which a test may change."""
    there = {"CPU": 1.0, "GPU": 0.0}
    monkeypatch.setattr(concurrency, "total_cpus", lambda: there["CPU"])
    monkeypatch.setattr(concurrency, "total_gpus", lambda: there["GPU"])
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    return there


class AnySettings(Searcher):
    def suggest(self, trial_id: str) -> dict[str, object]:
        return {"trial": trial_id}


def test_a_sweep_grows_with_its_cluster(size: dict[str, float]) -> None:
    limiter = RoomLimiter(AnySettings("figure", "max"), ALONE)
    proposed = [limiter.suggest(str(number)) for number in range(20)]
    assert sum(one is not None for one in proposed) == 2  # one waits for the first node
    size["CPU"] = 8.0
    proposed = [limiter.suggest(str(number)) for number in range(20, 40)]
    assert sum(one is not None for one in proposed) == 4  # six in all: five fit, and one more


@pytest.mark.parametrize(("cpus", "number"), [(1.0, 2), (2.0, 1), (3.0, 2), (4.0, 3), (8.0, 6), (16.0, 11)])
def test_one_more_trial_never_takes_the_cpus_that_load_images(size: dict[str, float], cpus: float, number: int) -> None:
    size["CPU"] = cpus
    assert num_at_a_time(ALONE) == number
    assert not cpus - LOADING_CPUS < number <= cpus or number == num_that_fit(ALONE)


def test_gpus_are_counted_too(size: dict[str, float]) -> None:
    size |= {"CPU": 64.0, "GPU": 4.0}
    assert num_that_fit(takes_of_trial(ScalingConfig(num_workers=0, use_gpu=True))) == 4
    two = ScalingConfig(num_workers=2, use_gpu=True, resources_per_worker={"CPU": 4.0, "GPU": 1.0})
    assert num_that_fit(takes_of_trial(two)) == 2
    assert num_that_fit(takes_of_trial(None)) == 40


def test_one_machine_doesn_t_grow(size: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS")
    size["CPU"] = 8.0
    assert num_at_a_time(ALONE) == 5
