"""The service's own log: one line of JSON for each record, with the id of the request that it is about."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from melanoma_ray.serving.facts import CURRENT

REQUESTS = "melanoma_ray.requests"
"""Logger of a line for each request, which is written where that is asked for."""
SHADOW = "melanoma_ray.shadow"
"""Logger of a line for each image that a shadow decides otherwise."""
_OURS = "melanoma_ray"
_FIELDS = ("operation", "status", "milliseconds", "told", "shadow")
"""What a record may have beside its message."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; no image and no file name is ever in one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = CURRENT.get()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": None if facts is None else facts.request_id,
            "caller_id": None if facts is None else facts.caller_id,
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False)
        return text.encode(errors="backslashreplace").decode()  # a half of a surrogate pair couldn't be written


def write_json(*, log_requests: bool) -> None:
    """Have this process write its own records as JSON to its standard error, which Ray keeps in the replica's file.

    Args:
        log_requests: Write a line for each request, too.
    """
    ours = logging.getLogger(_OURS)
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in ours.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        ours.addHandler(handler)
    ours.propagate = False
    logging.getLogger(SHADOW).setLevel(logging.INFO)
    logging.getLogger(REQUESTS).setLevel(logging.INFO if log_requests else logging.WARNING)
