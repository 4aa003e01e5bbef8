"""What a machine has, and how workers share it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from melanoma_ray.cluster import resources
from melanoma_ray.cluster.resources import build_scaling, check_temporary_folder, is_local, usable_cpus
from melanoma_ray.errors import ConfigError, ResourceError


@pytest.fixture
def affinity() -> Iterator[set[int]]:
    """The CPUs that this process may run on, as they are again after the test."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity of processes")
    allowed = os.sched_getaffinity(0)
    yield allowed
    os.sched_setaffinity(0, allowed)


def test_only_cpus_that_the_process_may_run_on_are_usable(affinity: set[int]) -> None:
    assert usable_cpus() == len(affinity)
    os.sched_setaffinity(0, {min(affinity)})
    assert usable_cpus() == 1


def test_without_affinity_all_cpus_are_usable_and_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cpus() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


@pytest.fixture
def machine_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(resources, "total_cpus", lambda: 4.0)
    monkeypatch.setattr(resources, "total_gpus", lambda: 1.0)


@pytest.mark.usefixtures("machine_of_four")
def test_on_one_machine_workers_share_half_of_the_cpus() -> None:
    assert is_local()
    assert build_scaling(2, use_gpu=False, cpus_per_worker=None).resources_per_worker == {"CPU": 1.0}
    assert build_scaling(1, use_gpu=True, cpus_per_worker=3.0).resources_per_worker == {"CPU": 3.0, "GPU": 1.0}


@pytest.mark.usefixtures("machine_of_four")
def test_workers_that_leave_no_cpu_to_load_images_are_refused_with_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"2 workers of 2 CPUs leave nothing of this machine's 4 CPUs") as caught:
        build_scaling(2, use_gpu=False, cpus_per_worker=2.0)
    most = float(str(caught.value).rsplit("--cpus-per-worker ", 1)[1].split()[0])
    build_scaling(2, use_gpu=False, cpus_per_worker=most)


def test_a_cluster_may_grow_so_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert build_scaling(100, use_gpu=False, cpus_per_worker=None).resources_per_worker == {"CPU": 4.0}


def test_no_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_workers=0: expected 1 or more"):
        build_scaling(0, use_gpu=False, cpus_per_worker=None)


def test_a_full_folder_for_logs_is_told_before_ray_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    check_temporary_folder()
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match=r"1\.0 MiB are free; Ray needs 64 MiB or more for its logs: free some, or"):
        check_temporary_folder()
