"""Ray still needs each work-around: where one of these fails after an upgrade, its work-around can go."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import ray.data
import ray.train
from ray._private import auto_init_hook, services
from ray._private.ray_logging import global_worker_stdstream_dispatcher as forwarded
from ray.data import ExecutionResources
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.serve._private.constants import RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE
from ray.serve._private.http_util import parse_request_timeout_header, parse_session_id_header
from ray.train.v2._internal.constants import (
    DEFAULT_WORKER_GROUP_START_TIMEOUT_S,
    WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
    get_env_vars_to_propagate,
)
from ray.train.v2._internal.execution import context as reporting
from ray.train.v2._internal.execution.controller.placement_group_cleaner import is_actor_alive
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.debug import reset_log_once
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from melanoma_ray.cluster.workarounds import (
    SchedulerBackPressure,
    checkpoint_uri,
    dataset_of_blocks,
    free_orphaned_places,
    known_cluster,
    own_process_group,
    patient_start,
    quiet_ray,
    read_result,
)

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

pytestmark = pytest.mark.usefixtures("local_ray")

IDLE_TURNS_PER_S = 60
"""A loop that waits turns ten times a second, one with ``SchedulerBackPressure`` fifty times at most."""
PATIENCE_S = 60
BLOCKS = [pa.table({"number": [number]}) for number in range(100)]


def needed(what: str, *, is_needed: bool) -> None:
    assert is_needed, f"Ray does better than it did in 2.60: {what} can go"


class Turns(ExecutionCallback):
    """Counts the turns of the scheduling loop."""

    number = 0
    knew_its_resources = False
    """In its first turn."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        if Turns.number == 0:
            Turns.knew_its_resources = not executor._resource_manager._global_limits.is_zero()
        Turns.number += 1


@contextmanager
def unread_stream(callbacks: list[type[ExecutionCallback]]) -> Iterator[None]:
    """Execute a stream of which one block is read, so that its buffers, of ten blocks, stay full."""
    Turns.number, Turns.knew_its_resources = 0, False
    dataset = dataset_of_blocks(BLOCKS)
    dataset.context.custom_execution_callback_classes = callbacks
    dataset.context.execution_options.resource_limits = ExecutionResources(cpu=2, object_store_memory=20e6)
    grown = dataset.map_batches(lambda _: {"bytes": np.zeros((1, 2_000_000), np.uint8)}, batch_size=None)
    batches = iter(grown.iter_batches(batch_size=1, prefetch_batches=0))
    next(batches)
    yield
    del batches


def turns_per_s(duration_s: float = 1.0) -> float:
    before, start = Turns.number, time.monotonic()
    time.sleep(duration_s)
    return (Turns.number - before) / (time.monotonic() - start)


def happens(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


def test_the_scheduling_loop_turns_without_a_pause_while_its_buffers_are_full() -> None:
    with unread_stream([Turns]):
        needed("SchedulerBackPressure (its pause)", is_needed=happens(lambda: turns_per_s() > IDLE_TURNS_PER_S))
    with unread_stream([SchedulerBackPressure, Turns]):
        assert max(turns_per_s() for _ in range(5)) <= IDLE_TURNS_PER_S


def test_the_scheduling_loop_begins_without_knowing_its_resources() -> None:
    with unread_stream([Turns]):
        needed("SchedulerBackPressure (its question)", is_needed=not Turns.knew_its_resources)


class Occupant:
    """Holds CPUs, as workers of a training do."""

    def is_there(self) -> bool:
        return True


def start_occupant(num_cpus: float) -> ray.actor.ActorHandle:
    return ray.remote(num_cpus=num_cpus)(Occupant).remote()


@pytest.fixture
def no_free_cpu() -> Iterator[None]:
    occupant = start_occupant(ray.cluster_resources()["CPU"])
    assert ray.get(occupant.is_there.remote())
    yield
    ray.kill(occupant)


@pytest.mark.usefixtures("no_free_cpu")
def test_a_dataset_of_arrow_tables_waits_for_a_free_cpu() -> None:
    assert dataset_of_blocks(BLOCKS).count() == len(BLOCKS)
    waiting = threading.Thread(target=ray.data.from_arrow, args=[BLOCKS[:1]], daemon=True)
    waiting.start()
    waiting.join(10)
    needed("dataset_of_blocks (from_arrow will do)", is_needed=waiting.is_alive())


def train(config: dict[str, Any]) -> None:
    if config["checkpoints"]:
        directory = Path(config["directory"])
        directory.mkdir()
        (directory / "weights").write_text("1")
        ray.train.report({"figure": 1.0}, checkpoint=ray.train.Checkpoint.from_directory(directory))


def run(folder: Path, name: str, *, checkpoints: bool) -> str:
    trainer = DataParallelTrainer(
        train,
        train_loop_config={"checkpoints": checkpoints, "directory": str(folder / "progress")},
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(name=name, storage_path=str(folder)),
    )
    trainer.fit()
    return f"{folder}/{name}"


def test_a_run_without_checkpoints_is_an_error_to_ray(tmp_path: Path) -> None:
    uri = run(tmp_path, "run", checkpoints=False)
    assert read_result(uri) is None
    try:
        ray.train.Result.from_path(uri)
    except RuntimeError:
        return
    needed("read_result", is_needed=False)


def test_the_path_of_a_run_s_checkpoint_has_lost_its_scheme(tmp_path: Path) -> None:
    uri = "file://" + run(tmp_path, "run", checkpoints=True)
    result = read_result(uri)
    assert result is not None
    assert result.checkpoint is not None
    needed("checkpoint_uri", is_needed="://" not in result.checkpoint.path)
    found = checkpoint_uri(uri, result.checkpoint)
    assert found.startswith(f"{uri}/")
    assert Path(found.removeprefix("file://"), "weights").read_text() == "1"


def test_reports_are_told_by_a_logger_that_is_named_after_its_file() -> None:
    name = reporting.logger.name
    needed("quiet_ray (reporting.__file__)", is_needed=name == reporting.__file__ and not name.startswith("ray."))
    quiet_ray()
    assert not reporting.logger.isEnabledFor(logging.INFO)


def test_a_warning_says_that_there_are_no_progress_bars_though_they_were_turned_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("ray.data._internal.progress")
    logger.addHandler(caplog.handler)
    try:
        reset_log_once("ray_data_progress_manager_disabled")
        dataset_of_blocks(BLOCKS[:1]).map_batches(lambda batch: batch).take_all()
        needed("quiet_ray (log_once)", is_needed="Progress bars disabled" in caplog.text)
        caplog.clear()
        reset_log_once("ray_data_progress_manager_disabled")
        quiet_ray()
        dataset_of_blocks(BLOCKS[:1]).map_batches(lambda batch: batch).take_all()
        assert "Progress bars disabled" not in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


@ray.remote(num_cpus=0)
def ask_state_api(actor_id: str, address: str | None) -> str:
    """Ask as Ray Train does, on a machine with another Ray; return what went wrong."""
    services.find_gcs_addresses = lambda: {"127.0.0.1:1", "127.0.0.1:2"}
    services.find_bootstrap_address = lambda _: None
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    if address:
        os.environ["RAY_API_SERVER_ADDRESS"] = address
    try:
        assert is_actor_alive(actor_id=actor_id, timeout=30)
    except ConnectionError as error:
        return str(error)
    return ""


def test_a_worker_looks_for_the_address_of_its_own_ray() -> None:
    occupant = start_occupant(0)
    assert ray.get(occupant.is_there.remote())
    actor_id, address = occupant._actor_id.hex(), ray.get_runtime_context().gcs_address
    error = ray.get(ask_state_api.remote(actor_id, None))
    needed("known_cluster", is_needed="Found multiple active Ray instances" in error)
    assert ray.get(ask_state_api.remote(actor_id, address)) == ""


def test_a_group_of_a_fixed_size_waits_for_its_places_as_long_as_it_takes() -> None:
    needed("patient_start", is_needed=DEFAULT_WORKER_GROUP_START_TIMEOUT_S < 3600)
    name = WORKER_GROUP_START_TIMEOUT_S_ENV_VAR
    with patient_start(is_elastic=False):
        assert float(get_env_vars_to_propagate()[name]) > 3600
    with patient_start(is_elastic=True):
        assert name not in get_env_vars_to_propagate()
    assert name not in os.environ


@ray.remote(num_cpus=0)
def told_address() -> str | None:
    return os.environ.get("RAY_API_SERVER_ADDRESS")


@ray.remote(num_cpus=0)
class Controller:
    """Starts something of its own, as Ray Train's controller starts the actor that frees the workers' places."""

    def told_address(self) -> str | None:
        address: str | None = ray.get(told_address.remote())
        return address


def test_what_a_controller_starts_is_told_the_address_of_its_own_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://another:8265")  # as in a shell that submits jobs
    with known_cluster():
        variables = get_env_vars_to_propagate()
    controller = Controller.options(runtime_env={"env_vars": variables}).remote()  # type: ignore[attr-defined]
    assert ray.get(controller.told_address.remote()) == ray.get_runtime_context().gcs_address
    assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://another:8265"


def test_ray_s_functions_would_start_a_ray_where_there_is_none() -> None:
    """What follows from it shows tests/e2e/test_endings.py."""
    needed("start_no_other_ray", is_needed=auto_init_hook.enable_auto_connect)


def start_a_process_of_ray_s() -> int:
    """Return the process group of what Ray has started."""
    started = services.start_ray_process(["sleep", "60"], "reaper", fate_share=False)
    try:
        return os.getpgid(started.process.pid)
    finally:
        started.process.kill()
        started.process.wait()


def test_ray_s_processes_would_get_a_signal_for_the_whole_group() -> None:
    """What follows from it shows tests/e2e/test_endings.py."""
    needed("own_process_group", is_needed=start_a_process_of_ray_s() == os.getpgrp())
    with own_process_group():
        assert start_a_process_of_ray_s() != os.getpgrp()
    assert start_a_process_of_ray_s() == os.getpgrp()


@ray.remote(num_cpus=0)
class AsksForPlaces:
    def ask(self, cpus: float) -> PlacementGroup:
        self.group = placement_group([{"CPU": cpus}])
        return self.group


def state_of(group: PlacementGroup) -> str:
    return str(placement_group_table(group)["state"])


def test_places_of_an_actor_that_is_gone_are_freed_and_no_others() -> None:
    gone, living = AsksForPlaces.remote(), AsksForPlaces.remote()  # type: ignore[attr-defined]
    waiting, given, kept = ray.get([gone.ask.remote(1000), gone.ask.remote(0.01), living.ask.remote(0.01)])
    of_the_driver = placement_group([{"CPU": 0.01}])
    ray.get([given.ready(), kept.ready(), of_the_driver.ready()])
    ray.kill(gone)
    time.sleep(2.0)  # by then Ray has noticed
    needed("free_orphaned_places", is_needed=(state_of(waiting), state_of(given)) == ("PENDING", "CREATED"))

    def are_freed() -> bool:
        free_orphaned_places()
        return (state_of(waiting), state_of(given)) == ("REMOVED", "REMOVED")

    assert happens(are_freed)
    assert (state_of(kept), state_of(of_the_driver)) == ("CREATED", "CREATED")
    for group in (kept, of_the_driver):  # the next tests need all CPUs
        remove_placement_group(group)


@ray.remote(num_cpus=0)
def chatter() -> None:
    logging.basicConfig(force=True)
    logging.getLogger("ray.data").warning("this is chatter")


def test_a_level_of_the_driver_s_doesn_t_quiet_its_workers(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    forwarded.add_handler("test", lambda data: told.extend(data["lines"]))
    try:
        with caplog.at_level(logging.CRITICAL, "ray.data"):
            ray.get(chatter.remote())
            is_needed = happens(lambda: any("this is chatter" in line for line in told))
        needed("hide_chatter_of_workers", is_needed=is_needed)
    finally:
        forwarded.remove_handler("test")


def test_haproxy_s_metrics_and_statistics_would_listen_on_every_interface() -> None:
    binds = ("bind :{{ config.metrics_port }}", "bind *:{{ config.stats_port }}")
    needed("front.serve_quickly", is_needed=all(bind in HAPROXY_CONFIG_TEMPLATE for bind in binds))


def test_haproxy_would_speak_http_2_and_share_connections_between_callers() -> None:
    is_needed = "http-reuse always" in HAPROXY_CONFIG_TEMPLATE and "disable-h2-upgrade" not in HAPROXY_CONFIG_TEMPLATE
    needed("front.serve_quickly (its HTTP/1.1)", is_needed=is_needed)
    assert "http-request return status 404 content-type text/plain lf-string" in HAPROXY_CONFIG_TEMPLATE


def test_haproxy_would_keep_a_connection_on_which_nothing_comes_for_an_hour() -> None:
    needed("front.serve_quickly", is_needed=RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S == 3600)


@pytest.mark.parametrize("read", [parse_request_timeout_header, lambda headers, _: parse_session_id_header(headers)])
def test_serve_fails_on_headers_that_aren_t_utf_8(read: Callable[[dict[bytes, bytes], float], object]) -> None:
    with pytest.raises(UnicodeDecodeError):
        read({b"x-request-timeout-seconds": b"\xff", b"x-session-id": b"\xff"}, 60)
