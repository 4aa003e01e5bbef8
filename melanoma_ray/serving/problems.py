"""Every way in which a request can fail, as problem+json (RFC 9457); clients may rely on the types."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from melanoma_ray.api import PROBLEM_JSON, Problem
from melanoma_ray.errors import DecodeError, ServiceError

TYPE_PREFIX = "urn:melanoma-ray:problem:"

PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    "empty": (400, "There is no image"),
    "unreadable-form": (400, "The form can't be read"),
    "upload-interrupted": (400, "The upload was interrupted"),
    "no-key": (401, "A key is needed"),
    "not-allowed": (403, "The key isn't for this"),
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
    "internal-error": (500, "The service failed"),
    "alert-not-kept": (503, "An alert can't be kept now"),
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
    """

    def __init__(self, slug: str, detail: str) -> None:
        """Keep both fields, and join them to the message."""
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail

    def __reduce__(self) -> tuple[type[ProblemError], tuple[str, str]]:
        """Rebuild from the two fields; by default it would be from the message, which joins them."""
        return type(self), (self.slug, self.detail)


def problem_response(slug: str, detail: str, path: str, headers: dict[str, str] | None = None) -> Response:
    """Return the HTTP answer for a problem.

    Args:
        slug: Type of the problem without its prefix, one of ``PROBLEMS``.
        detail: What was wrong with the request, and what is allowed.
        path: Path of the request.
        headers: Further headers of the answer.
    """
    status, title = PROBLEMS[slug]
    problem = Problem(type=TYPE_PREFIX + slug, title=title, status=status, detail=detail, instance=path)
    needed = _HEADERS_OF.get(slug, {}) | (headers or {})
    return Response(problem.model_dump_json(), status_code=status, media_type=PROBLEM_JSON, headers=needed)


def _answer_problem(request: Request, error: Exception) -> Response:
    if isinstance(error, ProblemError):
        return problem_response(error.slug, error.detail, request.url.path)
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
    return problem_response("invalid-request", f"{name}: {first['msg']}", request.url.path)


def add_problem_handlers(app: FastAPI) -> None:
    """Have an app answer every expected error with a problem; unexpected ones are handled by ``RequestBoundary``."""
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(DecodeError, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)
