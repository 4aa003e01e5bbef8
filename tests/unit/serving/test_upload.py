"""An image on its way in: never on a disk, never larger than allowed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from melanoma_ray.serving import upload
from melanoma_ray.serving.problems import ProblemError
from melanoma_ray.serving.upload import read_upload, read_uploads


def form_request(field: str, content: bytes, parameters: str = "") -> Request:
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="x.png"\r\n\r\n'.encode()
    messages = iter([{"type": "http.request", "body": head + content + b"\r\n--b--\r\n", "more_body": False}])

    async def receive() -> dict[str, object]:
        return next(messages)

    headers = [(b"content-type", f"multipart/form-data; boundary=b{parameters}".encode())]
    return Request({"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}, receive)


def test_a_large_upload_is_never_written_to_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    content = bytes(3_000_000)
    found = asyncio.run(read_upload(form_request("image", content), max_bytes=3_000_000))
    assert found.encoded == content


def test_a_form_may_be_larger_than_its_image_but_not_the_image_than_allowed() -> None:
    assert asyncio.run(read_upload(form_request("image", bytes(100)), max_bytes=100)).encoded == bytes(100)
    with pytest.raises(ProblemError, match="101 bytes or more: at most 100"):
        asyncio.run(read_upload(form_request("image", bytes(101)), max_bytes=100))


def test_all_files_of_a_form_are_read_in_their_order() -> None:
    part = '--b\r\nContent-Disposition: form-data; name="image"; filename="C:\\scans\\{0}.png"\r\n\r\n{0}\r\n'
    body = "".join(part.format(number) for number in range(3)) + "--b--\r\n"

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body.encode(), "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
    found = asyncio.run(read_uploads(request, max_images=3, max_bytes=100))
    assert [(one.image_id, one.encoded) for one in found] == [("0", b"0"), ("1", b"1"), ("2", b"2")]


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "unicode_escape", "undefined", "idna", "zip", "x\0"])
def test_a_form_in_a_character_set_that_isn_t_one_of_texts_is_refused(charset: str) -> None:
    """Of Python's own, punycode takes a minute for a megabyte, and UTF-7 makes text that can't be written as JSON."""
    with pytest.raises(ProblemError, match="expected utf-8") as refused:
        asyncio.run(read_upload(form_request("image", b"x", f"; charset={charset}"), max_bytes=100))
    assert refused.value.slug == "unreadable-form"


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "ISO-8859-1", "windows-1252", '"us-ascii"'])
def test_a_form_that_names_an_ordinary_character_set_is_read(charset: str) -> None:
    found = asyncio.run(read_upload(form_request("image", b"x", f"; charset={charset}"), max_bytes=100))
    assert (found.image_id, found.encoded) == ("x", b"x")


def slow_request(pieces: Iterator[bytes], pause_s: float) -> Request:
    async def receive() -> dict[str, object]:
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    return Request({"type": "http", "method": "POST", "path": "/v1/predict", "headers": []}, receive)


def test_who_sends_a_byte_now_and_then_is_refused_and_who_sends_steadily_isn_t(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_PATIENCE_S", 0.2)
    with pytest.raises(ProblemError, match="expected 65536 bytes a second") as refused:
        asyncio.run(read_upload(slow_request(iter([b"x"] * 100), 0.05), max_bytes=10**6))
    assert refused.value.slug == "upload-too-slow"
    steady = slow_request(iter([bytes(30_000)] * 100), 0.05)  # ten times the least rate, and longer than the patience
    with pytest.raises(ProblemError) as too_large:
        asyncio.run(read_upload(steady, max_bytes=300_000))
    assert too_large.value.slug == "too-many-bytes"
