"""What lies around Ray Serve itself: headers taken off a request before it, and its own refusals made problems.

Serve takes a request's id, time limit and routing from headers, and fails with a bare 500 where one isn't UTF-8. It
does so before the application is asked; only a middleware of its HTTP server comes first. And where Serve refuses a
request itself, because the service is full or has no replica, it does so in plain text.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from melanoma_ray.api import PROBLEM_JSON
from melanoma_ray.serving.boundary import REQUEST_ID, is_sensible_id
from melanoma_ray.serving.problems import build_problem

_OF_SERVE = frozenset(
    {
        b"x-request-timeout-seconds",  # 0 would take the time limit away
        b"x-request-disconnect-disabled",
        b"x-session-id",
        b"serve-multiplexed-model-id",
        b"tracestate",
    }
)
"""Headers that Ray Serve obeys, with dashes; it takes underscores for the same."""
_TRACE = b"traceparent"
_SENSIBLE_TRACE = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""Where a request stands in its caller's trace (W3C Trace Context, version 00)."""

_GONE = ("not-available", "The replica that was to answer is gone, or none is there: send the image again")
_REFUSALS: Final[dict[int, tuple[str, str]]] = {
    408: ("took-too-long", "No answer was ready in time: send the image again, later if this happens again"),
    429: ("service-full", "Other requests wait already: send the image again after Retry-After seconds"),
    500: _GONE,  # what goes wrong in the application, the application answers itself
    503: _GONE,
}
"""Type and detail of the problem for each status with which Serve itself answers."""
_OF_SERVE_ITSELF = "/-/"
"""Begin of the paths of Serve's own, which load balancers ask."""


class Intake:
    """ASGI middleware around Ray Serve's own application."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on without those headers, and without an id that isn't sensible: Serve then gives one."""
        if "headers" in scope:
            scope = {**scope, "headers": [one for one in scope["headers"] if _is_harmless(*one)]}
        if scope["type"] == "http" and not scope["path"].startswith(_OF_SERVE_ITSELF):
            send = _with_problems(send, scope["path"])
        await self._app(scope, receive, send)


def _with_problems(send: Send, path: str) -> Send:
    """Return what sends an answer, and a problem in the place of a refusal that isn't one."""
    body: bytes | None = None

    async def send_problem(message: Message) -> None:
        nonlocal body
        if message["type"] == "http.response.start" and message["status"] in _REFUSALS:
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            if headers.get("content-type") != PROBLEM_JSON:
                problem = build_problem(*_REFUSALS[message["status"]], path)
                body = problem.model_dump_json().encode()
                headers["content-type"], headers["content-length"] = PROBLEM_JSON, str(len(body))
                message = {**message, "status": problem.status, "headers": headers.raw}
        elif message["type"] == "http.response.body" and body is not None:
            if message.get("more_body", False):
                return
            message = {**message, "body": body}
        await send(message)

    return send_problem


def _is_harmless(name: bytes, value: bytes) -> bool:
    if name == REQUEST_ID:
        return is_sensible_id(value)
    if name == _TRACE:
        return _SENSIBLE_TRACE.fullmatch(value) is not None
    return name.replace(b"_", b"-") not in _OF_SERVE


def middlewares() -> list[Middleware]:
    """Return what Serve's HTTP servers have around them; ``guard_headers`` (cluster/workarounds.py) names this."""
    return [Middleware(Intake)]
