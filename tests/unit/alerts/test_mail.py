"""Mail against a real server with TLS and a throw-away authority."""

from __future__ import annotations

import socket
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from melanoma_ray.alerts.dispatcher import send_pending
from melanoma_ray.alerts.outbox import DeliveryStatus, Outbox
from melanoma_ray.alerts.rules import Answer
from melanoma_ray.alerts.settings import MailSink
from tests.unit.alerts.certificates import Authority
from tests.unit.alerts.samples import FAST, build_alerts, build_settings
from tests.unit.alerts.servers import Mailbox, serve_mail


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def build_sink(mailbox: Mailbox, authority: Authority, **changes: Any) -> MailSink:  # noqa: ANN401
    values: dict[str, Any] = {
        "name": "team",
        "kind": "mail",
        "host": "127.0.0.1",
        "port": mailbox.port,
        "sender": "alerts@clinic.example",
        "recipients": ("team@clinic.example", "chief@clinic.example"),
        "ca_file": authority.file,
    }
    return MailSink(**values | FAST | changes)


def send(folder: Path, sink: MailSink, number: int = 1, **changes: Any) -> list[DeliveryStatus]:  # noqa: ANN401
    settings = build_settings(folder, sink)
    with Outbox(settings.outbox) as outbox:
        outbox.record(build_alerts(settings, number, now=time.time(), **changes))
        send_pending(settings, timeout_s=20)
        return [delivery for one in outbox.statuses() for delivery in one.deliveries]


def parse(mail: bytes) -> EmailMessage:
    found = message_from_bytes(mail, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert isinstance(body, EmailMessage)
    return str(body.get_content())


def test_a_batch_is_one_mail_with_a_plain_and_an_html_part(authority: Authority, tmp_path: Path) -> None:
    with serve_mail(authority.server_context("127.0.0.1")) as mailbox:
        deliveries = send(tmp_path, build_sink(mailbox, authority), number=7)
    (raw,) = mailbox.mails
    mail = parse(raw)
    assert mail["Subject"] == "Skin lesions to look at: 7 alerts"
    assert mail["To"] == "team@clinic.example, chief@clinic.example"
    assert {one.state for one in deliveries} == {"delivered"}
    assert {f"<{one.key}@clinic.example>" for one in deliveries} == {mail["Message-ID"]}
    for kind in ("plain", "html"):
        assert part(mail, kind).count("Refer to a dermatologist") == 7
        assert "75.0 %" in part(mail, kind)
        assert "not a medical device" in part(mail, kind)
    assert mail.get_content_type() == "multipart/alternative"


def test_a_mail_has_no_identifier_of_a_person(authority: Authority, tmp_path: Path) -> None:
    with serve_mail(authority.server_context("127.0.0.1")) as mailbox:
        send(tmp_path, build_sink(mailbox, authority))
    mail = parse(mailbox.mails[0])
    text = part(mail, "plain") + part(mail, "html") + str(mail["Subject"])
    assert not [word for word in ("/images/", "P0", "female", "torso", "61.5") if word in text]


def test_a_server_may_speak_tls_from_the_start(authority: Authority, tmp_path: Path) -> None:
    with serve_mail(authority.server_context("127.0.0.1"), from_the_start=True) as mailbox:
        (delivery,) = send(tmp_path, build_sink(mailbox, authority, security="tls"))
    assert (delivery.state, len(mailbox.mails)) == ("delivered", 1)


def test_a_server_that_hangs_and_then_works_gets_the_mail(authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never says a word
        hanging = Mailbox()
        hanging.port = silent.getsockname()[1]
        settings = build_settings(tmp_path, build_sink(hanging, authority, timeout_s=0.2))
        with Outbox(settings.outbox) as outbox:
            outbox.record(build_alerts(settings, now=time.time()))
            assert send_pending(settings, timeout_s=1).num_waiting == 1
            assert "timed out" in (outbox.statuses()[0].deliveries[0].outcome or "")
    with serve_mail(authority.server_context("127.0.0.1")) as mailbox:
        assert send_pending(build_settings(tmp_path, build_sink(mailbox, authority)), timeout_s=20).num_delivered == 1
    assert len(mailbox.mails) == 1


def test_a_login_is_made_over_tls_with_the_password_of_a_file(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("right\n")
    with serve_mail(authority.server_context("127.0.0.1"), needs_login=True) as mailbox:
        sink = build_sink(mailbox, authority, user="alerts", password_file=str(tmp_path / "password"))
        (delivery,) = send(tmp_path, sink)
    assert delivery.state == "delivered"
    assert len(mailbox.mails) == 1


def test_a_wrong_password_is_one_clear_line_that_doesn_t_show_it(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wr0ng-one")
    with serve_mail(authority.server_context("127.0.0.1"), needs_login=True) as mailbox:
        sink = build_sink(mailbox, authority, user="alerts", password_file=str(tmp_path / "password"), max_refusals=1)
        (delivery,) = send(tmp_path, sink)
    assert delivery.state == "dead"
    assert "answered 535" in (delivery.outcome or "")
    assert "wr0ng" not in (delivery.outcome or "")


def test_a_server_that_asks_to_come_back_gets_the_mail_later_under_one_key(
    authority: Authority, tmp_path: Path
) -> None:
    with serve_mail(authority.server_context("127.0.0.1")) as mailbox:
        mailbox.script = ["451 try again later", "421 going down"]
        (delivery,) = send(tmp_path, build_sink(mailbox, authority))
    assert (delivery.state, delivery.num_attempts, len(mailbox.mails)) == ("delivered", 3, 1)


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ({"chief@clinic.example": "550 no such user"}, "took the mail, but not for chief@clinic.example"),
        ({"chief@clinic.example": "550 no", "team@clinic.example": "550 no"}, "refused every recipient (550, 550)"),
    ],
)
def test_a_mail_that_a_recipient_can_t_get_is_not_delivered(
    authority: Authority, tmp_path: Path, refused: dict[str, str], says: str
) -> None:
    with serve_mail(authority.server_context("127.0.0.1")) as mailbox:
        mailbox.refused = refused
        (delivery,) = send(tmp_path, build_sink(mailbox, authority, max_refusals=2))
    assert delivery.state == "dead"
    assert says in (delivery.outcome or "")


def test_a_certificate_for_another_name_is_refused_and_nothing_is_sent(authority: Authority, tmp_path: Path) -> None:
    with serve_mail(authority.server_context("mail.other.example")) as mailbox:
        (delivery,) = send(tmp_path, build_sink(mailbox, authority, max_refusals=1))
    assert delivery.state == "dead"
    assert "its certificate isn't accepted: IP address mismatch" in (delivery.outcome or "")
    assert mailbox.mails == []


def test_a_server_without_tls_gets_nothing(authority: Authority, tmp_path: Path) -> None:
    with serve_mail(None) as mailbox:
        (delivery,) = send(tmp_path, build_sink(mailbox, authority, max_refusals=1))
    assert delivery.state == "dead"
    assert "STARTTLS extension not supported by server; nothing was sent" in (delivery.outcome or "")
    assert mailbox.mails == []


def test_what_comes_from_outside_is_text_and_no_html(authority: Authority, tmp_path: Path) -> None:
    with serve_mail(authority.server_context("127.0.0.1")) as mailbox:
        settings = build_settings(tmp_path, build_sink(mailbox, authority), details=("lesion_id",))
        with Outbox(settings.outbox) as outbox:
            outbox.record(build_alerts(settings, 1, now=time.time(), lesion_id="<script>alert(1)</script>"))
        send_pending(settings, timeout_s=20)
    html = part(parse(mailbox.mails[0]), "html")
    assert "&lt;script&gt;" in html
    assert "<script" not in html


def test_an_image_that_can_t_be_read_is_told_without_a_figure(authority: Authority, tmp_path: Path) -> None:
    answer: dict[str, Any] = {"melanoma_probability": None, "decision": None, "error": "truncated: /images/DOE.jpg"}
    with serve_mail(authority.server_context("127.0.0.1")) as mailbox:
        send(tmp_path, build_sink(mailbox, authority), **answer)
    text = part(parse(mailbox.mails[0]), "plain")
    assert "The image can't be read: a person must look" in text
    assert "no usable figure" in text
    assert "DOE" not in text
    assert Answer(image_id=None, path=None, **answer).reason == "unreadable"
