"""Who may ask, and how much: each request under /v1 shows a key, the page's session or a token of the hospital's login.

Without keys and an issuer of tokens a caller is known by its certificate, where HAProxy has asked for one; a service
that has none of the three asks nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request
from fastapi.responses import Response

from melanoma_ray.access.callers import Caller, caller_of, caller_with_certificate
from melanoma_ray.access.keys import PREFIX, Key, KeyStore, Scope
from melanoma_ray.access.sessions import SESSION_S, find_session, start_session
from melanoma_ray.access.tokens import TokenVerifier
from melanoma_ray.cluster.front import CERTIFICATE_HEADER
from melanoma_ray.serving.assessor import Assessor, CurrentAssessor
from melanoma_ray.serving.facts import current_facts
from melanoma_ray.serving.problems import ProblemError

COOKIE = "melanoma_ray_session"
KEY_HEADER = "X-Melanoma-Key"
"""Header of an answer: the id of the caller that it was given to."""
_BEARER = "bearer "
_KEYS_AGAIN_S = 5.0


def require(scope: Scope) -> Callable[[Request, Response, Assessor], AsyncIterator[None]]:
    """Return a dependency that refuses a request without a key for a scope, before its body is read.

    While the request is answered it counts for its caller's limits.

    Args:
        scope: What the key must be for.
    """

    async def check(request: Request, response: Response, assessor: CurrentAssessor) -> AsyncIterator[None]:
        if assessor.keys is None and assessor.tokens is None and not assessor.takes_certificates:
            yield
            return
        caller = await _find(request, assessor)
        if scope not in caller.scopes:
            msg = f"key {caller.caller_id} is for {', '.join(caller.scopes) or 'nothing'}; this needs {scope}"
            raise ProblemError("not-allowed", msg)
        current_facts().caller = caller
        response.headers[KEY_HEADER] = caller.caller_id
        if assessor.limiter is None:
            yield
            return
        async with assessor.limiter.admit(caller):
            yield

    return check


def add_login(app: FastAPI) -> None:
    """Add the two operations by which the page exchanges a key for a session, and ends it."""

    async def log_in(request: Request, assessor: CurrentAssessor) -> Response:
        """Exchange the key of the Authorization header for a session in a cookie that scripts can't read."""
        if assessor.keys is None and assessor.tokens is None:
            return Response(status_code=204)
        if assessor.keys is None:
            msg = "this service has no keys, with which the page logs in: send a token as Authorization: Bearer TOKEN"
            raise ProblemError("no-key", msg)
        _check_readable(assessor.keys)
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


async def _find(request: Request, assessor: Assessor) -> Caller:
    """Return who asks, by a key or a token, or by a session; what is shown counts before a session.

    Where there are no keys and no tokens, it is whose certificate was shown.
    """
    shown, keys = _shown_key(request), assessor.keys
    if keys is None and assessor.tokens is None:
        return _find_certificate(request)
    if shown is not None and assessor.tokens is not None and not shown.startswith(PREFIX):
        return await _find_token(shown, assessor.tokens)
    if keys is not None:
        _check_readable(keys)
    if shown is not None and keys is not None:
        return caller_of(_find_key(request, keys))
    session = request.cookies.get(COOKIE)
    if session is not None and keys is not None and (key := find_session(keys.content, session)) is not None:
        return caller_of(key)
    msg = "this service asks for a key: send it as Authorization: Bearer KEY, or log in on the page"
    raise ProblemError("no-key", msg if session is None else "the session has ended: log in again")


def _find_certificate(request: Request) -> Caller:
    if not (sha256 := request.headers.get(CERTIFICATE_HEADER)):
        msg = "this service asks for a certificate, and none was shown: send the request to its own address"
        raise ProblemError("no-key", msg)
    return caller_with_certificate(sha256)


async def _find_token(token: str, tokens: TokenVerifier) -> Caller:
    if tokens.needs_issuer(token):
        found = await asyncio.to_thread(tokens.find, token)
    else:
        found = tokens.find(token)
    if found is None:
        msg = "the token isn't one for this service, has expired, or isn't signed by its issuer"
        raise ProblemError("no-key", msg)
    return found


def _check_readable(keys: KeyStore) -> None:
    """Refuse for now while the file of keys is damaged: of no key it is known that it isn't valid."""
    if not keys.is_readable:
        msg = "the service can't read its keys now, and its log has the reason; send the request again"
        raise ProblemError("not-available", msg, retry_after_s=_KEYS_AGAIN_S)


def _shown_key(request: Request) -> str | None:
    """Return what stands after Bearer; a proxy in front may have a login of its own, and use another word."""
    shown, *others = request.headers.getlist("authorization") or [""]
    if others:
        raise ProblemError("no-key", f"{1 + len(others)} headers Authorization: send one")
    return shown[len(_BEARER) :].strip() if shown.lower().startswith(_BEARER) else None


def _find_key(request: Request, keys: KeyStore) -> Key:
    if (key := keys.find(_shown_key(request) or "")) is None:
        msg = "the key isn't one of this service, has expired or was revoked"
        raise ProblemError("no-key", msg)
    return key
