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

from melanoma_ray.cluster.address import check_reachable, refused_by_cluster
from melanoma_ray.cluster.failures import describe, find_cause
from melanoma_ray.cluster.resources import check_temporary_folder, is_local, usable_cpus
from melanoma_ray.cluster.silence import HiddenLog, quiet_console
from melanoma_ray.cluster.waiting import set_patience
from melanoma_ray.cluster.workarounds import (
    forward_nothing,
    hide_chatter_of_workers,
    own_process_group,
    quiet_ray,
    set_environment,
    start_no_other_ray,
)

from . import interruption
from .command_line import parse

Arguments = TypeVar("Arguments")
_HIDDEN: list[HiddenLog] = []
"""Log of the job that runs in this process by ``run_job``; empty if none does."""


def run_job(main: Callable[[Arguments], object], arguments: type[Arguments], *, program: str | None = None) -> None:
    """Parse the command line and run the job; an error that can be foreseen ends it with one line.

    Args:
        main: The job.
        arguments: Dataclass from which the command line is made. Its ``INTERRUPTED``, if it has one, is what the job
            says when it is interrupted.
        program: Name of the job in its help; by default the command that started it.
    """
    interruption.listen()
    interruption.prepare(getattr(arguments, "INTERRUPTED", interruption.MESSAGE))
    interruption.end_in_time()
    with quiet_console() as log:
        _HIDDEN.append(log)
        try:
            ending = _run(main, arguments, program)
        finally:
            start_no_other_ray()
            ray.shutdown()  # while Ray's own lines are still hidden
    if ending is not None:
        interruption.leave(*ending)


def _run(
    main: Callable[[Arguments], object], arguments: type[Arguments], program: str | None
) -> tuple[int, str] | None:
    """Run the job; return exit code and last line if an interrupt or an error that can be foreseen ended it."""
    quiet_ray()
    interruption.print_any_name()
    try:
        main(parse(arguments, program))
        interruption.write_out()  # here, where it is foreseen that nobody reads it
    except KeyboardInterrupt:
        _fall_silent()
        return interruption.received() or 128 + signal.SIGINT, interruption.last_line()
    except SystemExit as ending:
        if ending.code != signal.SIGTERM:
            raise
        _fall_silent()  # the signal came while Ray started, and its own handler took it
        return 128 + signal.SIGTERM, interruption.last_line()
    except Exception as error:
        if interruption.received():
            _fall_silent()
            return interruption.received(), interruption.last_line()
        cause = find_cause(error)
        if cause is None:
            raise
        _fall_silent()
        is_unread = isinstance(cause, BrokenPipeError) and not interruption.has_reader()
        return (interruption.READER_GONE, "") if is_unread else (1, f"error: {describe(cause)}")
    return None


def _fall_silent() -> None:
    """Log and forward nothing more: the reason of the end is known, and threads and workers would tell of their own."""
    logging.disable(logging.CRITICAL)
    forward_nothing()


def connect(*, wait_minutes: float | None = None) -> None:
    """Connect to the cluster that RAY_ADDRESS names (as in a submitted job), or start Ray on this machine.

    Args:
        wait_minutes: Minutes that the job waits for CPUs and GPUs that aren't free; none: for ever.

    Raises:
        ConfigError: There is no cluster at RAY_ADDRESS, or it doesn't let this process in.
        ResourceError: Ray would have no room for its logs on this machine.
    """
    set_environment()
    set_patience(wait_minutes)
    if not ray.is_initialized():
        # The dashboard stays on: Ray Train uses its state API to find out whether a stopped trial's workers may go.
        where = {"address": "local", "num_cpus": usable_cpus()} if is_local() else {}
        if is_local():
            check_temporary_folder()
        check_reachable()
        try:
            with own_process_group():
                ray.init(**where, logging_level=logging.WARNING)
        except ConnectionError as error:
            raise refused_by_cluster(error) from error
        interruption.listen()  # again, because Ray has replaced the handler of SIGTERM
        for log in _HIDDEN:
            hide_chatter_of_workers(log)
        context = DataContext.get_current()
        context.enable_progress_bars = sys.stderr.isatty()
        context.raise_original_map_exception = True  # Ray Data's own wrapper loses what it wraps
        quiet_ray()


def wait_for_interrupt(message: str, *, longest_s: float) -> None:
    """Wait for Ctrl-C or a SIGTERM, which raises KeyboardInterrupt from here.

    Args:
        message: What the job says at its end, since it wasn't cut off.
        longest_s: Time that it has for its end, seconds; then the process is ended.
    """
    interruption.prepare(message, longest_s)
    threading.Event().wait()
