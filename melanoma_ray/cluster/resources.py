"""CPUs, GPUs and memory of the cluster and of this process, and how workers and actors share them."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import ray
from ray.train import ScalingConfig

from melanoma_ray.errors import ConfigError, ResourceError

LOADING_CPUS = 0.6
"""CPUs of two tasks that load and augment images, which training leaves free."""
_CLUSTER_CPUS_PER_WORKER = 4.0
"""CPUs of a worker on a cluster: half of a common node with one GPU; the other half loads and augments images."""
_LEAST_TEMPORARY_BYTES = 64 * 2**20
_CGROUP = Path("/sys/fs/cgroup")


def is_local() -> bool:
    """Return whether Ray is started on this machine by this process; otherwise RAY_ADDRESS names a cluster."""
    return "RAY_ADDRESS" not in os.environ


def total_cpus() -> float:
    """Return the number of logical CPUs of the cluster, free or not, 1 or more; before Ray runs, of this process."""
    if not ray.is_initialized():
        return float(usable_cpus())
    return max(1.0, float(ray.cluster_resources().get("CPU", 1.0)))


def total_gpus() -> float:
    """Return the number of GPUs of the cluster, free or not; before Ray runs, of this machine."""
    if not ray.is_initialized():
        return float(machine_gpus())
    return float(ray.cluster_resources().get("GPU", 0.0))


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """Return the number of logical CPUs that this process may use, of those that its machine has; 1 or more.

    It is limited by the CPUs that the process may run on, and by the CPU time that its container may use.

    Args:
        cgroup: Directory with the container's limits (cgroup version 1 or 2).
    """
    runnable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_cpus(cgroup)
    return max(1, runnable if quota is None else min(runnable, math.ceil(quota)))


def _quota_cpus(cgroup: Path) -> float | None:
    """Return the limit of a container's CPU time, in CPUs; none: there is no limit, or it can't be read."""
    try:
        if (limit := cgroup / "cpu.max").exists():
            quota, period = limit.read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if quota == "max" or float(quota) <= 0 else float(quota) / float(period)
    except (OSError, ValueError):
        return None


def machine_gpus() -> int:
    """Return the number of GPUs of this machine that torch can use."""
    import torch  # noqa: PLC0415 - tasks that load images need no torch, and it takes seconds

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def assigned_device() -> str:
    """Return torch's name of the device that this process should use.

    In a Ray task or actor it is the GPU that Ray has assigned, else the CPU: Ray 2.60 hides no GPU from a process
    without one, so torch would find GPUs of others. In a script without Ray it is a GPU if there is one.
    """
    if not ray.is_initialized():
        return "cuda" if machine_gpus() else "cpu"
    if ray.get_runtime_context().worker.mode != ray.WORKER_MODE:  # a driver has no assigned resources
        return "cpu"
    assigned = [str(one) for one in ray.get_gpu_ids()]
    return f"cuda:{_index_of(assigned[0])}" if assigned and machine_gpus() else "cpu"


def _index_of(gpu: str) -> int:
    """Return torch's number of a GPU: its position among the GPUs that are visible to the process."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if gpu in visible:
        return visible.index(gpu)
    return int(gpu) if gpu.isdigit() and int(gpu) < machine_gpus() else 0


def count_of(number: float, name: str) -> str:
    """Return a number of resources in words, such as ``4 CPUs``, ``1 GPU`` or ``0.6 CPUs``."""
    return f"{number:g} {name}{'' if number == 1 else 's'}"


def smallest_object_store_bytes() -> float:
    """Return the size of the smallest node's object store, bytes, since objects must fit on every node."""
    return min(float(node["Resources"].get("object_store_memory", 0.0)) for node in ray.nodes() if node["Alive"])


def check_room(*, cpus: float = 0.0, gpus: float = 0.0, flags: str) -> None:
    """Refuse more CPUs or GPUs than this machine has; on a cluster nothing is refused, because it may grow.

    Args:
        cpus: Number of CPUs requested in all.
        gpus: Number of GPUs requested in all.
        flags: Part of the command line that requests them, such as ``--num-replicas 9``.

    Raises:
        ConfigError: The machine has fewer.
    """
    if not is_local():
        return
    for asked, there, name in ((gpus, total_gpus(), "GPU"), (cpus, total_cpus(), "CPU")):
        if asked > there:
            msg = (
                f"{flags}: asks for {count_of(asked, name)}, and this machine has {count_of(there, name)}; "
                "ask for less, or name a cluster in RAY_ADDRESS"
            )
            raise ConfigError(msg)


def check_temporary_folder() -> None:
    """Refuse to start Ray where the folder of its logs and sockets is full: it would fail after a minute of waiting.

    Raises:
        ResourceError: There is no room.
    """
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # as Ray chooses it  # noqa: S108
    if Path(folder).is_dir() and (free := shutil.disk_usage(folder).free) < _LEAST_TEMPORARY_BYTES:
        msg = (
            f"{folder}: {free / 2**20:.1f} MiB are free; Ray needs {_LEAST_TEMPORARY_BYTES / 2**20:g} MiB or more for "
            "its logs: free some, or set TMPDIR to a folder on another disk"
        )
        raise ResourceError(msg)


def build_scaling(
    num_workers: int, *, use_gpu: bool, cpus_per_worker: float | None, gpus_per_worker: float = 1.0
) -> ScalingConfig:
    """Return Ray's number of workers, CPUs and GPUs.

    On one machine the workers get half of the CPUs by default, and loading images the rest. On a cluster each worker
    gets four CPUs by default, and nothing is refused: a cluster may still grow, and Ray waits for the nodes.
    On one machine this can be called before Ray is started.

    Args:
        num_workers: Number of processes that train together.
        use_gpu: Give each worker a GPU.
        cpus_per_worker: Logical CPUs of each worker; none: the default above.
        gpus_per_worker: GPUs of each worker, if it gets any; more than 0.

    Raises:
        ConfigError: This machine has no such GPUs, or would have no CPUs left to load images with,
            so that training would never start.
    """
    if num_workers < 1:
        msg = f"num_workers={num_workers}: expected 1 or more"
        raise ConfigError(msg)
    gpus = gpus_per_worker if use_gpu else 0.0
    check_room(gpus=num_workers * gpus, flags=f"--use-gpu --num-workers {num_workers}")
    cpus = cpus_per_worker or _CLUSTER_CPUS_PER_WORKER
    if is_local():
        total = total_cpus()
        cpus = cpus_per_worker or total / 2 / num_workers
        if cpus * num_workers > total - LOADING_CPUS:
            most = (total - LOADING_CPUS) / num_workers
            msg = (
                f"{num_workers} workers of {cpus:g} CPUs leave nothing of this machine's {total:g} CPUs to load "
                f"images with: choose fewer workers, or --cpus-per-worker {math.floor(10 * most) / 10:g} at most"
            )
            raise ConfigError(msg)
    resources = {"CPU": cpus} | ({"GPU": gpus} if use_gpu else {})
    return ScalingConfig(num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources)


def build_trial_scaling(num_workers: int, *, gpus_per_worker: float, cpus_per_worker: float | None) -> ScalingConfig:
    """Return the scaling of a sweep's trial: as from ``build_scaling``, or with 0 workers that of a single process.

    Args:
        num_workers: Number of processes that train a trial together; 0: the trial's own process.
        gpus_per_worker: GPUs of each worker, or of the trial without workers, 0 or more; 0.25: four share one.
        cpus_per_worker: As for ``build_scaling``.

    Raises:
        ConfigError: As for ``build_scaling``.
    """
    use_gpu = gpus_per_worker > 0
    if num_workers:
        return build_scaling(
            num_workers, use_gpu=use_gpu, cpus_per_worker=cpus_per_worker, gpus_per_worker=gpus_per_worker
        )
    part = "" if gpus_per_worker == 1 else f" --gpus-per-worker {gpus_per_worker:g}"
    check_room(gpus=gpus_per_worker, flags=f"--use-gpu{part}")
    resources = {"GPU": gpus_per_worker} if use_gpu else None
    return ScalingConfig(num_workers=0, use_gpu=use_gpu, resources_per_worker=resources)
