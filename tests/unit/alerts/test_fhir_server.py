"""Alerts in a FHIR server that checks every resource and answers transactions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from melanoma_ray.alerts.dispatcher import send_pending
from melanoma_ray.alerts.fhir_server import FhirServer
from melanoma_ray.alerts.outbox import DeliveryStatus, Outbox
from melanoma_ray.alerts.rules import Alert
from melanoma_ray.alerts.settings import AlertSettings, FhirSink, Rule
from melanoma_ray.errors import SinkError
from tests.unit.alerts.samples import FAST, build_alerts, build_settings
from tests.unit.alerts.servers import FhirStore, serve_fhir, serve_http

KINDS = ("Device", "Observation", "DiagnosticReport", "Communication", "Provenance")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FhirStore]:
    monkeypatch.setenv("FHIR_TOKEN", "a token")
    with serve_fhir("a token") as one:
        yield one


def build(folder: Path, url: str, **changes: Any) -> AlertSettings:  # noqa: ANN401
    values: dict[str, Any] = {
        "name": "record",
        "kind": "fhir",
        "url": url,
        "token_env": "FHIR_TOKEN",
        "patient_system": "urn:oid:1.2.3",
        "max_refusals": 1,
    }
    return build_settings(folder, FhirSink(**values | FAST), **changes)


def send(settings: AlertSettings, alerts: list[Alert]) -> list[DeliveryStatus]:
    with Outbox(settings.outbox) as outbox:
        outbox.record(alerts)
        send_pending(settings, timeout_s=20)
        return [delivery for one in outbox.statuses() for delivery in one.deliveries]


def test_an_alert_is_five_valid_resources_that_lead_to_each_other(store: FhirStore, tmp_path: Path) -> None:
    settings = build(tmp_path, store.url)
    (delivery,) = send(settings, build_alerts(settings, now=time.time()))
    assert delivery.state == "delivered"
    assert "5 of 5 resources are there" in (delivery.outcome or "")
    assert sorted(name.split("/")[0] for name in store.resources) == sorted(KINDS)
    (observation,), (report,), (communication,) = map(store.of_kind, KINDS[1:4])
    assert observation["valueQuantity"]["value"] == 0.75
    assert observation["component"][0]["valueQuantity"]["value"] == 0.2
    by_diagnosis = {one["code"]["text"]: one["valueQuantity"]["value"] for one in observation["component"][2:]}
    assert by_diagnosis == {"Probability of melanoma": 0.75, "Probability of nevus": 0.25}
    assert store.resources[report["result"][0]["reference"]]["id"] == observation["id"]
    assert store.resources[communication["about"][0]["reference"]]["id"] == report["id"]
    assert store.resources[observation["device"]["reference"]]["version"] == [{"value": "0123456789ab"}]
    assert "not a medical device" in report["conclusion"]


def test_every_statement_is_tagged_as_asserted_by_ai(store: FhirStore, tmp_path: Path) -> None:
    settings = build(tmp_path, store.url)
    send(settings, build_alerts(settings, now=time.time()))
    for kind in ("Observation", "DiagnosticReport", "Communication"):
        (resource,) = store.of_kind(kind)
        assert [one["code"] for one in resource["meta"]["security"]] == ["AIAST"]
    (provenance,), (device,) = store.of_kind("Provenance"), store.of_kind("Device")
    assert device["type"]["coding"][0]["code"] == "Artificial-Intelligence"
    assert provenance["agent"][0]["who"]["reference"] == f"Device/{device['id']}"


def test_sent_twice_nothing_is_there_twice(store: FhirStore, tmp_path: Path) -> None:
    settings = build(tmp_path, store.url)
    alerts = build_alerts(settings, 3, now=time.time())
    send(settings, alerts)
    before = dict(store.resources)
    with Outbox(settings.outbox) as outbox:
        assert outbox.resend([one.alert_id for one in alerts], time.time()) == 3
    deliveries = send(settings, [])
    assert store.num_transactions == 6
    assert store.resources.keys() == before.keys()
    assert len(store.of_kind("Device")) == 1, "one checkpoint is one Device"
    assert {one.state for one in deliveries} == {"delivered"}


def test_an_escalation_is_a_second_communication_about_the_same_report(store: FhirStore, tmp_path: Path) -> None:
    rule = Rule(name="melanoma", sinks=("record",), acknowledge_within_minutes=1, escalate_to=("record",))
    settings = build(tmp_path, store.url, rules=(rule,))
    send(settings, build_alerts(settings, now=time.time()))
    with Outbox(settings.outbox) as outbox:
        outbox.escalate(time.time() + 61)
    send(settings, [])
    assert [len(store.of_kind(kind)) for kind in KINDS] == [1, 1, 1, 2, 1]
    first, second = store.of_kind("Communication")
    assert first["about"] == second["about"]
    assert (first["priority"], second["priority"]) == ("routine", "urgent")


def test_nothing_is_said_of_the_patient_unless_it_is_asked_for(store: FhirStore, tmp_path: Path) -> None:
    settings = build(tmp_path, store.url)
    send(settings, build_alerts(settings, now=time.time()))
    assert "subject" not in store.of_kind("Observation")[0]
    assert "P0" not in str(store.resources)
    named = build(tmp_path / "named", store.url, details=("patient_id",))
    (tmp_path / "named").mkdir()
    store.resources.clear()
    send(named, build_alerts(named, now=time.time()))
    for kind in ("Observation", "DiagnosticReport", "Communication"):
        assert store.of_kind(kind)[0]["subject"]["identifier"] == {"system": "urn:oid:1.2.3", "value": "P0"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"melanoma_probability": float("nan")}, "not-a-number"),
        ({"melanoma_probability": None, "decision": None, "error": "truncated"}, "error"),
    ],
)
def test_an_alert_without_a_probability_says_why(
    store: FhirStore, tmp_path: Path, answer: dict[str, Any], why: str
) -> None:
    settings = build(tmp_path, store.url)
    send(settings, build_alerts(settings, now=time.time(), **answer))
    (observation,) = store.of_kind("Observation")
    assert "valueQuantity" not in observation
    assert observation["dataAbsentReason"]["coding"][0]["code"] == why


def test_a_wrong_token_is_a_dead_letter_with_one_clear_line(
    store: FhirStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FHIR_TOKEN", "wr0ng")
    settings = build(tmp_path, store.url)
    (delivery,) = send(settings, build_alerts(settings, now=time.time()))
    assert delivery.state == "dead"
    assert "answered 401" in (delivery.outcome or "")
    assert "wr0ng" not in (delivery.outcome or "")


def test_a_2xx_that_is_no_answer_to_a_transaction_confirms_nothing(tmp_path: Path, store: FhirStore) -> None:
    with serve_http() as proxy:
        settings = build(tmp_path, proxy.url)
        (delivery,) = send(settings, build_alerts(settings, now=time.time()))
    assert delivery.state == "dead"
    assert "isn't a FHIR server's answer to a transaction" in (delivery.outcome or "")


def test_a_server_of_another_version_is_told_before_it_gets_anything(store: FhirStore, tmp_path: Path) -> None:
    (sink,) = build(tmp_path, store.url).sinks
    assert isinstance(sink, FhirSink)
    server = FhirServer(sink)
    assert "FHIR 4.0.1; nothing was made in it" in server.probe()
    store.version = "5.0.0"
    with pytest.raises(SinkError, match=r"says 5\.0\.0; expected FHIR 4\.0"):
        server.probe()
    server.close()
    assert store.resources == {}
