"""The one pool of actors that hold a network: evaluation, calibration and triage all score through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from melanoma_ray.cluster.resources import num_actors


def map_with_actors(
    rows: ray.data.Dataset,
    actor: type[Callable[[pa.Table], pa.Table]],
    arguments: Mapping[str, Any],
    *,
    batch_size: int,
    use_gpu: bool,
) -> ray.data.Dataset:
    """Return what the actors make of the rows, batch by batch, on as many CPUs or GPUs as the cluster has.

    Args:
        rows: What is to be scored.
        actor: Class whose instances turn a table into a table; each builds its network once, when it starts.
        arguments: Keyword arguments of the class.
        batch_size: Rows handed to an actor at once; bounds its memory.
        use_gpu: Give each actor a GPU, in place of a CPU alone.
    """
    return rows.map_batches(
        actor,
        fn_constructor_kwargs=dict(arguments),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ActorPoolStrategy(min_size=1, max_size=num_actors(use_gpu=use_gpu)),
        num_cpus=1,
        num_gpus=1 if use_gpu else 0,
    )
