"""What every job shares: its command line, its connection to Ray, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, TypeVar

import ray
import tyro
from ray.data import DataContext
from ray.train import ScalingConfig

from melanoma_ray import storage
from melanoma_ray.config import Experiment, experiment_from_dict
from melanoma_ray.errors import ConfigError, MelanomaRayError
from melanoma_ray.experiments import EXPERIMENTS

Arguments = TypeVar("Arguments")
_CLUSTER_CPUS_PER_WORKER = 4.0
"""Half of a common one-GPU node; the other half loads and augments."""
_LOADING_CPUS = 0.6
"""That two loading tasks need."""
QUIET_LOGGERS = ("ray.data", "ray.train", "ray.tune", "ray.serve", "ray._private.authentication", "httpx", "alembic")


def run(main: Callable[[Arguments], object], arguments: type[Arguments]) -> None:
    """Parse the command line, run, and end a foreseen error with one line instead of a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    quiet()
    try:
        main(tyro.cli(arguments, config=(tyro.conf.CascadeSubcommandArgs,)))
    except (MelanomaRayError, ray.exceptions.RayTaskError) as error:
        cause = getattr(error, "cause", error)
        if not isinstance(cause, MelanomaRayError):
            raise
        sys.exit(f"error: {cause}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")


def quiet() -> None:
    """Leave the console to the jobs: Ray's libraries speak up when something is wrong."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def is_local() -> bool:
    """Tell whether Ray is started on this machine and ends with this process; else RAY_ADDRESS names a cluster."""
    return "RAY_ADDRESS" not in os.environ


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names (as in a submitted job), or start Ray on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "WARNING")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")  # trials are short
    if not ray.is_initialized():
        # With the dashboard: Ray Train asks its state API whether a stopped trial's workers may be cleaned up.
        ray.init(address="local" if is_local() else None, logging_level=logging.WARNING)
        DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
        quiet()


def scale(num_workers: int, *, use_gpu: bool, cpus_per_worker: float | None) -> ScalingConfig:
    """Return Ray's scaling; on one machine the workers take half of the CPUs, and loading images the rest.

    A cluster may still grow, so there each worker takes four CPUs unless told otherwise, and nothing is
    refused: Ray waits for the nodes.

    Raises:
        ConfigError: This machine would have no CPU left to load images with, so training never began.
    """
    if num_workers < 1:
        msg = f"num_workers={num_workers}: expected 1 or more"
        raise ConfigError(msg)
    cpus = cpus_per_worker or _CLUSTER_CPUS_PER_WORKER
    if is_local():
        total = ray.cluster_resources().get("CPU", 1.0)
        cpus = cpus_per_worker or total / 2 / num_workers
        if cpus * num_workers > total - _LOADING_CPUS:
            most = (total - _LOADING_CPUS) / num_workers
            msg = (
                f"{num_workers} workers of {cpus:g} CPUs leave nothing of this machine's {total:g} CPUs to load "
                f"images with: choose fewer workers, or --cpus-per-worker {most:.2g} at most"
            )
            raise ConfigError(msg)
    resources = {"CPU": cpus} | ({"GPU": 1.0} if use_gpu else {})
    return ScalingConfig(num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources)


def experiment_choice() -> object:
    """Return the type of the EXPERIMENT argument: a named one, or that of a JSON file."""
    choices = {name: build() for name, build in EXPERIMENTS.items()}
    files = [word for word in sys.argv[1:] if word.endswith(".json") and not word.startswith("-")]
    choices |= {name: read_experiment(name) for name in files[:1]}
    return tyro.extras.subcommand_type_from_defaults(choices, prefix_names=False)


ExperimentArgument = Annotated[Experiment, tyro.conf.arg(name="", constructor_factory=experiment_choice)]
"""EXPERIMENT on a command line, with its fields as flags: a name, a sweep's best.json or a manifest.json."""


def read_experiment(name: str) -> Experiment:
    """Return the experiment in a sweep's best.json or a checkpoint's manifest.json.

    Raises:
        DataError: No such file, or not JSON.
        ConfigError: It holds no experiment, or one with settings that aren't known.
    """
    content = storage.read_json(name)
    if "experiment" not in content:
        msg = f"{name}: has no experiment; give the best.json of a sweep or the manifest.json of a checkpoint"
        raise ConfigError(msg)
    return experiment_from_dict(content["experiment"])


def wait_for_interrupt() -> None:
    """Return when the user, or a SIGTERM, ends the service."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
