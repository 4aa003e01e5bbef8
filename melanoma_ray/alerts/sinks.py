"""What a sink is, and how one is built from its settings."""

from __future__ import annotations

from typing import Protocol

from melanoma_ray.alerts.fhir_server import FhirServer
from melanoma_ray.alerts.lines import LineFile
from melanoma_ray.alerts.mail import MailServer
from melanoma_ray.alerts.outbox import Message, Outbox
from melanoma_ray.alerts.settings import AlertSettings, AnySink, FhirSink, FileSink, MailSink, read_settings
from melanoma_ray.alerts.webhook import Webhook


class Sink(Protocol):
    """Somewhere that messages go. One thread uses it."""

    def send(self, message: Message) -> str:
        """Send a message and return what the sink confirmed it with; without a confirmation it raises.

        Raises:
            SinkError: The sink didn't confirm that it has the message.
            ConfigError: A secret can't be read.
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def build_sink(settings: AnySink) -> Sink:
    """Return a sink; nothing is sent.

    Raises:
        ConfigError: A secret or a certificate can't be read.
    """
    if isinstance(settings, FileSink):
        return LineFile(settings)
    if isinstance(settings, MailSink):
        return MailServer(settings)
    if isinstance(settings, FhirSink):
        return FhirServer(settings)
    return Webhook(settings)


def read_checked_settings(path: str) -> AlertSettings:
    """Return the settings in a file, when everything that they name can be used; nothing is sent.

    Raises:
        ConfigError: A setting, a secret or a certificate can't be used.
        AlertError: The outbox can't be used.
    """
    settings = read_settings(path)
    check_sinks(settings)
    if settings.node_resource is None:  # else it is another machine's disk
        Outbox(settings.outbox).close()
    return settings


def check_sinks(settings: AlertSettings) -> None:
    """Check that each sink's secrets and certificates can be read, before work that takes long is started.

    Raises:
        ConfigError: One can't.
    """
    for one in settings.sinks:
        build_sink(one).close()
