"""Alerts of a real batch, and the outbox that lives with a Ray actor which is killed."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import httpx
import pandas as pd
import pytest
import ray

from melanoma_ray import storage
from melanoma_ray.alerts import actor
from melanoma_ray.alerts.actor import check_node, find_actor, keep_on_cluster
from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.settings import AlertSettings, FileSink, Rule
from melanoma_ray.cluster.front import Address
from melanoma_ray.errors import AlertError, ConfigError
from melanoma_ray.serving.lifecycle import start_service, stop_service
from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.batch import triage
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE
from tests.ray.test_service import IMAGE, free_port
from tests.unit.alerts.samples import build_alerts, build_webhook
from tests.unit.alerts.servers import serve_http

HEAD = "node:__internal_head__"
"""Resource that Ray gives the head: here the node with the outbox's disk."""


def build_settings(folder: Path, **changes: object) -> AlertSettings:
    log = FileSink(name="log", kind="file", path=str(folder / "log.jsonl"))
    values: dict[str, object] = {
        "outbox": str(folder / "outbox.db"),
        "rules": (Rule(name="melanoma", sinks=("log",)),),
        "sinks": (log,),
    }
    return AlertSettings(**values | changes)  # type: ignore[arg-type]


def test_a_batch_alerts_about_all_but_its_routine_images(collection: str, tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "checkpoint"), side=SIDE)
    settings = build_settings(tmp_path, node_resource=HEAD)
    result = triage(checkpoint, list_images(collection), str(tmp_path / "output"), alerts=settings)
    table = pd.read_parquet(result.predictions)
    urgent = table[table["decision"] != "routine"]
    assert len(urgent) > 0
    with Outbox(settings.outbox) as outbox:
        alerts = outbox.statuses()
    told = [path for one in alerts for path in one.images]
    assert set(told) <= set(urgent["path"])
    assert {storage.read_bytes(path) for path in told} == {storage.read_bytes(path) for path in urgent["path"]}
    assert result.alerts is not None
    assert (result.alerts.num_delivered, result.alerts.num_waiting) == (len(alerts), 0)
    ray.kill(find_actor(settings), no_restart=True)


def test_the_outbox_s_actor_is_killed_and_its_next_life_delivers_what_waits(local_ray: None, tmp_path: Path) -> None:
    with serve_http() as receiver:
        receiver.otherwise = 503
        hook = build_webhook(tmp_path, receiver.url)
        rules = (Rule(name="melanoma", sinks=("hook",)),)
        settings = build_settings(tmp_path, sinks=(hook,), rules=rules, node_resource=HEAD)
        assert keep_on_cluster(settings, build_alerts(settings, 20), timeout_s=1).num_waiting == 20
        handle = find_actor(settings)
        first = ray.get(handle.process_id.remote())
        os.kill(first, signal.SIGKILL)
        receiver.otherwise = 200
        result = keep_on_cluster(settings, build_alerts(settings, 25), timeout_s=60)
        assert ray.get(handle.process_id.remote()) != first
        ray.kill(handle, no_restart=True)
    assert (result.num_delivered, result.num_waiting) == (25, 0)
    confirmed = {headers["webhook-id"] for headers, _ in receiver.requests}
    assert len(confirmed) == 25


def test_a_node_that_isn_t_there_is_told_before_the_work_and_waited_for_after_it(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = build_settings(tmp_path, node_resource="nowhere")
    with pytest.raises(ConfigError, match="node_resource='nowhere': no node of the cluster offers it"):
        check_node(settings)
    check_node(build_settings(tmp_path, node_resource=HEAD))
    monkeypatch.setattr(actor, "_TELL_AFTER_S", 0.5)
    monkeypatch.setattr(actor, "_GIVE_UP_S", 0.5)
    with pytest.raises(AlertError, match="they aren't kept: the node that offers 'nowhere'"):
        keep_on_cluster(settings, build_alerts(settings), timeout_s=1)
    assert "alerts: they aren't kept yet: waiting for the node that offers 'nowhere'" in caplog.text
    ray.kill(find_actor(settings), no_restart=True)


def test_settings_that_have_changed_are_followed_by_the_actor_that_is_there(local_ray: None, tmp_path: Path) -> None:
    settings = build_settings(tmp_path, node_resource=HEAD)
    keep_on_cluster(settings, build_alerts(settings, 1), timeout_s=60)
    other = FileSink(name="log", kind="file", path=str(tmp_path / "other.jsonl"))
    changed = build_settings(tmp_path, sinks=(other,), node_resource=HEAD)
    keep_on_cluster(changed, build_alerts(changed, 2), timeout_s=60)
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("log.jsonl", "other.jsonl")] == [1, 1]
    ray.kill(find_actor(changed), no_restart=True)


def test_an_answer_of_the_service_is_given_only_when_its_alert_is_kept(local_ray: None, tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "checkpoint"), side=SIDE)
    settings = build_settings(tmp_path)
    file, port = tmp_path / "alerts.json", free_port()
    file.write_text(json.dumps(asdict(settings)))
    url = f"http://127.0.0.1:{port}/v1/predict"
    start_service(checkpoint, address=Address(port=port), alerts=str(file))
    try:
        answers = [httpx.post(url, content=IMAGE, timeout=60) for _ in range(2)]
        assert {answer.json()["decision"] for answer in answers} <= {"refer", "unassessable"}
        with Outbox(settings.outbox) as outbox:
            (alert,) = outbox.statuses()
        assert alert.body["source"] == "service"
        assert keep_on_cluster(settings, [], timeout_s=60).num_delivered == 1
        for broken in tmp_path.glob("outbox.db*"):
            broken.unlink()
        Path(settings.outbox).mkdir()
        refused = httpx.post(url, content=IMAGE, timeout=60)
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:melanoma-ray:problem:alert-not-kept"
    finally:
        stop_service()
        ray.kill(find_actor(settings), no_restart=True)
