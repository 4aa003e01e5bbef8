"""The pool of actors that hold a network, through which evaluation, calibration and triage score images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from melanoma_ray.cluster.resources import is_local, total_cpus, total_gpus
from melanoma_ray.cluster.waiting import Request, wait_for


def map_with_actors(
    rows: pa.Table,
    actor: type[Callable[[pa.Table], pa.Table]],
    arguments: Mapping[str, Any],
    *,
    batch_size: int,
    use_gpu: bool,
) -> pa.Table:
    """Return the rows mapped by actors, batch by batch, in any order.

    On one machine there are as many actors as CPUs or GPUs, from the start, unless there are fewer batches. On a
    cluster the pool starts with one and grows as far as Ray Data finds room: where it has scaled down, nodes are
    started when the first actor waits for them.

    Args:
        rows: Images to score, one or more.
        actor: Class whose instances map a table to a table; each builds its network once, when it starts.
        arguments: Keyword arguments of the class.
        batch_size: Number of rows that an actor gets at a time; bounds its memory.
        use_gpu: Give each actor a GPU and a CPU, instead of a CPU alone.

    Raises:
        ResourceError: There was no room for a single actor for as long as this process waits.
    """
    blocks = [rows.slice(start, batch_size) for start in range(0, rows.num_rows, batch_size)]
    most = max(1, int(total_gpus() if use_gpu else total_cpus())) if is_local() else None
    first = 1 if most is None else min(most, len(blocks))
    mapped = ray.data.from_blocks(blocks).map_batches(
        actor,
        fn_constructor_kwargs=dict(arguments),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ActorPoolStrategy(min_size=1, max_size=most, initial_size=first),
        num_cpus=1,
        num_gpus=1 if use_gpu else 0,
    )
    resources = {"CPU": 1.0, "GPU": 1.0 if use_gpu else 0.0}
    advice = "without --use-gpu it asks for a CPU alone" if use_gpu else "nothing less can be asked for"
    return wait_for(lambda: _collect(mapped), Request(what="scoring", resources=resources, advice=advice))


def _collect(mapped: ray.data.Dataset) -> pa.Table:
    return pa.concat_tables(mapped.iter_batches(batch_size=None, batch_format="pyarrow"))
