"""Every way in which a request can fail, as problem+json (RFC 9457); clients may rely on the types."""

from __future__ import annotations

import math
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from melanoma_ray.api import PROBLEM_JSON, Problem
from melanoma_ray.errors import DecodeError, ServiceError
from melanoma_ray.serving.metrics import meter

TYPE_PREFIX = "urn:melanoma-ray:problem:"

PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    "empty": (400, "There is no image"),
    "unreadable-form": (400, "The form can't be read"),
    "upload-interrupted": (400, "The upload was interrupted"),
    "no-key": (401, "A key is needed"),
    "not-allowed": (403, "The key isn't for this"),
    "upload-too-slow": (408, "The upload is too slow"),
    "not-found": (404, "This path doesn't exist"),
    "wrong-method": (405, "This path expects another method"),
    "too-many-bytes": (413, "The file is too large"),
    "too-many-pixels": (413, "The image has too many pixels"),
    "not-an-image": (415, "This is not an image"),
    "unsupported-format": (415, "Images of this format can't be read"),
    "too-few-pixels": (422, "The image has too few pixels"),
    "truncated": (422, "The image is incomplete"),
    "unknown-range": (422, "The brightness of the image is unknown"),
    "unreadable": (422, "The image can't be read"),
    "wrong-field": (422, "The form has no image"),
    "unknown-diagnosis": (422, "The diagnosis is unknown"),
    "invalid-request": (422, "The request is not valid"),
    "too-many-requests": (429, "Too many requests"),
    "service-full": (429, "The service has as many requests as it can take"),
    "took-too-long": (408, "The request took too long"),
    "internal-error": (500, "The service failed"),
    "not-available": (503, "The service isn't available now"),
    "alert-not-kept": (503, "An alert can't be kept now"),
    "audit-not-kept": (503, "The audit log can't be written now"),
}
"""HTTP status and title of each problem, by its type without the prefix; ``schema.FAULTS`` keep their names."""

_HEADERS_OF = {"no-key": {"WWW-Authenticate": 'Bearer realm="melanoma_ray"'}}
"""Headers that the answer for a problem must have."""
_OF_STATUS = {404: "not-found", 405: "wrong-method"}


class ProblemError(ServiceError):
    """A request that can't be answered, with the reason for the client.

    Attributes:
        slug: Type of the problem without its prefix, one of ``PROBLEMS``.
        detail: What was wrong with the request, and what is allowed.
        retry_after_s: Time after which the same request may be answered, seconds; none: it never will.
    """

    def __init__(self, slug: str, detail: str, retry_after_s: float | None = None) -> None:
        """Keep the fields, and join them to the message."""
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[ProblemError], tuple[str, str, float | None]]:
        """Rebuild from the fields; by default it would be from the message, which joins them."""
        return type(self), (self.slug, self.detail, self.retry_after_s)


def build_problem(slug: str, detail: str, path: str) -> Problem:
    """Return the message for a problem; parameters are those of ``describe_problem``."""
    status, title = PROBLEMS[slug]
    return Problem(type=TYPE_PREFIX + slug, title=title, status=status, detail=detail, instance=path)


def describe_problem(slug: str, detail: str, path: str) -> Problem:
    """Return the message for a problem, and count it.

    Args:
        slug: Type of the problem without its prefix, one of ``PROBLEMS``.
        detail: What was wrong with the request, and what is allowed.
        path: Path of the request.
    """
    meter().count("melanoma_problems", {"type": slug})
    return build_problem(slug, detail, path)


def describe_error(error: ProblemError | DecodeError, path: str) -> Problem:
    """Return the message for what one image's answer was refused for."""
    if isinstance(error, ProblemError):
        return describe_problem(error.slug, error.detail, path)
    return describe_problem(error.fault.replace("_", "-"), error.detail, path)


def problem_response(slug: str, detail: str, path: str, headers: dict[str, str] | None = None) -> Response:
    """Return the HTTP answer for a problem.

    Args:
        slug: Type of the problem without its prefix, one of ``PROBLEMS``.
        detail: What was wrong with the request, and what is allowed.
        path: Path of the request.
        headers: Further headers of the answer.
    """
    problem = describe_problem(slug, detail, path)
    needed = _HEADERS_OF.get(slug, {}) | (headers or {})
    return Response(problem.model_dump_json(), status_code=problem.status, media_type=PROBLEM_JSON, headers=needed)


def _answer_problem(request: Request, error: Exception) -> Response:
    if isinstance(error, ProblemError):
        after = error.retry_after_s
        headers = None if after is None else {"Retry-After": str(math.ceil(after))}
        return problem_response(error.slug, error.detail, request.url.path, headers)
    if isinstance(error, DecodeError):
        return problem_response(error.fault.replace("_", "-"), error.detail, request.url.path)
    raise error


def _answer_http(request: Request, error: Exception) -> Response:
    """Return the answer for what the router refuses: unknown paths, and wrong methods with an Allow header."""
    if not isinstance(error, HTTPException):
        raise error
    slug = _OF_STATUS.get(error.status_code, "invalid-request")
    detail = f"{request.method} {request.url.path}: see /docs for the paths and methods that exist"
    return problem_response(slug, detail, request.url.path, dict(error.headers or {}))


def _answer_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    given = f"={first['input'][:40]!r}" if isinstance(first.get("input"), str) else ""
    return problem_response("invalid-request", f"{name}{given}: {first['msg']}", request.url.path)


def add_problem_handlers(app: FastAPI) -> None:
    """Have an app answer every expected error with a problem; unexpected ones are handled by ``RequestBoundary``."""
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(DecodeError, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)
