"""jobs.query as a process, against a small service: each image has a line, whatever becomes of the others."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.query import KEY_VARIABLE, _read_key
from melanoma_ray.access.keys import SCOPES, create_key
from melanoma_ray.api import PROBLEM_JSON
from melanoma_ray.errors import DataError
from melanoma_ray.inference.predictions import predictions_schema

ROOT = Path(__file__).parents[3]
ANSWER: dict[str, object] = {
    "image_id": None,
    "probabilities": {"nevus": 0.9999, "melanoma": 0.0001},
    "melanoma_probability": 0.0001,
    "decision": "routine",
    "decision_threshold": 0.1,
    "checkpoint_id": "0" * 12,
    "is_synthetic": False,
}
WAIT_S = 60
"""Time that an image takes which says that it is slow, seconds."""
NOT_FINITE: dict[str, object] = {
    "probabilities": {},
    "melanoma_probability": None,
    "decision": "unassessable",
    "error": "the network's answer isn't finite",
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
        if body.startswith(b"image of nothing"):
            self.answer(200, ANSWER | NOT_FINITE)
        elif body.startswith(b"image that ends it"):
            self.close_connection = True  # without an answer, as a service does that has ended
        elif body.startswith(b"image"):
            time.sleep(WAIT_S * body.endswith(b"slow"))
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


def query(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.query", *words]
    env = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE} | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


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
        f"{folder}: passed over: files ending in .txt, which are no images (1)",
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
    names = predictions_schema(["nevus", "melanoma"]).names
    assert list(rows[0])[: len(names)] == names
    assert list(rows[0])[len(names) :] == ["decision_threshold", "checkpoint_id"]
    assert {row["image_id"] for row in rows} == {*(f"{number:02}" for number in range(12)), "bad"}
    (bad,) = [row for row in rows if row["error"]]
    assert (bad["path"], bad["decision"], bad["melanoma_probability"]) == (str(folder / "bad.png"), "", "")
    assert {row["probability_nevus"] for row in rows if row is not bad} == {"0.9999"}


def test_a_folder_without_images_is_one_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    done = query(str(tmp_path), "--url", url)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path}: no image in it; passed over: files ending in .txt, which are no images (1)\n"
    )


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


@pytest.mark.parametrize("kind", ["lines", "json"])
def test_a_service_that_is_gone_midway_isn_t_asked_about_every_image_that_is_left(
    url: str, tmp_path: Path, kind: str
) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}.jpg").write_bytes(b"image that ends it" if number >= 3 else b"image")
    done = query(str(tmp_path), "--url", url, "--format", kind, "--num-requests", "8")
    told = done.stderr.splitlines()
    assert done.returncode == 1
    assert len(told) == 9  # eight images that were asked about in vain, and the end
    assert "no answer for 97 of 100 images; the last 89 were not asked about" in told[-1]
    assert len(done.stdout.splitlines()) == (3 if kind == "lines" else 100)
    if kind == "json":
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [Path(answer["path"]).stem for answer in answers] == [f"{number:03}" for number in range(100)]
        assert "not asked about" in answers[-1]["error"]


def test_a_file_without_an_end_is_one_line(url: str) -> None:
    done = query("/dev/zero", "--url", url)
    assert "/dev/zero: more than 256 MiB; give the path of an image" in done.stderr
    assert "no answer for 1 of 1 image" in done.stderr


@pytest.mark.parametrize("kind", ["lines", "json"])
def test_an_answer_that_says_that_it_is_none_is_named_as_one(url: str, tmp_path: Path, kind: str) -> None:
    for name, content in (("a.jpg", b"image"), ("b.jpg", b"image of nothing")):
        (tmp_path / name).write_bytes(content)
    done = query(str(tmp_path), "--url", url, "--format", kind)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{tmp_path / 'b.jpg'}: the network's answer isn't finite",
        "error: no answer for 1 of 2 images",
    ]


def test_a_folder_s_images_are_those_that_other_jobs_find(url: str, tmp_path: Path) -> None:
    """Linked folders, too, and no shadow of a file; what can't be read is told."""
    images, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    for folder in (images / "locked", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"image")
    (images / "._a.jpg").write_bytes(b"text")
    (images / "cases.csv").write_text("image,age\n")
    (images / "linked").symlink_to(elsewhere)
    (images / "gone").symlink_to(tmp_path / "none")
    (images / "locked").chmod(0)
    is_root = os.access(images / "locked", os.R_OK)  # whom no permission holds
    done = query(str(images), "--url", url)
    (images / "locked").chmod(0o700)
    (told,) = done.stderr.splitlines()
    assert told.startswith(f"{images}: passed over: ")
    assert "hidden files and files of the operating system (1)" in told
    assert "broken links and special files (1)" in told
    assert "tables (1)" in told
    assert is_root or "folders that can't be read: check their permissions (1)" in told
    answered = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert answered == [str(images / name / "a.jpg") for name in (["linked", "locked"] if is_root else ["linked"])]
    assert done.returncode == 0


@pytest.mark.parametrize("kind", ["lines", "json", "table"])
def test_a_name_that_no_letters_make_costs_no_other_answer(url: str, tmp_path: Path, kind: str) -> None:
    names = [b"a\xff.jpg", b"b\nc.jpg", b"none\xff.jpg", b"z.jpg"]
    for name in (names[0], names[1], names[3]):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(b"image")
    paths = [os.fsdecode(bytes(tmp_path) + b"/" + name) for name in names]
    done = query(*paths, "--url", url, "--format", kind)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{tmp_path}/none\\udcff.jpg: No such file or directory; give the path of an image",
        "error: no answer for 1 of 4 images",
    ]
    if kind == "lines":
        found = [line.split(": Routine")[0] for line in done.stdout.splitlines()]
        assert found == [f"{tmp_path}/{name}" for name in ("a\\udcff.jpg", "b\\nc.jpg", "z.jpg")]
    elif kind == "json":
        assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == paths
    else:
        rows = csv.DictReader(io.StringIO(done.stdout))
        assert [row["path"] for row in rows] == [path.replace("\udcff", "\\udcff") for path in paths]


@pytest.mark.parametrize("kind", ["lines", "table"])
def test_who_stops_reading_ends_it_without_a_word(url: str, tmp_path: Path, kind: str) -> None:
    """As ``| head -1`` does, whichever of its lines is the first that nobody reads."""
    (tmp_path / "a.jpg").write_bytes(b"image")
    command = [sys.executable, "-m", "jobs.query", str(tmp_path), "--url", url, "--format", kind]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_nor_does_a_job_say_a_word_that_prints_to_nobody_at_its_end(tmp_path: Path) -> None:
    """What it prints without flushing is written out when it ends."""
    create_key(str(tmp_path / "keys.json"), "a", SCOPES, None)
    command = [sys.executable, "-m", "jobs.keys", "list", "--keys", str(tmp_path / "keys.json")]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_output_is_no_error(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    command = f"{sys.executable} -m jobs.query {tmp_path} --url {url} --format table >&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_disk_that_is_full_is_one_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    command = [sys.executable, "-m", "jobs.query", str(tmp_path), "--url", url]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device")
    assert len(done.stderr.splitlines()) == 1


def test_an_interrupted_one_doesn_t_say_that_it_goes_on(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    (tmp_path / "b.jpg").write_bytes(b"image that is slow")
    command = [sys.executable, "-m", "jobs.query", str(tmp_path), "--url", url]
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout is not None
    assert "a.jpg: Routine" in running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told.splitlines()[-1] == "interrupted; the images that were printed are answered, no others"


def test_a_key_file_with_more_than_the_key_isn_t_shown(url: str, folder: Path, tmp_path: Path) -> None:
    key, _ = create_key(str(tmp_path / "keys.json"), "a", SCOPES, None)
    file, told = tmp_path / "n.key", "; expected a key alone, as the last line that jobs.keys create prints"
    file.write_text(f"0123  valid a\nthe key, which can't be shown again:\n{key}\n")
    asked = query(str(folder), "--url", url, "--key-file", str(file))
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == f"error: {file}: 11 words{told}\n"
    for content, words in (("", "0 words"), ("schlüssel", "1 word")):
        file.write_text(content)
        with pytest.raises(DataError, match=f"{words}{told}") as raised:
            _read_key(file)
        assert "schl" not in str(raised.value)
    file.write_text(f"\ufeff{key}\n")  # as an editor of Windows writes it
    assert _read_key(file) == key


def test_a_key_in_the_environment_is_looked_at_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "mray_1\nmray_2")
    with pytest.raises(DataError, match=f"^{KEY_VARIABLE}: 2 words; ") as raised:
        _read_key(None)
    assert "mray" not in str(raised.value)
    monkeypatch.setenv(KEY_VARIABLE, "mray_1\n")
    assert _read_key(None) == "mray_1"
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert _read_key(None) is None


def test_files_of_the_home_are_found_there(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    (tmp_path / "n.key").write_text("token")
    done = query("~/a.jpg", "--url", url, "--key-file=~/n.key", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert query("~", "--url", url, HOME=str(tmp_path)).stdout.partition(":")[0] == "~/a.jpg"
