"""Every work-around for Ray, in one place: what is wrong, in which version, and what is done about it.

All of them are for Ray 2.60. ``tests/ray/test_workarounds.py`` shows of each that it is still needed: when one of
its tests fails after an upgrade, the work-around named in it can go.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
import ray.data
import ray.train
from ray._private.ray_logging import global_worker_stdstream_dispatcher as forwarded
from ray._private.worker import print_to_stdstream
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.train.v2._internal import constants as train_constants
from ray.train.v2._internal.execution import context as reporting
from ray.util.debug import log_once

from melanoma_ray import storage
from melanoma_ray.cluster.silence import HiddenLog, Judge

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

_PAUSE_S = 0.02
"""A turn takes some 2 ms and starts every task there is room for; a block lasts for seconds on a CPU."""
_CHATTY_LOGGERS = ("ray.data", "ray.train", "ray.tune", "ray.serve", "ray._private.authentication", "httpx", "alembic")
_ECHOES = ("ray.data.exceptions", "ray.data._internal.execution.streaming_executor_state")
"""Loggers that print an error with its traceback just before they raise it."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "WARNING",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # a job ends by a signal in one way (jobs/interruption.py)
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",  # trials are short
}
"""What Ray reads when it starts; a user's own values count before these."""
_FORWARDED = "ray_print_logs"
"""Under this name Ray keeps what prints the workers' output."""
_PROGRESS = re.compile(r"epoch \d+/\d+ ")
"""Lines of our own workers (``training.progress``, ``training.loop``) that need no process in front of them."""
_START_TIMEOUT_S = 7 * 24 * 3600
_STATE_API_ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Variable that Ray's state API asks before any other for its cluster."""


class SchedulerBackPressure(ExecutionCallback):
    """Keeps Ray Data's scheduling loop from taking a core away from the network.

    The loop waits for finished tasks; while its buffers are full there are none to wait for, or finished ones that
    it may not read yet, and it turns without a pause (measured on 2 cores, during a training whose network was the
    slower part: 70 to 87 % of one core). So it is paused after each turn.

    It also asks once a second which resources it may use, and begins without an answer: for its first second it
    would run one task at a time, on however many cores. So it is made to ask at once.
    """

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Ray Data calls this once a turn."""
        manager = executor._resource_manager  # noqa: SLF001 - Ray Data has no setting for it
        if manager is not None and manager._global_limits.is_zero():  # noqa: SLF001
            manager._global_limits_last_update_time = 0.0  # noqa: SLF001 - ask again in the next turn
        time.sleep(_PAUSE_S)


def dataset_of_blocks(blocks: Sequence[pa.Table]) -> ray.data.Dataset:
    """Return a dataset of just these blocks, with ``SchedulerBackPressure`` and without a progress bar.

    ``ray.data.from_arrow`` would run a task of one whole CPU for each block, only to learn its size: beside a
    training that holds the CPUs it would wait for ever.
    """
    dataset = ray.data.from_blocks(list(blocks))
    dataset.context.custom_execution_callback_classes = [SchedulerBackPressure]
    dataset.context.enable_progress_bars = False
    dataset.context.raise_original_map_exception = True  # its own wrapper loses what it wraps when it is pickled
    return dataset


def read_result(run_uri: str) -> ray.train.Result | None:
    """Return what Ray Train knows of a run; none: no checkpoint was ever reported, which Ray calls a RuntimeError."""
    try:
        return ray.train.Result.from_path(run_uri)
    except RuntimeError:
        return None


def checkpoint_uri(run_uri: str, checkpoint: ray.train.Checkpoint) -> str:
    """Return the address of a run's, or a trial's, checkpoint: Ray's own ``checkpoint.path`` has lost the scheme.

    On s3:// it is ``bucket/key``, which is a file below the working directory to whoever reads it.
    """
    return storage.join(run_uri, checkpoint.path.rstrip("/").rsplit("/", 1)[-1])


@contextmanager
def patient_start(*, is_elastic: bool) -> Iterator[None]:
    """Have Ray Train wait for the workers' places as long as it takes; ``waiting.py`` says so, and ends it.

    By itself it gives up after a minute, writes a traceback and asks anew, without an end. A group of a fixed size
    gains nothing by that; an elastic one does, since it may ask for fewer workers the next time.
    """
    name = train_constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR
    is_set = is_elastic or name in os.environ
    if not is_set:
        os.environ[name] = str(_START_TIMEOUT_S)
    try:
        yield
    finally:
        if not is_set:
            del os.environ[name]


@contextmanager
def known_cluster() -> Iterator[None]:
    """Tell Ray Train, for as long as this lasts, in which cluster its runs are.

    The actor that frees the workers' places when a run is stopped asks the state API whether the run's controller
    lives, and looks for Ray by the processes of its machine. Where it finds two of them it ends in a traceback, and
    the next trial of a sweep waits for places that nobody frees. What Ray Train passes on to the controller that
    actor inherits, so the address is passed on: this cluster's own, whichever one the user's shell names for
    ``ray job submit``.
    """
    train_constants.ENV_VARS_TO_PROPAGATE.add(_STATE_API_ADDRESS)
    before = os.environ.get(_STATE_API_ADDRESS)
    os.environ[_STATE_API_ADDRESS] = ray.get_runtime_context().gcs_address
    try:
        yield
    finally:
        os.environ.pop(_STATE_API_ADDRESS)
        if before is not None:
            os.environ[_STATE_API_ADDRESS] = before


def set_environment() -> None:
    """Set what Ray reads when it starts; call it before ``ray.init``."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_ray() -> None:
    """Leave the console to the jobs: Ray's libraries speak up only when something is wrong.

    Ray Train tells each report by a logger that is named after its file, so no logger above it reaches it.
    """
    for name in (*_CHATTY_LOGGERS, reporting.__file__):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _ECHOES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    log_once("ray_data_progress_manager_disabled")  # it warns of a setting that we chose, without a form of its own


def hide_chatter_of_workers(log: HiddenLog) -> None:
    """Judge what workers write before Ray prints it, and leave out which process it was that trains.

    Ray has a switch for all of their output or none; errors and the progress of a training are among it.
    """
    judges: dict[object, Judge] = defaultdict(Judge)

    def show(data: dict[str, Any]) -> None:
        actor, shown = data.get("actor_name") or "", []
        for line in data["lines"]:
            if judges[data.get("pid"), data["is_err"]].is_chatter(line, actor):
                log.write(f"({actor or data.get('task_name') or ''} pid={data.get('pid')}) {line}")
            else:
                shown.append(line)
        is_progress = bool(shown) and all(_PROGRESS.match(line) for line in shown)
        if shown:
            print_to_stdstream({**data, "lines": shown}, ignore_prefix=is_progress)

    forwarded.remove_handler(_FORWARDED)
    forwarded.add_handler(_FORWARDED, show)


def forward_nothing() -> None:
    """Print nothing more of what workers write: a job that ends has told its reason, and they would tell their ends."""
    forwarded.remove_handler(_FORWARDED)
