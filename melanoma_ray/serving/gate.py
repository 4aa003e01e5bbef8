"""Who may ask: each request under /v1 shows a key, or the page's session, unless the service has no keys at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import Response

from melanoma_ray.access.keys import Key, KeyStore, Scope
from melanoma_ray.access.sessions import SESSION_S, find_session, start_session
from melanoma_ray.serving.assessor import Assessor, CurrentAssessor
from melanoma_ray.serving.problems import ProblemError

COOKIE = "melanoma_ray_session"
KEY_HEADER = "X-Melanoma-Key"
"""Header of an answer that was given to a key: its id."""
_BEARER = "bearer "


def require(scope: Scope) -> Callable[[Request, Response, Assessor], Awaitable[None]]:
    """Return a dependency that refuses a request without a key for a scope, before its body is read.

    Args:
        scope: What the key must be for.
    """

    async def check(request: Request, response: Response, assessor: CurrentAssessor) -> None:
        if assessor.keys is None:
            return
        key = _find(request, assessor.keys)
        if scope not in key.scopes:
            msg = f"key {key.key_id} is for {', '.join(key.scopes)}; this needs {scope}"
            raise ProblemError("not-allowed", msg)
        response.headers[KEY_HEADER] = key.key_id

    return check


def add_login(app: FastAPI) -> None:
    """Add the two operations by which the page exchanges a key for a session, and ends it."""

    async def log_in(request: Request, assessor: CurrentAssessor) -> Response:
        """Exchange the key of the Authorization header for a session in a cookie that scripts can't read."""
        if assessor.keys is None:
            return Response(status_code=204)
        key = _find_key(request, assessor.keys)
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE,
            start_session(assessor.keys.content, key),
            max_age=SESSION_S,
            httponly=True,
            secure=request.url.scheme == "https",
            samesite="strict",
        )
        return response

    async def log_out() -> Response:
        """End the session in this browser."""
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    app.post("/login", include_in_schema=False)(log_in)
    app.post("/logout", include_in_schema=False)(log_out)


def _find(request: Request, keys: KeyStore) -> Key:
    """Return the key that a request shows, or stands for by its session; a key counts before a session."""
    if _shown_key(request) is not None:
        return _find_key(request, keys)
    session = request.cookies.get(COOKIE)
    if session is not None and (key := find_session(keys.content, session)) is not None:
        return key
    msg = "this service asks for a key: send it as Authorization: Bearer KEY, or log in on the page"
    raise ProblemError("no-key", msg if session is None else "the session has ended: log in again")


def _shown_key(request: Request) -> str | None:
    """Return what stands after Bearer; a proxy in front may have a login of its own, and use another word."""
    shown = request.headers.get("authorization", "")
    return shown[len(_BEARER) :].strip() if shown.lower().startswith(_BEARER) else None


def _find_key(request: Request, keys: KeyStore) -> Key:
    if (key := keys.find(_shown_key(request) or "")) is None:
        msg = "the key isn't one of this service, has expired or was revoked"
        raise ProblemError("no-key", msg)
    return key
