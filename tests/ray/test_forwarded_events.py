"""What Ray's autoscaler and its raylet say reaches the console, each thing once, and errors alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private import worker
from ray._private.ray_constants import LOG_PREFIX_EVENT_SUMMARY
from ray._private.ray_logging import global_worker_stdstream_dispatcher as forwarded
from ray._private.utils import publish_error_to_driver
from ray.autoscaler.v2.utils import is_autoscaler_v2

from melanoma_ray.cluster.silence import HiddenLog
from melanoma_ray.cluster.workarounds import forward_nothing, hide_chatter_of_workers

CANT_BE_PLACED = "Error: No available node types can fulfill resource request {'CPU': 4.0}."


SERVE_ENDS = (
    "Task ServeController.graceful_shutdown failed. There are infinite retries remaining, so the task will be retried."
)
SHOWN_WITHIN_S = 30


@pytest.fixture
def hidden(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[HiddenLog]:
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)  # so that it is put back
    log = HiddenLog()
    hide_chatter_of_workers(log)
    yield log
    forward_nothing()
    log.close()


def test_an_event_that_is_repeated_is_shown_once(hidden: HiddenLog, capfd: pytest.CaptureFixture[str]) -> None:
    assert not is_autoscaler_v2()  # which writes its events in another form
    for second, event in enumerate((CANT_BE_PLACED, "Adding 1 node(s).", CANT_BE_PLACED, CANT_BE_PLACED)):
        line = f"2026-01-01 00:00:{second:02} {LOG_PREFIX_EVENT_SUMMARY}{event}"
        forwarded.emit(
            {"pid": "autoscaler", "lines": [line], "is_err": False, "ip": None, "job": None, "actor_name": None}
        )
    shown = "".join(capfd.readouterr())
    assert shown.count(CANT_BE_PLACED) == 1
    assert shown.count("Adding 1 node(s).") == 1
    assert hidden.close() == ""


def test_what_the_cluster_says_of_serve_s_end_is_hidden_and_of_errors_is_shown(
    hidden: HiddenLog, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = worker.global_worker
    for message in (SERVE_ENDS, "A worker was killed for want of memory."):
        publish_error_to_driver("test", message, driver.gcs_client, job_id=driver.current_job_id)
    shown, deadline = "", time.monotonic() + SHOWN_WITHIN_S
    while "A worker was killed" not in shown:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        shown += "".join(capfd.readouterr())
    assert SERVE_ENDS not in shown
    assert SERVE_ENDS in Path(hidden.path).read_text()
