"""Webhooks against a real HTTP server: signed, retried, never said to be delivered without a 2xx."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from melanoma_ray.alerts.dispatcher import send_pending
from melanoma_ray.alerts.outbox import DeliveryStatus, Outbox
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.alerts.sinks import check_sinks
from melanoma_ray.errors import ConfigError
from tests.unit.alerts.certificates import Authority
from tests.unit.alerts.samples import SECRET, build_alerts, build_settings, build_webhook
from tests.unit.alerts.servers import Receiver, serve_http


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serve_http() as one:
        yield one


def send(settings: AlertSettings, number: int = 1, *, timeout_s: float = 20) -> list[DeliveryStatus]:
    """Record alerts, send what waits, and return where the deliveries stand."""
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, number, now=time.time()))
        send_pending(settings, timeout_s=timeout_s)
        return [delivery for one in outbox.statuses() for delivery in one.deliveries]


def read_verification_code() -> str:
    """Return the code that docs/alerts.md gives to whoever writes a receiver."""
    page = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
    return page.split("```python\n")[1].split("```")[0]


def test_a_receiver_verifies_a_message_with_the_code_of_the_documentation(receiver: Receiver, tmp_path: Path) -> None:
    send(build_settings(tmp_path, build_webhook(tmp_path, receiver.url)))
    ((headers, body),) = receiver.requests
    namespace: dict[str, object] = {}
    exec(read_verification_code(), namespace)
    verify = namespace["verify"]
    assert callable(verify)
    sent_at = int(headers["webhook-timestamp"])
    assert verify(headers, body, SECRET, now=sent_at + 299)
    assert not verify(headers, body, SECRET, now=sent_at + 301), "a replay after the window"
    assert not verify(headers, body, SECRET, now=sent_at - 301)
    assert not verify(headers, body.replace(b"0.75", b"0.05"), SECRET, now=sent_at)
    assert not verify(headers | {"webhook-id": "other"}, body, SECRET, now=sent_at)
    assert not verify(headers | {"webhook-timestamp": str(sent_at + 200)}, body, SECRET, now=sent_at)
    assert not verify(headers, body, "whsec_" + base64.b64encode(b"x" * 32).decode(), now=sent_at)


def test_while_a_secret_is_changed_a_message_is_signed_by_both(receiver: Receiver, tmp_path: Path) -> None:
    sink = build_webhook(tmp_path, receiver.url)
    new = b"another key of thirty-two bytes."
    (tmp_path / "secret").write_text(f"whsec_{base64.b64encode(new).decode()}\n{SECRET}\n")
    send(build_settings(tmp_path, sink))
    ((headers, body),) = receiver.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = [
        "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        for key in (new, base64.b64decode(SECRET.removeprefix("whsec_")))
    ]
    assert headers["webhook-signature"].split(" ") == expected


def test_a_message_has_no_identifier_of_a_person_and_no_image(receiver: Receiver, tmp_path: Path) -> None:
    send(build_settings(tmp_path, build_webhook(tmp_path, receiver.url)))
    ((_, body),) = receiver.requests
    for secret in (b"DOE", b"images/0", b'"P0"', b"61.5", b"female", b"torso"):
        assert secret not in body
    (alert,) = json.loads(body)["data"]["alerts"]
    assert (alert["melanoma_probability"], alert["decision_threshold"], alert["decision"]) == (0.75, 0.2, "refer")


def test_a_server_that_fails_hangs_and_recovers_gets_the_message_under_one_key(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script = [500, "hang", 503, "drop", 429]
    (delivery,) = send(build_settings(tmp_path, build_webhook(tmp_path, receiver.url, timeout_s=0.3)))
    assert (delivery.state, delivery.num_attempts) == ("delivered", 6)
    assert {headers["webhook-id"] for headers, _ in receiver.requests} == {delivery.key}
    assert len({body for _, body in receiver.requests}) == 1


def test_nothing_is_called_delivered_while_the_server_hangs(receiver: Receiver, tmp_path: Path) -> None:
    receiver.otherwise = "hang"
    settings = build_settings(tmp_path, build_webhook(tmp_path, receiver.url, timeout_s=0.2))
    (delivery,) = send(settings, timeout_s=1)
    assert delivery.state == "waiting"
    assert "/alerts" not in (delivery.outcome or ""), "a webhook's path may be its secret"
    assert "no answer in time" in (delivery.outcome or "")


@pytest.mark.parametrize(
    ("status", "says"),
    [(400, "answered 400 Bad Request"), (404, "answered 404 Not Found"), (410, "410 Gone"), (302, "its final address")],
)
def test_a_server_that_refuses_for_ever_makes_a_dead_letter_with_one_clear_line(
    receiver: Receiver, tmp_path: Path, status: int, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.otherwise = status
    receiver.headers = {"location": "http://127.0.0.1:1/"} if status == 302 else {}
    settings = build_settings(tmp_path, build_webhook(tmp_path, receiver.url, max_refusals=3))
    (delivery,) = send(settings)
    assert (delivery.state, delivery.num_attempts) == ("dead", 3)
    assert says in (delivery.outcome or "")
    assert [one.message for one in caplog.records if "dead letter" in one.message] == [
        f"alerts: dead letter for sink hook, 1 alert: {delivery.outcome}"
    ]
    receiver.otherwise, receiver.headers = 200, {}
    with Outbox(settings.outbox) as outbox:
        (alert,) = outbox.statuses()
        assert outbox.resend([alert.alert_id], time.time()) == 1
        result = send_pending(settings, timeout_s=20)
    assert (result.num_delivered, result.num_dead) == (1, 0), "nothing was lost"
    assert {headers["webhook-id"] for headers, _ in receiver.requests} == {delivery.key}


def test_a_message_that_is_refused_delays_no_other(receiver: Receiver, tmp_path: Path) -> None:
    receiver.script = [400]
    deliveries = send(build_settings(tmp_path, build_webhook(tmp_path, receiver.url, max_refusals=1)), number=3)
    assert sorted(one.state for one in deliveries) == ["dead", "delivered", "delivered"]


@pytest.mark.parametrize("asked", ["3600", formatdate(time.time() + 3600, usegmt=True)], ids=["seconds", "a date"])
def test_a_server_that_asks_to_wait_is_left_alone_for_that_time(receiver: Receiver, tmp_path: Path, asked: str) -> None:
    receiver.otherwise, receiver.headers = 429, {"retry-after": asked}
    (delivery,) = send(build_settings(tmp_path, build_webhook(tmp_path, receiver.url)), timeout_s=1)
    assert (delivery.state, delivery.num_attempts) == ("waiting", 1)


def test_a_certificate_of_a_trusted_authority_is_accepted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serve_http(authority.server_context("127.0.0.1")) as receiver:
        (delivery,) = send(build_settings(tmp_path, build_webhook(tmp_path, receiver.url, ca_file=authority.file)))
    assert delivery.state == "delivered"


def test_a_certificate_for_another_name_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serve_http(authority.server_context("other.example")) as receiver:
        sink = build_webhook(tmp_path, receiver.url, ca_file=authority.file, max_refusals=2)
        (delivery,) = send(build_settings(tmp_path, sink))
    assert delivery.state == "dead"
    assert "its certificate isn't accepted: IP address mismatch" in (delivery.outcome or "")
    assert "\n" not in (delivery.outcome or "")
    assert receiver.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    with serve_http(Authority(tmp_path).server_context("127.0.0.1")) as receiver:
        (delivery,) = send(build_settings(tmp_path, build_webhook(tmp_path, receiver.url, max_refusals=1)))
    assert delivery.state == "dead"
    assert "its certificate isn't accepted" in (delivery.outcome or "")
    assert receiver.requests == []


@pytest.mark.parametrize("secret", ["hunter2", "whsec_c2hvcnQ=", "whsec_!!!!"])
def test_a_secret_that_can_t_be_one_is_refused_without_showing_it(tmp_path: Path, secret: str) -> None:
    sink = build_webhook(tmp_path, "https://clinic.example/alerts")
    (tmp_path / "secret").write_text(secret)
    with pytest.raises(ConfigError, match="its secret isn't whsec_ and the Base64 of 24 to 64 bytes") as caught:
        check_sinks(build_settings(tmp_path, sink))
    assert secret not in str(caught.value)
