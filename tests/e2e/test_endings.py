"""How a job ends that doesn't come to its end: by Ctrl-C, by SIGTERM, or because a setting or a disk is wrong."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import psutil
import pytest
from PIL import Image

from tests.checkpoints import build_checkpoint
from tests.cluster import free_ports

ROOT = Path(__file__).parents[2]
SMALL = ["--model.image-side", "64", "--global-batch-size", "16"]
_buffer = io.BytesIO()
Image.new("RGB", (600, 450), (190, 120, 110)).save(_buffer, "JPEG")
IMAGE = _buffer.getvalue()
END_WITHIN_S = 15
"""Of a signal: eight for the job, and a busy machine's delay."""
BEGIN_WITHIN_S = 400


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


_ASKS_RAY_AFTER_ITS_END = """
import sys, threading, time
import ray
from dataclasses import dataclass
from jobs import console

@dataclass
class Arguments:
    pass

def main(arguments):
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    threads.append(thread)

def ask():
    time.sleep(1)
    ray.put(1)  # of a job that has ended meanwhile

threads = []
console.run_job(main, Arguments)
threads[0].join(60)
print("Ray runs" if ray.is_initialized() else "there is no Ray")
"""


def test_what_a_job_leaves_running_in_a_thread_starts_no_ray_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ASKS_RAY_AFTER_ITS_END],
        check=False,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "there is no Ray", done.stdout + done.stderr


_FAILS_WHILE_IT_IS_UNWOUND = """
import os, signal
from dataclasses import dataclass
from jobs import console
from melanoma_ray.errors import StorageError

@dataclass
class Arguments:
    pass

def main(arguments):
    try:
        os.kill(os.getpid(), signal.{signal})
    finally:
        raise StorageError("a lock that is gone")

console.run_job(main, Arguments)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_step_that_fails_while_a_signal_unwinds_the_job_is_not_the_reason_of_its_end(name: str, code: int) -> None:
    command = [sys.executable, "-c", _FAILS_WHILE_IT_IS_UNWOUND.replace("{signal}", name)]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (code, "interrupted; the same command goes on")


_FORGETS_A_NETWORK = """
import os, signal, sys
from dataclasses import dataclass
from jobs import console
from melanoma_ray.inference.agreement import draw_crops
from melanoma_ray.inference.predictor import Predictor

@dataclass
class Arguments:
    pass

def main(arguments):
    predictor = Predictor.load(os.environ["CHECKPOINT"], "cpu")
    predictor.predict(draw_crops(predictor.image.side))
    del predictor
    os.kill(os.getpid(), signal.SIGINT)

console.run_job(main, Arguments)
"""


def test_a_signal_after_a_network_was_used_and_forgotten_ends_the_job_in_one_line(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "checkpoint"))
    done = subprocess.run(
        [sys.executable, "-c", _FORGETS_A_NETWORK],
        check=False,
        cwd=ROOT,
        env={**environment(), "CHECKPOINT": checkpoint},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "interrupted; the same command goes on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [["jobs.deploy", "--checkpoint", "x"], ["jobs", "deploy", "--checkpoint", "x"]])
def test_a_signal_while_a_job_is_imported_ends_it_in_one_line(command: list[str], number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", *command], cwd=ROOT, env=environment(), stderr=subprocess.PIPE
    ) as job:
        assert job.stderr is not None
        while b" numpy" not in job.stderr.readline():  # one of the first among what takes seconds
            assert job.poll() is None
        job.send_signal(number)
        assert job.stderr.read().splitlines()[-1] == b"interrupted; nothing was begun"
    assert job.returncode == 128 + number


def test_an_address_at_which_no_cluster_listens_is_told_at_once() -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    done = subprocess.run(
        [sys.executable, "-m", "jobs.deploy", "--rollback"],
        check=False,
        cwd=ROOT,
        env={**environment(), "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=BEGIN_WITHIN_S,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: RAY_ADDRESS={address}: nothing answers there (")
    assert len(done.stderr.splitlines()) == 1


class Job:
    """A job in a process group of its own, as a shell starts it."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        command = [sys.executable, "-m", *arguments]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.started: list[psutil.Process] = []
        self.num_printed_before = 0

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def wait_until(self, is_so: object) -> None:
        deadline = time.monotonic() + BEGIN_WITHIN_S
        while not is_so():  # type: ignore[operator]
            assert self.process.poll() is None, self.printed[-4000:]
            assert time.monotonic() < deadline, self.printed[-4000:]
            time.sleep(0.1)

    def signal_group(self, number: int) -> None:
        """Send a signal to the whole group, as a terminal does with Ctrl-C."""
        self.num_printed_before = len(self.printed)
        self.started = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, number)

    def end(self) -> int:
        """Return the exit code; nothing that the job started may outlive it."""
        code = self.process.wait(END_WITHIN_S)
        _, alive = psutil.wait_procs(self.started, timeout=30)
        assert not alive, alive
        return code


@contextmanager
def running(log: Path, *arguments: str) -> Iterator[Job]:
    job = Job(log, *arguments)
    try:
        yield job
    finally:
        if job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)
            job.process.wait()


def assert_ended_in_one_line(job: Job, code: int, told: str = "interrupted; the same command goes on") -> None:
    ended_with = job.end()
    printed = job.printed[job.num_printed_before :]
    assert ended_with == code, printed
    assert printed.strip().splitlines()[-1] == told
    for dump in ("Traceback", "SIGTERM received", "KeyboardInterrupt", "*** "):
        assert dump not in printed


def begin_training(prepared: str, tmp_path: Path, *options: str) -> list[str]:
    where = ["--data", prepared, "--storage", str(tmp_path), "--name", "run"]
    return ["jobs.train", "baseline", *SMALL, *where, "--num-epochs", "200", *options]


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_training_ends_within_seconds_and_leaves_its_run_free(
    prepared: str, tmp_path: Path, number: int, code: int
) -> None:
    with running(tmp_path / "log", *begin_training(prepared, tmp_path)) as job:
        job.wait_until(lambda: list((tmp_path / "run").glob("checkpoint_*")))
        assert json.loads((tmp_path / "run" / "run.lock").read_text())["process_id"] == job.process.pid
        second = Job(tmp_path / "second", *begin_training(prepared, tmp_path))
        assert second.process.wait(BEGIN_WITHIN_S) == 1
        assert f"is held by process {job.process.pid} of " in second.printed.splitlines()[-1]
        job.signal_group(number)
        assert_ended_in_one_line(job, code)
    assert not (tmp_path / "run" / "run.lock").exists()


@pytest.mark.slow
def test_a_sweep_ends_within_seconds(prepared: str, tmp_path: Path) -> None:
    where = ["--data", prepared, "--storage", str(tmp_path), "--name", "sweep"]
    command = ["jobs.tune", "baseline", *SMALL, *where, "--num-trials", "2", "--num-epochs", "200"]
    with running(tmp_path / "log", *command) as job:
        job.wait_until(lambda: list((tmp_path / "sweep" / "trials").glob("*/epoch-*")))
        job.signal_group(signal.SIGINT)
        assert_ended_in_one_line(job, 130)
    assert not (tmp_path / "sweep" / "run.lock").exists()


def test_a_preparation_ends_within_seconds(collection: str, tmp_path: Path) -> None:
    command = ["jobs.prepare", "--images", collection, "--output", str(tmp_path / "out")]
    with running(tmp_path / "log", *command) as job:
        job.wait_until(lambda: "to be decoded" in job.printed)
        job.signal_group(signal.SIGINT)
        assert_ended_in_one_line(job, 130)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_service_ends_within_seconds_and_gives_the_answers_that_it_owes(
    tmp_path: Path, number: int, code: int
) -> None:
    checkpoint, (port,) = build_checkpoint(str(tmp_path / "checkpoint")), free_ports(1)
    command = ["jobs.deploy", "--checkpoint", checkpoint, "--port", str(port)]
    with running(tmp_path / "log", *command) as job:
        job.wait_until(lambda: "Ctrl-C stops it" in job.printed)
        with ThreadPoolExecutor() as callers:
            answered = [callers.submit(count_answers, port, num_kept) for num_kept in (1, 1, 0, 0)]
            time.sleep(3)
            with refused_while_sending(port):
                job.signal_group(number)
                assert_ended_in_one_line(job, code, "the service is stopped")
            assert all(number.result() > 10 for number in answered)
    assert "raylet" not in job.printed


@contextmanager
def refused_while_sending(port: int) -> Iterator[None]:
    """Have a connection whose request was answered before all of it was sent: nobody waits for anything on it."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: here\r\nContent-Length: 99999999\r\n\r\nbegun")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
        yield


def count_answers(port: int, num_kept: int) -> int:
    """Send an image after another until nobody listens any more; return how many were answered, which all must be.

    Args:
        port: The service's.
        num_kept: Number of connections that are kept for the next image.
    """
    limits = httpx.Limits(max_keepalive_connections=num_kept)
    with httpx.Client(limits=limits, timeout=60) as client:
        for number in itertools.count():
            try:
                response = client.post(f"http://127.0.0.1:{port}/v1/predict", content=IMAGE)
            except httpx.ConnectError:
                return number
            assert response.status_code == 200, response.text
    raise AssertionError


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_job_at_once(prepared: str, tmp_path: Path) -> None:
    with running(tmp_path / "log", *begin_training(prepared, tmp_path)) as job:
        job.wait_until((tmp_path / "run" / "run.json").exists)
        job.signal_group(signal.SIGINT)
        os.kill(job.process.pid, signal.SIGINT)
        assert job.process.wait(3) == 130


def last_line_of(*arguments: str, code: int = 1) -> str:
    """Return the last line of a job that must end without a traceback.

    Args:
        arguments: Module and arguments of the job.
        code: Exit code that it must have.
    """
    job = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=BEGIN_WITHIN_S,
        check=False,
    )
    assert job.returncode == code, job.stderr
    assert "Traceback" not in job.stderr
    return job.stderr.strip().splitlines()[-1]


def test_a_file_where_a_folder_is_meant_is_refused_before_ray_starts(
    prepared: str, collection: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    run = ["--data", prepared, "--storage", str(file), "--name", "run"]
    for command in (
        ["jobs.prepare", "--images", collection, "--output", str(file)],
        ["jobs.train", "baseline", *SMALL, *run],
        ["jobs.tune", "baseline", *SMALL, *run],
    ):
        line = last_line_of(*command)
        assert line.startswith(f"error: {file}")
        assert line.endswith("a file stands where a folder is meant; give another path")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 KiB, which only root may mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may mount nothing")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_a_preparation_and_a_training_in_one_line(
    prepared: str, collection: str, small_disk: Path
) -> None:
    """Workers write the shards and the progress: what they meet is told, not that they failed."""
    full = "No space left on device; free some space, or give a directory on another disk"
    line = last_line_of("jobs.prepare", "--images", collection, "--output", str(small_disk / "out"))
    assert line.startswith("error: ")
    assert line.endswith(full)
    run = ["--data", prepared, "--storage", str(small_disk), "--name", "run", "--num-epochs", "1"]
    line = last_line_of("jobs.train", "baseline", *SMALL, *run, "--max-failures", "0")
    assert line.startswith("error: ")
    assert line.endswith(full)


@pytest.mark.slow
def test_a_sweep_on_a_full_disk_ends_in_one_line_and_its_same_command_runs_all_trials(
    prepared: str, small_disk: Path
) -> None:
    """No trial has failed by itself, so none is recorded as failed."""
    run = ["--data", prepared, "--storage", str(small_disk), "--name", "sweep", "--num-epochs", "1"]
    command = ["jobs.tune", "baseline", *SMALL, *run, "--num-trials", "2", "--max-failures", "0"]
    line = last_line_of(*command)
    assert line.startswith("error: ")
    assert line.endswith("No space left on device; free some space, or give a directory on another disk"), line
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert last_line_of(*command, code=0)
    table = pd.read_parquet(small_disk / "sweep" / "trials.parquet")
    assert sorted(table["status"]) == ["finished", "finished"]
