"""An image on its way in: never on a disk, never larger than allowed."""

from __future__ import annotations

import asyncio
import tempfile

import pytest
from starlette.requests import Request

from melanoma_ray.serving.problems import ProblemError
from melanoma_ray.serving.upload import read_upload


def form_request(field: str, content: bytes) -> Request:
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="x.png"\r\n\r\n'.encode()
    messages = iter([{"type": "http.request", "body": head + content + b"\r\n--b--\r\n", "more_body": False}])

    async def receive() -> dict[str, object]:
        return next(messages)

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    return Request({"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}, receive)


def test_a_large_upload_is_never_written_to_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    content = bytes(3_000_000)
    upload = asyncio.run(read_upload(form_request("image", content), max_bytes=3_000_000))
    assert upload.encoded == content


def test_a_form_may_be_larger_than_its_image_but_not_the_image_than_allowed() -> None:
    assert asyncio.run(read_upload(form_request("image", bytes(100)), max_bytes=100)).encoded == bytes(100)
    with pytest.raises(ProblemError, match="101 bytes or more: at most 100"):
        asyncio.run(read_upload(form_request("image", bytes(101)), max_bytes=100))
