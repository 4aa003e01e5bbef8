"""What Ray's autoscaler says reaches the console, each thing once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ray._private.ray_constants import LOG_PREFIX_EVENT_SUMMARY
from ray._private.ray_logging import global_worker_stdstream_dispatcher as forwarded
from ray.autoscaler.v2.utils import is_autoscaler_v2

from melanoma_ray.cluster.silence import HiddenLog
from melanoma_ray.cluster.workarounds import forward_nothing, hide_chatter_of_workers

CANT_BE_PLACED = "Error: No available node types can fulfill resource request {'CPU': 4.0}."


@pytest.fixture
def listening(local_ray: None) -> Iterator[None]:
    log = HiddenLog()
    hide_chatter_of_workers(log)
    yield
    forward_nothing()
    assert log.close() == ""


def test_an_event_that_is_repeated_is_shown_once(listening: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert not is_autoscaler_v2()  # which writes its events in another form
    for second, event in enumerate((CANT_BE_PLACED, "Adding 1 node(s).", CANT_BE_PLACED, CANT_BE_PLACED)):
        line = f"2026-01-01 00:00:{second:02} {LOG_PREFIX_EVENT_SUMMARY}{event}"
        forwarded.emit(
            {"pid": "autoscaler", "lines": [line], "is_err": False, "ip": None, "job": None, "actor_name": None}
        )
    shown = "".join(capfd.readouterr())
    assert shown.count(CANT_BE_PLACED) == 1
    assert shown.count("Adding 1 node(s).") == 1
