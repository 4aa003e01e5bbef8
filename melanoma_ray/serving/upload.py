"""From a request's body to one encoded image, in memory, and never more of it than allowed."""

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
"""Of a multipart form."""
_FORM_OVERHEAD_BYTES = 64 * 1024
"""Boundaries, part headers and small other fields that a form may have beside the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One image as it came."""

    encoded: bytes
    image_id: str | None
    """File name without its ending; none for a raw body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """What the request tells beside the image; none: unknown."""

    age: float | None
    """Years."""
    sex: Sex | None
    site: Site | None
    """Of the lesion."""


async def read_upload(request: Request, *, max_bytes: int) -> Upload:
    """Read a raw body, or the field ``image`` of a multipart form.

    Args:
        request: Its body not yet read.
        max_bytes: Largest encoded image.

    Raises:
        ProblemError: Too large, by its Content-Length or while it streams; or a form without the image.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _read_form(request, max_bytes)
    encoded = bytearray()
    async for chunk in _limited(request, max_bytes):
        encoded += chunk
    return Upload(encoded=bytes(encoded), image_id=None)


async def _limited(request: Request, max_bytes: int, overhead_bytes: int = 0) -> AsyncGenerator[bytes, None]:
    """Yield the body, and refuse it as soon as the image in it must be larger than allowed."""
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
    parser.spool_max_size = max_bytes + _FORM_OVERHEAD_BYTES  # the default moves 1 MB and more to a file on disk
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
    """Return the name without folders and ending; some browsers on Windows send the whole path."""
    return PurePosixPath(PureWindowsPath(filename or "").name).stem or None
