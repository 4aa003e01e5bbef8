"""Alerts about the service's answers: each is on the outbox's disk before the client gets its answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import asdict

from ray.exceptions import RayError

from melanoma_ray.alerts.actor import find_actor
from melanoma_ray.alerts.rules import Answer, Origin, make_alerts
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.api import Prediction
from melanoma_ray.errors import AlertError
from melanoma_ray.serving.problems import ProblemError
from melanoma_ray.serving.upload import Patient, Upload

logger = logging.getLogger(__name__)

_KEEP_S = 10.0
"""Longest time to wait until the outbox has an alert, seconds: enough for its actor to restart."""


class Alarm:
    """Gives the alerts about a replica's answers to the actor of the outbox."""

    def __init__(self, settings: AlertSettings) -> None:
        """Find the actor, or start it.

        Raises:
            ConfigError: The cluster has several nodes, and the settings don't say which has the outbox's disk.
        """
        self._settings = settings
        self._actor = find_actor(settings)

    async def hear(self, prediction: Prediction, upload: Upload, patient: Patient) -> None:
        """Keep the alerts about an answer; the same image sent again makes none twice.

        Raises:
            ProblemError: They can't be kept, so the client must not get the answer: it tries again.
        """
        origin = Origin(
            source="service",
            checkpoint_id=prediction.checkpoint_id,
            decision_threshold=prediction.decision_threshold,
            referred_for=prediction.referred_for,
            is_synthetic=prediction.is_synthetic,
        )
        answer = Answer(
            image_id=upload.image_id,
            path=None,
            melanoma_probability=prediction.melanoma_probability,
            decision=prediction.decision,
            error=prediction.error,
            probabilities=prediction.probabilities,
            **asdict(patient),
        )
        content = hashlib.sha256(upload.encoded).hexdigest()
        alerts = make_alerts(
            self._settings, [answer], origin, now=time.time(), fingerprint=lambda one: f"{one.image_id} {content}"
        )
        if not alerts:
            return
        try:
            await asyncio.wait_for(self._actor.record.remote(alerts, self._settings), _KEEP_S)
        except (TimeoutError, RayError, AlertError) as error:
            logger.exception("an alert can't be kept: its request is answered with 503")
            detail = "this answer makes an alert, which can't be kept now; send the image again"
            raise ProblemError("alert-not-kept", detail) from error
