"""All workarounds for Ray: what is wrong, in which version, and what is done about it.

All are for Ray 2.60. Each has a test in ``tests/ray/test_workarounds.py`` that shows that it is still needed: when the
test fails after an upgrade of Ray, the workaround can be removed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
import ray.data
import ray.train
from ray._private import auto_init_hook, services
from ray._private import worker as driver
from ray._private.ray_logging import global_worker_stdstream_dispatcher as forwarded
from ray._private.state import state as cluster_state
from ray._private.worker import filter_autoscaler_events, print_to_stdstream
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.train.v2._internal import constants as train_constants
from ray.train.v2._internal.execution import context as reporting
from ray.util.debug import log_once
from ray.util.placement_group import PlacementGroup, remove_placement_group

from melanoma_ray import storage
from melanoma_ray.cluster.silence import HiddenLog, Judge

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

_PAUSE_S = 0.02
"""Pause of the scheduling loop between turns, seconds. It delays nothing: a turn takes some 2 ms and starts all tasks
that there is room for, and a block takes seconds on a CPU."""
_CHATTY_LOGGERS = ("ray.data", "ray.train", "ray.tune", "ray.serve", "ray._private.authentication", "httpx", "alembic")
_ECHOES = (
    "ray.data.exceptions",
    "ray.data._internal.execution.streaming_executor_state",
    "ray.train.v2._internal.util",
    "ray.tune.execution.experiment_state",
    "ray.tune.execution.tune_controller",
    "ray.tune.tune",
    reporting.__file__,
)
"""Loggers that print an error with its traceback before they raise it or, in Ray Tune, keep it with the trial."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "WARNING",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # a job ends by a signal in one way (jobs/interruption.py)
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints where results are whatever its verbosity
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",  # trials are short
}
"""Environment variables that Ray reads when it starts; values that the user has set take precedence."""
_FORWARDED = "ray_print_logs"
"""Ray's name of the handler that prints the workers' output."""
_AUTOSCALER = "autoscaler"
"""In place of a worker's process id: Ray prints the events among these lines, and none of the others."""
_PROGRESS = re.compile(r"epoch \d+/\d+ ")
"""Lines of our own workers (``training.progress``, ``training.loop``), which are printed without the process's name."""
_START_TIMEOUT_S = 7 * 24 * 3600
_STATE_API_ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Variable that Ray's state API asks before any other for its cluster."""


class SchedulerBackPressure(ExecutionCallback):
    """Keeps Ray Data's scheduling loop from taking a core away from the network.

    The loop waits for finished tasks. While its buffers are full, there are none to wait for, or finished ones that it
    may not read yet, and it runs without a pause: on 2 cores, in a training whose network was the slower part, it used
    70 to 87 % of one core. So each turn ends with a pause.

    The loop also updates its limits of resources once a second, and starts without limits: in its first second it
    would run one task at a time, on however many cores. So the update is made due at once.
    """

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Pause; Ray Data calls this once in each turn of its loop."""
        manager = executor._resource_manager  # noqa: SLF001 - Ray Data has no setting for it
        if manager is not None and manager._global_limits.is_zero():  # noqa: SLF001
            manager._global_limits_last_update_time = 0.0  # noqa: SLF001 - update in the next turn
        time.sleep(_PAUSE_S)


def dataset_of_blocks(blocks: Sequence[pa.Table]) -> ray.data.Dataset:
    """Return a dataset of exactly these blocks, with ``SchedulerBackPressure`` and without a progress bar.

    ``ray.data.from_arrow`` would run a task of one whole CPU for each block, only to find out its size. During a
    training, which has reserved the CPUs, it would wait for ever.
    """
    dataset = ray.data.from_blocks(list(blocks))
    dataset.context.custom_execution_callback_classes = [SchedulerBackPressure]
    dataset.context.enable_progress_bars = False
    dataset.context.raise_original_map_exception = True  # its own wrapper loses what it wraps when it is pickled
    return dataset


def read_result(run_uri: str) -> ray.train.Result | None:
    """Return Ray Train's result of a run; none: no checkpoint was reported yet, for which Ray raises RuntimeError."""
    try:
        return ray.train.Result.from_path(run_uri)
    except RuntimeError:
        return None


def checkpoint_uri(run_uri: str, checkpoint: ray.train.Checkpoint) -> str:
    """Return the address of a checkpoint of a run or a trial; Ray's own ``checkpoint.path`` lacks the scheme, s3://."""
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
    """Give Ray Train's runs the address of this cluster while the block runs.

    When a run is stopped, an actor of Ray Train frees the workers' resources. It uses the state API to find out whether
    the run's controller lives, and searches for Ray among the processes of its machine. If it finds two, it ends in a
    traceback, and the next trial of a sweep waits for resources that are never freed. The actor inherits the
    environment variables that Ray Train passes to the controller, so the address is passed as one of them. It is this
    cluster's address, whatever the user's shell has for ``ray job submit``.
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


@contextmanager
def own_process_group() -> Iterator[None]:
    """Have Ray start its processes, inside this context, in groups other than this process's.

    A signal for the whole group, as ``timeout``, a batch system or a terminal sends it, is for the job, which tells
    Ray to end. Ray shields its processes from Ctrl-C alone. Without its raylet, a job's C++ ends the process at once,
    with its locks and its answers.
    """
    before = services.ConsolePopen
    services.ConsolePopen = partial(before, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = before


def start_no_other_ray() -> None:
    """Have Ray's functions fail once this process has left its cluster; call this before ``ray.shutdown``.

    By themselves they start another Ray where there is none. A thread of Ray Data that outlived the job did so, and the
    process then didn't end until that one was stopped, too.
    """
    auto_init_hook.enable_auto_connect = False


def free_orphaned_places() -> None:
    """Free the places that actors of this job had asked for and that are gone themselves.

    Ray keeps such places until the whole job ends. What Ray Train has against that learns of the places of a run when
    its workers have started. If the run's controller ends while it still waits for them, with its node for example,
    they are given to nobody, and a sweep's other trials wait for them.
    """
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id()).binary()
    for row in cluster_state._connect_and_get_accessor().get_placement_group_table():  # noqa: SLF001 - the public table lacks who asked
        group = PlacementGroupTableData.FromString(row)
        is_of_an_actor = group.creator_job_id == job and not ray.ActorID(group.creator_actor_id).is_nil()
        is_held = group.state != PlacementGroupTableData.REMOVED and not group.is_detached
        if is_of_an_actor and is_held and group.creator_actor_dead:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def guard_headers() -> None:
    """Have Ray Serve's HTTP servers drop headers that steer or break it; call this before ``ray.init`` on this machine.

    Serve reads a request's id, time limit and routing from headers before the application is asked, and answers with a
    bare 500 where one of them isn't UTF-8.
    """
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "melanoma_ray.serving.intake.middlewares")


def set_environment() -> None:
    """Set the environment variables that Ray reads when it starts; call this before ``ray.init``."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_ray() -> None:
    """Have Ray's libraries log only warnings and errors, so that the console has the jobs' own lines.

    Ray Train logs each report to a logger that is named after its file, so the level of "ray.train" doesn't apply.
    """
    for name in (*_CHATTY_LOGGERS, reporting.__file__):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _ECHOES:
        logging.getLogger(name).addFilter(_is_no_echo)
    log_once("ray_data_progress_manager_disabled")  # marks as logged a warning about a setting that is ours


def _is_no_echo(record: logging.LogRecord) -> bool:
    """Return whether a record is more than the traceback of an error that is raised as well."""
    return not (record.exc_info or record.levelno >= logging.ERROR)


def hide_chatter_of_workers(log: HiddenLog) -> None:
    """Hide libraries' own messages in the workers' output, and print the progress of a training without a prefix.

    Ray itself can forward only all of the workers' output or none, and errors and progress are part of it.

    Args:
        log: Log file for the hidden lines.
    """
    judges: dict[object, Judge] = defaultdict(partial(Judge, of_worker=True))
    events: set[str] = set()

    def show(data: dict[str, Any]) -> None:
        if data.get("pid") == _AUTOSCALER:  # it repeats what can't be placed every half minute
            for line in data["lines"]:
                told = set(filter_autoscaler_events([line]))  # without the time, which the line may have
                if told - events:
                    print_to_stdstream({**data, "lines": [line]}, ignore_prefix=False)
                events.update(told)
            return
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
    # By this function Ray prints what the cluster itself reports, such as that a worker was killed.
    driver.print_to_stdstream = lambda data, ignore_prefix: show(data)  # noqa: ARG005


def forward_nothing() -> None:
    """Print nothing more of what workers write: a job that ends has told its reason, and they would tell their ends."""
    forwarded.remove_handler(_FORWARDED)
    driver.print_to_stdstream = lambda data, ignore_prefix: None  # noqa: ARG005
