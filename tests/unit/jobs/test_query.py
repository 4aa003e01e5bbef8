"""jobs.query as a process, against a small service: each image has a line, whatever becomes of the others."""

from __future__ import annotations

import csv
import io
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
    assert done.stderr == "error: no image given: python -m jobs.query IMAGE|FOLDER... [--url ADDRESS]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images in two folders, one that is none, and a file that isn't named like one."""
    (tmp_path / "more").mkdir()
    for number in range(12):
        (tmp_path / ("more" if number % 2 else "") / f"{number:02}.JPG").write_bytes(b"image")
    (tmp_path / "bad.png").write_bytes(b"text")
    (tmp_path / "notes.txt").write_text("notes")
    return tmp_path


def test_all_images_of_a_folder_and_of_those_below_are_asked_about_in_their_order(url: str, folder: Path) -> None:
    done = query(str(folder), "--url", url)
    assert done.returncode == 1
    expected = sorted(path for path in folder.rglob("*.JPG"))
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == list(map(str, expected))
    assert done.stderr.splitlines() == [
        f"{folder}: 1 file is passed over, not named like an image",
        f"{folder / 'bad.png'}: This is not an image: the bytes are of no known image format",
        "error: no answer for 1 of 13 images",
    ]


def test_json_has_a_line_an_image_with_the_whole_answer_or_the_reason(url: str, folder: Path) -> None:
    done = query(str(folder), "--url", url, "--format", "json")
    records = {record["path"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert len(records) == 13
    bad = records.pop(str(folder / "bad.png"))
    assert bad == {
        "path": str(folder / "bad.png"),
        "error": "This is not an image: the bytes are of no known image format",
    }
    for record in records.values():
        assert record["probabilities"] == ANSWER["probabilities"]
        assert record["decision"] == "routine"
    assert done.returncode == 1


def test_a_table_has_the_columns_of_predictions_parquet_and_a_row_an_image(url: str, folder: Path) -> None:
    done = query(str(folder), "--url", url, "--format", "table")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 13
    assert {"path", "probability_nevus", "probability_melanoma", "melanoma_probability", "decision", "error"} <= set(
        rows[0]
    )
    (bad,) = [row for row in rows if row["error"]]
    assert (bad["path"], bad["decision"], bad["melanoma_probability"]) == (str(folder / "bad.png"), "", "")
    assert {row["probability_nevus"] for row in rows if row is not bad} == {"0.9999"}


def test_a_folder_without_images_is_one_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    done = query(str(tmp_path), "--url", url)
    assert done.returncode == 1
    assert done.stderr == (f"error: {tmp_path}: 1 file, none of them named like an image (such as .jpg or .png)\n")


def test_a_number_of_requests_out_of_range_is_refused(url: str, folder: Path) -> None:
    done = query(str(folder), "--url", url, "--num-requests", "65")
    assert done.returncode != 0
    assert "num_requests=65: expected [1, 64]" in done.stderr
    assert done.stdout == ""


def test_without_a_service_there_is_one_line_however_many_images() -> None:
    done = query("a.jpg", "b.jpg", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "is not reachable" in done.stderr
    assert len(done.stderr.splitlines()) == 1
