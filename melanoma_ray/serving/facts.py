"""What is known of the request that is being answered, for whoever writes it down: log, audit log and metrics."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from melanoma_ray.access.callers import Caller


@dataclass(kw_only=True, slots=True)
class RequestFacts:
    """One request; what isn't known yet is filled in on its way."""

    request_id: str
    """As in the header X-Request-Id."""
    caller: Caller | None = None
    """Who asks; none: the service has no keys, or the caller isn't known yet."""

    @property
    def caller_id(self) -> str | None:
        """Id of who asks."""
        return None if self.caller is None else self.caller.caller_id


CURRENT: ContextVar[RequestFacts | None] = ContextVar("request", default=None)
"""Of the request that this task answers; none: it answers no request."""


def current_facts() -> RequestFacts:
    """Return what is known of the request that this task answers."""
    return CURRENT.get() or RequestFacts(request_id="")
