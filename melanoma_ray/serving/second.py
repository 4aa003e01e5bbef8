"""A second model beside the one that is served: a canary that answers a share, or a shadow that nobody hears of."""

from __future__ import annotations

import contextvars
import hashlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from jaxtyping import Float32

from melanoma_ray.api import Prediction
from melanoma_ray.errors import CheckpointError
from melanoma_ray.serving.logs import SHADOW
from melanoma_ray.serving.metrics import meter
from melanoma_ray.serving.model import ServedModel

_MAX_PENDING = 4
"""Most images that wait for the shadow, each with its bytes in memory. It has one thread, so under load it leaves
images out rather than take what callers wait for."""
logger = logging.getLogger(SHADOW)


def load_second(role: Literal["canary", "shadow"], checkpoint: str | None, max_image_bytes: int) -> ServedModel | None:
    """Return the second model; none: there is none, or it can't be loaded, which mustn't keep the first from answering.

    Args:
        role: What it is there for.
        checkpoint: Where it lies; none: there is none.
        max_image_bytes: Largest encoded image that the service accepts, bytes.
    """
    if checkpoint is None:
        return None
    try:
        return ServedModel(checkpoint, max_image_bytes)
    except CheckpointError as error:  # it was whole when the service was told of it, and this replica starts later
        logger.error("the %s can't be loaded, so the service answers without it: %s", role, error)  # noqa: TRY400 - said
        meter().count("melanoma_second_model_lost", {"role": role})
        return None


def is_of_canary(encoded: bytes, fraction: float) -> bool:
    """Return whether the canary answers for an image; for the same bytes that is always the same.

    Args:
        encoded: The image as it was sent.
        fraction: Share of all images that the canary answers, in (0, 1).
    """
    return int.from_bytes(hashlib.sha256(encoded).digest()[:8], "big") < fraction * 2**64


class Shadow:
    """Scores images after they were answered, and tells the log and the metrics where it would have said else."""

    def __init__(self, model: ServedModel) -> None:
        """Have a model as the shadow; all models of a service have the same diagnoses."""
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._places = threading.BoundedSemaphore(_MAX_PENDING)

    def hear(self, encoded: bytes, metadata: Float32[np.ndarray, " feature"], told: Prediction) -> None:
        """Score an image soon, or leave it out if others wait; returns at once.

        Args:
            encoded: The image as it was sent.
            metadata: What is known of the patient.
            told: What the caller was told.
        """
        if not self._places.acquire(blocking=False):
            self._count(told, "skipped")
            return
        context = contextvars.copy_context()  # with the request's id, for the log
        self._thread.submit(context.run, self._compare, encoded, metadata, told)

    def _compare(self, encoded: bytes, metadata: Float32[np.ndarray, " feature"], told: Prediction) -> None:
        """Score an image. It may catch every exception: a shadow must not end the thread, nor be missed in silence."""
        try:
            pixels = self._model.decode(encoded)
            (own,) = self._model.predict(pixels[None], metadata[None], is_alone=False)
        except Exception:
            logger.exception("the shadow has no answer")
            self._count(told, "failed")
            return
        finally:
            self._places.release()
        self._count(told, own.decision)
        if told.melanoma_probability is not None and own.melanoma_probability is not None:
            difference = abs(own.melanoma_probability - told.melanoma_probability)
            labels = {"shadow_checkpoint": own.checkpoint_id}
            meter().observe("melanoma_shadow_difference", difference, labels)
        if own.decision != told.decision:
            logger.info("the shadow decides otherwise", extra={"told": _describe(told), "shadow": _describe(own)})

    def _count(self, told: Prediction, decision: str) -> None:
        labels = {
            "decision": told.decision,
            "shadow_decision": decision,
            "shadow_checkpoint": self._model.card.checkpoint_id,
        }
        meter().count("melanoma_shadow_decisions", labels)


def _describe(prediction: Prediction) -> dict[str, object]:
    names = ("checkpoint_id", "decision", "melanoma_probability", "decision_threshold")
    return {name: getattr(prediction, name) for name in names}
