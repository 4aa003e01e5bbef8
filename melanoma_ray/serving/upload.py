"""Reads the encoded images of a request's body into memory: never more bytes than allowed, and not from who dawdles."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from melanoma_ray.schema import Sex, Site
from melanoma_ray.serving.problems import ProblemError

FIELD = "image"
"""Name of the multipart form's field that has an image."""
MAX_BATCH_IMAGES = 32
"""Most images of a batch: half a second of work for two CPUs, so that those who ask for one image don't wait long."""
MAX_BATCH_BYTES = 64 * 1024 * 1024
"""Most bytes of a batch's images together. Sixteen requests of this size at a replica take a gigabyte."""
_FORM_OVERHEAD_BYTES = 64 * 1024
"""Allowance for a form's boundaries, part headers and small other fields, bytes."""
_MAX_FIELDS = 16
"""Most fields of a form that are no files."""
_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
"""Character sets, by Python's names, in which a form may have its names. RFC 7578 knows UTF-8 alone, and some programs
say another one. Python has a hundred, of which some fail in ways of their own, make text that can't be written, or
take seconds for 80 kB."""
_PATIENCE_S = 10.0
"""Time that any sender has for a body, seconds."""
_LEAST_BYTES_PER_S = 64 * 1024
"""Rate that a longer body must have on average, bytes per second: 0.5 Mbit/s. A slower one would hold a place that
others wait for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One image as it was sent."""

    encoded: bytes = field(repr=False)
    image_id: str | None = field(repr=False)  # may be a person's name, and an error's text goes into the log
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
        ProblemError: The body is too large, by its Content-Length or while it is received; it comes too slowly; or it
            is a form without an image.
    """
    if _is_form(request):
        (upload,) = await _read_form(request, max_images=1, max_bytes=max_bytes)
        check_size(upload, max_bytes)
        return upload
    encoded = bytearray()
    async for chunk in _limited(request, max_bytes):
        encoded += chunk
    return Upload(encoded=bytes(encoded), image_id=None)


async def read_uploads(request: Request, *, max_images: int, max_bytes: int) -> Sequence[Upload]:
    """Return all images of a multipart form: the files in its fields ``image``, in their order, one or more.

    Args:
        request: Request whose body hasn't been read yet.
        max_images: Most images.
        max_bytes: Most bytes of all images together; the size of each isn't checked here.

    Raises:
        ProblemError: As for ``read_upload``; or there are too many images, or the body is no form.
    """
    if not _is_form(request):
        msg = f"expected multipart/form-data with one file or more in the field {FIELD!r}; one image: /v1/predict"
        raise ProblemError("unreadable-form", msg)
    return await _read_form(request, max_images=max_images, max_bytes=max_bytes)


def check_size(upload: Upload, max_bytes: int) -> None:
    """Refuse an image of more bytes than allowed.

    Raises:
        ProblemError: It has more.
    """
    if len(upload.encoded) > max_bytes:
        raise _too_large(len(upload.encoded), max_bytes)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _limited(request: Request, max_bytes: int, overhead_bytes: int = 0) -> AsyncGenerator[bytes, None]:
    """Yield the body in pieces, and refuse it as soon as its image must be larger than allowed, or it is too slow."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes + overhead_bytes:
        raise _too_large(int(declared), max_bytes)
    num_received, started_at = 0, asyncio.get_running_loop().time()
    body = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout_at(started_at + _PATIENCE_S + num_received / _LEAST_BYTES_PER_S):
                chunk = await anext(body, None)
        except TimeoutError as error:
            msg = f"{num_received} bytes in {asyncio.get_running_loop().time() - started_at:.0f} s"
            raise ProblemError("upload-too-slow", f"{msg}: expected {_LEAST_BYTES_PER_S} bytes a second") from error
        except ClientDisconnect as error:
            msg = f"the connection closed after {num_received} bytes"
            raise ProblemError("upload-interrupted", msg) from error
        if chunk is None:
            return
        num_received += len(chunk)
        if num_received > max_bytes + overhead_bytes:
            raise _too_large(num_received, max_bytes)
        yield chunk


def _too_large(num_bytes: int, max_bytes: int) -> ProblemError:
    return ProblemError("too-many-bytes", f"{num_bytes} bytes or more: at most {max_bytes} are allowed")


def _check_charset(request: Request) -> None:
    _, options = parse_options_header(request.headers["content-type"])
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    try:
        is_known = codecs.lookup(charset).name in _CHARSETS
    except (LookupError, ValueError):
        is_known = False
    if not is_known:
        raise ProblemError("unreadable-form", f"charset={charset[:40]}: expected utf-8")


async def _read_form(request: Request, *, max_images: int, max_bytes: int) -> Sequence[Upload]:
    _check_charset(request)
    body = _limited(request, max_bytes, _FORM_OVERHEAD_BYTES)
    parser = MultiPartParser(request.headers, body, max_files=max_images, max_fields=_MAX_FIELDS)
    parser.spool_max_size = max_bytes + _FORM_OVERHEAD_BYTES  # by default 1 MB and more would go to a file on disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ProblemError("unreadable-form", error.message) from error
    try:
        files = [field for field in form.getlist(FIELD) if isinstance(field, UploadFile)]
        if not files:
            names = ", ".join(form) or "none"
            detail = f"expected a file in the field {FIELD!r}; the form's fields: {names}"
            raise ProblemError("wrong-field", detail)
        return [Upload(encoded=await field.read(), image_id=_image_id(field.filename)) for field in files]
    finally:
        await form.close()


def _image_id(filename: str | None) -> str | None:
    """Return a file's name without folders and ending; some browsers on Windows send the whole path."""
    return PurePosixPath(PureWindowsPath(filename or "").name).stem or None
