"""jobs.query as a process, against a small service: each image has a line, whatever becomes of the others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from melanoma_ray.api import PROBLEM_JSON

ROOT = Path(__file__).parents[3]
ANSWER = {
    "image_id": None,
    "probabilities": {"nevus": 0.9999, "melanoma": 0.0001},
    "melanoma_probability": 0.0001,
    "decision": "routine",
    "decision_threshold": 0.1,
    "checkpoint_id": "0" * 12,
    "is_synthetic": False,
}
CARD = {
    "checkpoint_id": "0" * 12,
    "network": "baseline",
    "diagnoses": ["nevus", "melanoma"],
    "image_side_px": 64,
    "temperature": 1.0,
    "decision_threshold": 0.1,
    "target_sensitivity": 0.9,
    "out_of_distribution_threshold": 0.0,
    "data_fingerprint": "0" * 64,
    "is_synthetic": False,
    "uses_metadata": False,
    "max_image_bytes": 1000,
    "versions": {},
}
PROBLEM = {
    "type": "urn:melanoma-ray:problem:not-an-image",
    "title": "This is not an image",
    "status": 415,
    "detail": "the bytes are of no known image format",
    "instance": "/v1/predict",
}


class Handler(BaseHTTPRequestHandler):
    """Takes what begins with ``image`` for one."""

    def do_GET(self) -> None:
        self.answer(200, CARD)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body.startswith(b"image"):
            self.answer(200, ANSWER)
        else:
            self.answer(415, PROBLEM, PROBLEM_JSON)

    def answer(self, status: int, content: Mapping[str, object], kind: str = "application/json") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def query(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.query", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_failure_is_named_and_the_next_image_is_asked_about(url: str, tmp_path: Path) -> None:
    for name, content in (("a.jpg", b"image"), ("b.jpg", b"text"), ("c.jpg", b"image")):
        (tmp_path / name).write_bytes(content)
    images = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "none.jpg", "c.jpg")]
    done = query(*images, "--url", url)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{images[place]}: Routine; melanoma < 0.1 % (threshold 10.0 %); most probable: nevus > 99.9 %"
        for place in (0, 3)
    ]
    assert done.stderr.splitlines() == [
        f"{images[1]}: This is not an image: the bytes are of no known image format",
        f"{images[2]}: No such file or directory; give the path of an image",
        "error: no answer for 2 of 4 images",
    ]


def test_answers_for_all_images_end_well(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    done = query(str(tmp_path / "a.jpg"), "--url", url)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_an_image_it_says_what_it_wants(url: str) -> None:
    done = query("--url", url)
    assert done.returncode == 1
    assert done.stderr == "error: no image given: python -m jobs.query IMAGE... [--url ADDRESS]\n"


def test_a_folder_is_one_line(url: str, tmp_path: Path) -> None:
    done = query(str(tmp_path), "--url", url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}: a folder; give its images")
    assert len(done.stderr.splitlines()) == 1


def test_without_a_service_there_is_one_line_however_many_images() -> None:
    done = query("a.jpg", "b.jpg", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "is not reachable" in done.stderr
    assert len(done.stderr.splitlines()) == 1
