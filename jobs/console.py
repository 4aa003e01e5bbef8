"""What every job shares: its command line, its connection to Ray, and how it ends."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, TypeVar

import ray
import tyro
from ray.data import DataContext

from melanoma_ray import storage
from melanoma_ray.cluster.resources import is_local
from melanoma_ray.cluster.workarounds import quiet_ray, set_environment
from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError, MelanomaRayError
from melanoma_ray.recipes import RECIPES
from melanoma_ray.settings import experiment_from_dict

Arguments = TypeVar("Arguments")


def run_job(main: Callable[[Arguments], object], arguments: type[Arguments]) -> None:
    """Parse the command line, run, and end a foreseen error with one line instead of a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    quiet_ray()
    try:
        main(tyro.cli(arguments, config=(tyro.conf.CascadeSubcommandArgs,)))
    except (MelanomaRayError, ray.exceptions.RayTaskError) as error:
        cause = getattr(error, "cause", error)
        if not isinstance(cause, MelanomaRayError):
            raise
        sys.exit(f"error: {cause}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names (as in a submitted job), or start Ray on this machine."""
    set_environment()
    if not ray.is_initialized():
        # With the dashboard: Ray Train asks its state API whether a stopped trial's workers may be cleaned up.
        ray.init(address="local" if is_local() else None, logging_level=logging.WARNING)
        DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
        quiet_ray()


def experiment_choice() -> object:
    """Return the type of the EXPERIMENT argument: a named one, or that of a JSON file."""
    choices = {name: build() for name, build in RECIPES.items()}
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
