"""What the cluster, and this process, have: CPUs, GPUs and memory, and how workers and actors share them."""

from __future__ import annotations

import os

import ray
from ray.train import ScalingConfig

from melanoma_ray.errors import ConfigError

LOADING_CPUS = 0.6
"""CPUs that two tasks need to load and augment images; training leaves as many to them."""
_CLUSTER_CPUS_PER_WORKER = 4.0
"""CPUs of a worker on a cluster: half of a common one-GPU node; the other half loads and augments."""


def is_local() -> bool:
    """Tell whether Ray is started on this machine and ends with this process; else RAY_ADDRESS names a cluster."""
    return "RAY_ADDRESS" not in os.environ


def total_cpus() -> float:
    """Return the logical CPUs of the cluster's nodes, free or not; 1 or more."""
    return max(1.0, float(ray.cluster_resources().get("CPU", 1.0)))


def total_gpus() -> float:
    """Return the GPUs of the cluster's nodes, free or not."""
    return float(ray.cluster_resources().get("GPU", 0.0))


def usable_cpus() -> int:
    """Return the logical CPUs that this process may run on, which its machine may have more of."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def smallest_object_store_bytes() -> float:
    """Return the size of the smallest node's object store, bytes: what every node can hold."""
    return min(float(node["Resources"].get("object_store_memory", 0.0)) for node in ray.nodes() if node["Alive"])


def num_actors(*, use_gpu: bool) -> int:
    """Return how many networks the cluster has room for; an actor reads what it scores itself."""
    return max(1, int(total_gpus() if use_gpu else total_cpus()))


def build_scaling(num_workers: int, *, use_gpu: bool, cpus_per_worker: float | None) -> ScalingConfig:
    """Return Ray's scaling; on one machine the workers take half of the CPUs, and loading images the rest.

    A cluster may still grow, so there each worker takes four CPUs unless told otherwise, and nothing is
    refused: Ray waits for the nodes.

    Args:
        num_workers: Processes that train together.
        use_gpu: Give each worker a GPU.
        cpus_per_worker: Logical CPUs of each worker; none: as described.

    Raises:
        ConfigError: This machine would have no CPU left to load images with, so training never began.
    """
    if num_workers < 1:
        msg = f"num_workers={num_workers}: expected 1 or more"
        raise ConfigError(msg)
    cpus = cpus_per_worker or _CLUSTER_CPUS_PER_WORKER
    if is_local():
        total = total_cpus()
        cpus = cpus_per_worker or total / 2 / num_workers
        if cpus * num_workers > total - LOADING_CPUS:
            most = (total - LOADING_CPUS) / num_workers
            msg = (
                f"{num_workers} workers of {cpus:g} CPUs leave nothing of this machine's {total:g} CPUs to load "
                f"images with: choose fewer workers, or --cpus-per-worker {most:.2g} at most"
            )
            raise ConfigError(msg)
    resources = {"CPU": cpus} | ({"GPU": 1.0} if use_gpu else {})
    return ScalingConfig(num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources)
