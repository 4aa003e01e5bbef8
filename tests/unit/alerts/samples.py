"""Settings, answers and alerts for the tests of this room."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from melanoma_ray.alerts.rules import Alert, Answer, Origin, make_alerts
from melanoma_ray.alerts.settings import AlertSettings, AnySink, FileSink, Rule, WebhookSink

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, so ok").decode()
NOW = 1_800_000_000.0
ORIGIN = Origin(
    source="batch", checkpoint_id="0123456789ab", decision_threshold=0.2, referred_for="melanoma", is_synthetic=False
)
FAST: dict[str, Any] = {"retry_first_s": 0.05, "retry_longest_s": 0.3, "timeout_s": 1.0}
"""Retries for tests."""


def build_answer(**changes: Any) -> Answer:  # noqa: ANN401
    values: dict[str, Any] = {
        "image_id": "DOE_JANE_1",
        "path": "/images/DOE_JANE_1.jpg",
        "melanoma_probability": 0.75,
        "decision": "refer",
        "probabilities": {"melanoma": 0.75, "nevus": 0.25},
        "patient_id": "MRN-4711",
        "age": 61.5,
        "sex": "female",
        "site": "torso",
    }
    return Answer(**values | changes)


def build_settings(
    folder: Path,
    *sinks: AnySink,
    rules: tuple[Rule, ...] | None = None,
    **changes: Any,  # noqa: ANN401
) -> AlertSettings:
    chosen = sinks or (FileSink(name="log", kind="file", path=str(folder / "alerts.jsonl")),)
    by_default = (Rule(name="melanoma", sinks=tuple(one.name for one in chosen)),)
    return AlertSettings(outbox=str(folder / "outbox.db"), rules=rules or by_default, sinks=chosen, **changes)


def build_webhook(folder: Path, url: str, **changes: Any) -> WebhookSink:  # noqa: ANN401
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    return WebhookSink(**{"name": "hook", "kind": "webhook", "url": url, "secret_file": str(secret)} | FAST | changes)


def build_alerts(settings: AlertSettings, number: int = 1, *, now: float = NOW, **changes: Any) -> list[Alert]:  # noqa: ANN401
    """Return alerts about images of as many patients."""
    answers = [
        build_answer(path=f"/images/{one}.jpg", image_id=str(one), patient_id=f"P{one}", **changes)
        for one in range(number)
    ]
    return make_alerts(settings, answers, ORIGIN, now=now, fingerprint=lambda answer: str(answer.path))
