"""What a process may use, and what is refused since a machine can never hold it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch

from melanoma_ray.cluster import resources
from melanoma_ray.cluster.resources import assigned_device, build_scaling, build_trial_scaling, check_room, usable_cpus
from melanoma_ray.errors import ConfigError


@pytest.fixture
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(resources, "usable_cpus", lambda: 4)
    monkeypatch.setattr(resources, "machine_gpus", lambda: 0)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cpu_cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(("limit", "cpus"), [("150000 100000\n", 2), ("50000 100000\n", 1), ("100000 100000", 1)])
def test_a_container_s_share_of_time_counts_as_its_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert usable_cpus(write(tmp_path / "2", cpu_max=limit)) == cpus
    quota, period = limit.split()
    assert usable_cpus(write(tmp_path / "1", cpu__cpu_cfs_quota_us=quota, cpu__cpu_cfs_period_us=period)) == cpus


def test_without_a_limit_a_process_may_use_what_it_may_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert usable_cpus(tmp_path) == 3
    assert usable_cpus(write(tmp_path / "2", cpu_max="max 100000\n")) == 3
    assert usable_cpus(write(tmp_path / "1", cpu__cpu_cfs_quota_us="-1", cpu__cpu_cfs_period_us="100000")) == 3
    assert usable_cpus(write(tmp_path / "odd", cpu_max="")) == 3


@pytest.mark.usefixtures("one_machine")
def test_a_gpu_that_isn_t_there_is_refused_on_one_machine_and_waited_for_on_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for num_workers in (0, 1):
        with pytest.raises(
            ConfigError, match=r"--use-gpu.*: asks for 1 GPU, and this machine has 0 GPUs; ask for less"
        ):
            build_trial_scaling(num_workers, gpus_per_worker=1.0, cpus_per_worker=None)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert build_scaling(1, use_gpu=True, cpus_per_worker=None).use_gpu


@pytest.mark.usefixtures("one_machine")
def test_workers_and_replicas_that_a_machine_can_t_hold_are_refused_before_ray_starts() -> None:
    with pytest.raises(ConfigError, match=r"2 workers of 2 CPUs leave nothing of this machine's 4 CPUs"):
        build_scaling(2, use_gpu=False, cpus_per_worker=2.0)
    with pytest.raises(ConfigError, match="--num-replicas 9: asks for 9 CPUs, and this machine has 4 CPUs"):
        check_room(cpus=9, flags="--num-replicas 9")


@pytest.fixture
def gpus_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of four GPUs, all of which torch sees."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def in_ray(monkeypatch: pytest.MonkeyPatch, *, mode: int, gpus: list[int]) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(worker=SimpleNamespace(mode=mode)))
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: gpus)


@pytest.mark.usefixtures("gpus_in_sight")
def test_the_device_is_the_one_that_ray_assigned_and_never_what_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    in_ray(monkeypatch, mode=ray.WORKER_MODE, gpus=[])
    assert assigned_device() == "cpu"
    in_ray(monkeypatch, mode=ray.WORKER_MODE, gpus=[2])
    assert assigned_device() == "cuda:2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert assigned_device() == "cuda:0"
    in_ray(monkeypatch, mode=ray.SCRIPT_MODE, gpus=[])
    assert assigned_device() == "cpu"


@pytest.mark.usefixtures("gpus_in_sight")
def test_a_script_of_its_own_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert assigned_device() == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert assigned_device() == "cpu"
