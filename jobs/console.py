"""What all jobs share: the command line, the connection to Ray, and how errors end a job."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import ray
from ray.data import DataContext

from melanoma_ray.cluster.resources import is_local
from melanoma_ray.cluster.silence import HiddenLog, quiet_console
from melanoma_ray.cluster.workarounds import hide_chatter_of_workers, known_address, quiet_ray, set_environment
from melanoma_ray.errors import MelanomaRayError

from .command_line import parse

Arguments = TypeVar("Arguments")
_HIDDEN: list[HiddenLog] = []
"""Of this process's job, if one runs by ``run_job``."""


def run_job(main: Callable[[Arguments], object], arguments: type[Arguments], *, program: str | None = None) -> None:
    """Parse the command line and run the job; an error of this project ends it with one line, without a traceback.

    Args:
        main: The job.
        arguments: Dataclass from which the command line is made.
        program: What its help calls the job; by default as it was started.
    """
    with quiet_console() as log:
        _HIDDEN.append(log)
        try:
            _run(main, arguments, program)
        finally:
            ray.shutdown()  # while what it says is still hidden


def _run(main: Callable[[Arguments], object], arguments: type[Arguments], program: str | None) -> None:
    quiet_ray()
    try:
        main(parse(arguments, program))
    except (MelanomaRayError, ray.exceptions.RayTaskError) as error:
        cause = getattr(error, "cause", error)
        if not isinstance(cause, MelanomaRayError):
            raise
        sys.exit(f"error: {cause}")
    except KeyboardInterrupt:
        sys.exit("interrupted; run the same command again to continue")


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names (as in a submitted job), or start Ray on this machine."""
    set_environment()
    if not ray.is_initialized():
        # The dashboard stays on: Ray Train uses its state API to find out whether a stopped trial's workers may go.
        if is_local():
            with known_address():
                ray.init(address="local", logging_level=logging.WARNING)
        else:
            ray.init(logging_level=logging.WARNING)
        for log in _HIDDEN:
            hide_chatter_of_workers(log)
        DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
        quiet_ray()


def wait_for_interrupt() -> None:
    """Wait until Ctrl-C or a SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
