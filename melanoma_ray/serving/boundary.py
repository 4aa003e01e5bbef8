"""The outermost layer around every request: the headers of all answers, and the handler of unexpected errors."""

from __future__ import annotations

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from melanoma_ray.serving.problems import problem_response

_log = logging.getLogger(__name__)

_HEADERS = {
    # The page needs its own script, style and pictures, and nothing from anywhere else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


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
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            if has_started:
                raise
            path = scope["path"]
            _log.exception("%s %s failed", scope["method"], path)
            detail = "The request could not be answered; the service's log has the reason. The image was not kept."
            await problem_response("internal-error", detail, path)(scope, receive, send_with_headers)
