"""One alert, marked as a test, to every sink, past the outbox: what a clinic tries before it relies on alerts.

A FHIR server is only asked what it can do: nothing that isn't a patient's belongs into a record.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing

from melanoma_ray.alerts.fhir_server import FhirServer
from melanoma_ray.alerts.outbox import Message
from melanoma_ray.alerts.rules import as_iso
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.alerts.sinks import Sink, build_sink
from melanoma_ray.api import NOTICE
from melanoma_ray.errors import SinkError


def send_trial(settings: AlertSettings, now: float, tell: Callable[[str], object]) -> int:
    """Send a test to each sink and return how many didn't confirm it.

    Args:
        settings: Settings of the alerts.
        now: Time, seconds since 1970.
        tell: Gets a line for each sink.

    Raises:
        ConfigError: A secret or a certificate can't be read.
    """
    num_failed = 0
    for sink_settings in settings.sinks:
        with closing(build_sink(sink_settings)) as sink:
            try:
                tell(f"{sink_settings.name}: confirmed: {_try(sink, sink_settings.name, now)}")
            except SinkError as error:
                num_failed += 1
                tell(f"{sink_settings.name}: NOT confirmed: {error}")
    return num_failed


def _try(sink: Sink, name: str, now: float) -> str:
    return sink.probe() if isinstance(sink, FhirServer) else sink.send(_build_message(name, now))


def _build_message(sink: str, now: float) -> Message:
    key = uuid.uuid4().hex
    body: dict[str, object] = {
        "alert_id": key,
        "rule": "test",
        "reason": "test",
        "reason_text": "This is a test of the alerts: there is nothing to look at",
        "created_at": as_iso(now),
        "acknowledge_by": None,
        "is_urgent": False,
        "melanoma_probability": None,
        "probabilities": {},
        "decision": None,
        "decision_threshold": 1.0,
        "referred_for": "melanoma",
        "num_images": 0,
        "patient_rank": None,
        "source": "test",
        "worklist": None,
        "checkpoint_id": "test",
        "is_synthetic": True,
        "notice": NOTICE,
        "details": [],
        "is_escalation": False,
    }
    return Message(key=key, sink=sink, alerts=(body,))
