"""What the service writes into its audit log about each answer, before the answer is given."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from melanoma_ray.access.audit_log import AuditLog
from melanoma_ray.api import Prediction
from melanoma_ray.errors import StorageError
from melanoma_ray.inference.measures import DECIMALS
from melanoma_ray.serving.facts import current_facts
from melanoma_ray.serving.problems import ProblemError

logger = logging.getLogger(__name__)

Event = Literal["predict", "explain"]
"""What was asked for: a prediction; or an explanation, as a picture alone or with the prediction."""
_COPIED = (
    "checkpoint_id",
    "probabilities",
    "melanoma_probability",
    "decision_threshold",
    "decision",
    "out_of_distribution_score",
    "warnings",
    "error",
)
"""Fields of a prediction that are kept as they are."""
_NOT_KEPT = (
    "each answer must be written into the audit log, which can't be done now: the service's own log says why; send the "
    "image again when that is mended"
)


def keep(
    log: AuditLog,
    event: Event,
    encoded: bytes,
    told: Prediction | str,
    appearance: list[float] | None = None,
) -> None:
    """Write down an answer to the request that this task answers.

    Args:
        log: The audit log.
        event: What was asked for.
        encoded: The image as it was sent, of which only the SHA-256 is kept.
        told: The prediction; or, of an explanation without one, the id of the checkpoint.
        appearance: Measurements of the crop (``imaging/appearance.py``), for ``jobs.drift``; none: not measured.

    Raises:
        ProblemError: It can't be written, so the client must not get the answer: it tries again.
    """
    facts = current_facts()
    record: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "request_id": facts.request_id,
        "caller_id": facts.caller_id,
        "image_sha256": hashlib.sha256(encoded).hexdigest(),
    }
    record |= {"checkpoint_id": told} if isinstance(told, str) else {name: getattr(told, name) for name in _COPIED}
    if appearance is not None:
        record["appearance"] = [round(value, DECIMALS) for value in appearance]
    with _explained():
        log.append(record)


def check_room(log: AuditLog) -> None:
    """Return if the log has room for an answer.

    Raises:
        ProblemError: It hasn't.
    """
    with _explained():
        log.check_room()


@contextmanager
def _explained() -> Iterator[None]:
    """Tell the service's log what is wrong with the audit log, and the caller that it is."""
    try:
        yield
    except StorageError as error:
        logger.exception("the audit log can't be written: the request is answered with 503")
        raise ProblemError("audit-not-kept", _NOT_KEPT) from error
