"""Mail over verified TLS, with a plain and an HTML part; the idempotency key is the Message-ID."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from melanoma_ray.alerts.credentials import read_secret
from melanoma_ray.alerts.outbox import Message
from melanoma_ray.alerts.settings import MailSink
from melanoma_ray.alerts.transport import build_tls, explain_tls
from melanoma_ray.api import NOTICE, SYNTHETIC_NOTICE, describe_share
from melanoma_ray.errors import SinkError
from melanoma_ray.wording import count

_TEMPLATES = Path(__file__).parent / "templates"
_REFUSED_FROM = 500
"""Replies of a mail server from here on are final (RFC 5321, 4.2.1); 4xx ask to try again."""


class MailServer:
    """Sends messages to one mail server, a connection each."""

    def __init__(self, settings: MailSink) -> None:
        """Read password and certificates once, so that a missing one is found before anything is sent.

        Raises:
            ConfigError: They can't be read.
        """
        self._settings = settings
        self._tls = build_tls(settings.name, settings.ca_file)
        self._password()

    def send(self, message: Message) -> str:
        """Send a mail; it is confirmed when the server has accepted it for every recipient."""
        settings = self._settings
        mail = build_mail(message, settings)
        with self._explained(), self._connect() as server:
            if settings.user is not None:
                server.login(settings.user, self._password())
            refused = server.send_message(mail, settings.sender, list(settings.recipients))
        if refused:
            names = ", ".join(sorted(refused))
            msg = f"{self._address}: took the mail, but not for {names}"
            raise SinkError(msg, is_refusal=True)
        return f"{self._address}: accepted for {len(settings.recipients)} of {len(settings.recipients)} recipients"

    def close(self) -> None:
        """Nothing stays open."""

    @property
    def _address(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _password(self) -> str:
        settings = self._settings
        return read_secret(settings.name, "password", settings.password_file, settings.password_env) or ""

    @contextmanager
    def _connect(self) -> Iterator[smtplib.SMTP]:
        settings = self._settings
        if settings.security == "tls":
            with smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=settings.timeout_s, context=self._tls
            ) as server:
                yield server
            return
        with smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s) as server:
            server.starttls(context=self._tls)
            yield server

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLError as error:
            raise explain_tls(self._address, error) from error
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            msg = f"{self._address}: refused every recipient ({', '.join(map(str, codes))})"
            raise SinkError(msg, is_refusal=min(codes) >= _REFUSED_FROM) from error
        except smtplib.SMTPResponseException as error:
            msg = f"{self._address}: answered {error.smtp_code} {_in_one_line(error.smtp_error)}"
            raise SinkError(msg, is_refusal=error.smtp_code >= _REFUSED_FROM) from error
        except smtplib.SMTPNotSupportedError as error:
            msg = f"{self._address}: {str(error).rstrip('.')}; nothing was sent"
            raise SinkError(msg, is_refusal=True) from error
        except (OSError, smtplib.SMTPException) as error:
            msg = f"{self._address}: can't be reached ({error or type(error).__name__})"
            raise SinkError(msg) from error


def build_mail(message: Message, settings: MailSink) -> EmailMessage:
    """Return the mail of a message: the subject has numbers only, since it is shown on locked screens."""
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"] = settings.sender
    mail["To"] = ", ".join(settings.recipients)
    mail["Subject"] = _subject(message)
    mail["Date"] = format_datetime(datetime.fromisoformat(message.alerts[-1]["created_at"]))
    mail["Message-ID"] = f"<{message.key}@{settings.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    context = {
        "subject": mail["Subject"],
        "alerts": [_to_show(alert, settings.time_zone) for alert in message.alerts],
        "notice": NOTICE,
        "synthetic_notice": SYNTHETIC_NOTICE if any(alert["is_synthetic"] for alert in message.alerts) else None,
    }
    mail.set_content(_templates().get_template("mail.txt").render(context))
    mail.add_alternative(_templates().get_template("mail.html").render(context), subtype="html")
    return mail


def _subject(message: Message) -> str:
    number = len(message.alerts)
    escalated = sum(bool(alert["is_escalation"]) for alert in message.alerts)
    what = count(number, "alert")
    late = "" if not escalated else f", {escalated} of them not acknowledged in time"
    return f"Skin lesions to look at: {what}{late}"


def _to_show(alert: Mapping[str, Any], time_zone: str) -> dict[str, Any]:
    zone = ZoneInfo(time_zone)
    times = {name: _show_time(alert[name], zone) for name in ("created_at", "acknowledge_by")}
    probability = alert["melanoma_probability"]
    share = "no usable figure" if probability is None else describe_share(probability)
    details = [
        ", ".join(f"{name} {value}" for name, value in one.items() if value is not None) for one in alert["details"]
    ]
    threshold = describe_share(alert["decision_threshold"])
    return {**alert, **times, "share": share, "threshold": threshold, "details": [one for one in details if one]}


def _show_time(text: str | None, zone: ZoneInfo) -> str | None:
    return None if text is None else f"{datetime.fromisoformat(text).astimezone(zone):%Y-%m-%d %H:%M %Z}"


@cache
def _templates() -> Environment:
    """Return jinja's environment, made at the first mail, so that importing this module reads no file."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _in_one_line(text: bytes | str) -> str:
    return " ".join((text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split())
