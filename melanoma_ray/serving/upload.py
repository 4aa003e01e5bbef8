"""Reads one encoded image from a request's body into memory, and never more bytes than allowed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from melanoma_ray.schema import Sex, Site
from melanoma_ray.serving.problems import ProblemError

FIELD = "image"
"""Name of the multipart form's field that has the image."""
_FORM_OVERHEAD_BYTES = 64 * 1024
"""Allowance for a form's boundaries, part headers and small other fields, bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One image as it was sent."""

    encoded: bytes
    image_id: str | None
    """File name without its ending; none for a raw body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """What the request has about the patient; none: unknown."""

    age: float | None
    """Age, years."""
    sex: Sex | None
    site: Site | None
    """Site of the lesion on the body."""


async def read_upload(request: Request, *, max_bytes: int) -> Upload:
    """Return the image of a raw body, or of the field ``image`` of a multipart form.

    Args:
        request: Request whose body hasn't been read yet.
        max_bytes: Largest encoded image, bytes.

    Raises:
        ProblemError: The body is too large, by its Content-Length or while it is received; or it is a form without
            an image.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _read_form(request, max_bytes)
    encoded = bytearray()
    async for chunk in _limited(request, max_bytes):
        encoded += chunk
    return Upload(encoded=bytes(encoded), image_id=None)


async def _limited(request: Request, max_bytes: int, overhead_bytes: int = 0) -> AsyncGenerator[bytes, None]:
    """Yield the body in pieces, and refuse it as soon as its image must be larger than allowed."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes + overhead_bytes:
        raise _too_large(int(declared), max_bytes)
    num_received = 0
    try:
        async for chunk in request.stream():
            num_received += len(chunk)
            if num_received > max_bytes + overhead_bytes:
                raise _too_large(num_received, max_bytes)
            yield chunk
    except ClientDisconnect as error:
        msg = f"the connection closed after {num_received} bytes"
        raise ProblemError("upload-interrupted", msg) from error


def _too_large(num_bytes: int, max_bytes: int) -> ProblemError:
    return ProblemError("too-many-bytes", f"{num_bytes} bytes or more: at most {max_bytes} are allowed")


async def _read_form(request: Request, max_bytes: int) -> Upload:
    body = _limited(request, max_bytes, _FORM_OVERHEAD_BYTES)
    parser = MultiPartParser(request.headers, body, max_files=1, max_fields=16)
    parser.spool_max_size = max_bytes + _FORM_OVERHEAD_BYTES  # by default 1 MB and more would go to a file on disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ProblemError("unreadable-form", error.message) from error
    try:
        field = form.get(FIELD)
        if not isinstance(field, UploadFile):
            names = ", ".join(form) or "none"
            detail = f"expected a file in the field {FIELD!r}; the form's fields: {names}"
            raise ProblemError("wrong-field", detail)
        encoded = await field.read()
    finally:
        await form.close()
    if len(encoded) > max_bytes:
        raise _too_large(len(encoded), max_bytes)
    return Upload(encoded=encoded, image_id=_image_id(field.filename))


def _image_id(filename: str | None) -> str | None:
    """Return a file's name without folders and ending; some browsers on Windows send the whole path."""
    return PurePosixPath(PureWindowsPath(filename or "").name).stem or None
