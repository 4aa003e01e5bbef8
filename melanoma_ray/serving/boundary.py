"""The outermost layer around every request: its id, the headers of all answers, and what answers unexpected errors."""

from __future__ import annotations

import logging
import re
import uuid
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from melanoma_ray.serving.facts import CURRENT, RequestFacts
from melanoma_ray.serving.logs import REQUESTS
from melanoma_ray.serving.metrics import meter
from melanoma_ray.serving.problems import problem_response
from melanoma_ray.serving.tracing import describe_request, trace_request

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_log = logging.getLogger(__name__)
_requests = logging.getLogger(REQUESTS)

_HEADERS = {
    # The page needs its own script, style and pictures, and nothing from anywhere else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",  # no text ever becomes markup
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


REQUEST_ID = b"x-request-id"
"""Header with the id of a request. Serve takes a caller's own, or gives one, and sends it back with the answer."""
_FORWARDED_SCHEME = b"x-forwarded-proto"
"""Header by which a proxy says how a request came to it; who lies in it is told wrong addresses, and nobody else."""
_WENT_AWAY = 499
"""Status of a request whose client didn't wait for the answer, as nginx has it."""
_SENSIBLE_ID = re.compile(rb"[\w.:/+=-]{1,128}")


class RequestBoundary:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, with a problem if the application raises.

        It may catch every exception: the client must get a problem without internals, and the log the traceback.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (_FORWARDED_SCHEME, b"https") in scope["headers"]:  # what stands in front speaks TLS
            scope["scheme"] = "https"
        facts, began_at, status = RequestFacts(request_id=_name_request(scope)), perf_counter(), 0
        CURRENT.set(facts)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        with trace_request(scope) as span:
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception:
                if status:
                    raise
                path = scope["path"]
                _log.exception("%s %s failed", scope["method"], path)
                detail = "The request could not be answered; the service's log has the reason. The image was not kept."
                await problem_response("internal-error", detail, path)(scope, receive, send_with_headers)
            finally:
                _write_down(scope, facts, status or _WENT_AWAY, perf_counter() - began_at, span)


def _write_down(scope: Scope, facts: RequestFacts, status: int, seconds: float, span: Span | None) -> None:
    """Count an answered request, describe its span if it has one, and log it where that is asked for."""
    operation = str(getattr(scope.get("route"), "path", "other"))  # of what exists, so that labels stay few
    caller = facts.caller_id or "nobody"
    meter().count("melanoma_requests", {"operation": operation, "status": str(status), "caller": caller})
    meter().observe("melanoma_request_seconds", seconds, {"operation": operation})
    if span is not None:
        describe_request(span, scope, operation=operation, status=status, request_id=facts.request_id, caller=caller)
    told = {"operation": operation, "status": status, "milliseconds": round(1000 * seconds, 1)}
    _requests.info("answered", extra=told)


def is_sensible_id(given: bytes) -> bool:
    """Return whether a caller's id for its request can stand in logs and headers."""
    return _SENSIBLE_ID.fullmatch(given) is not None


def _name_request(scope: Scope) -> str:
    """Return the id of a request: its own, unless it has none, or one that can't stand in a log."""
    given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
    return given.decode("ascii") if is_sensible_id(given) else str(uuid.uuid4())
