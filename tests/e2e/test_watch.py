"""A watched folder as a command: alerts within seconds, and random kills that lose and repeat nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from tests.alerting import write_settings
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE

ROOT = Path(__file__).parents[2]
NUM_IMAGES, NUM_KILLS = 80, 4


class Job:
    """jobs.watch in a process of its own."""

    def __init__(self, folder: Path, checkpoint: str) -> None:
        self.log = folder / "watch.log"
        self.begin = self.log.stat().st_size if self.log.exists() else 0
        settings = write_settings(folder)
        command = [sys.executable, "-m", "jobs.watch", "--checkpoint", checkpoint, "--images", str(folder / "inbox")]
        command += ["--output", str(folder / "output"), "--alerts", str(settings)]
        command += ["--every-seconds", "0.2", "--settle-seconds", "0.4"]
        with self.log.open("a") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_for(self, what: str) -> None:
        deadline = time.monotonic() + 300
        while what not in self.log.read_text()[self.begin :]:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def end(self, number: int) -> int:
        os.kill(self.process.pid, number)
        return self.process.wait(60)


Start = Callable[[], Job]


@pytest.fixture
def start(checkpoint: str, tmp_path: Path) -> Iterator[Start]:
    """Start jobs, none of which outlives the test."""
    (tmp_path / "inbox").mkdir()
    jobs: list[Job] = []

    def begin() -> Job:
        jobs.append(Job(tmp_path, checkpoint))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.process.kill()
        job.process.wait(60)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE, decision_threshold=0.0)


def drop(folder: Path, number: int) -> None:
    """Write an image in two halves, as over a slow line."""
    pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    with (folder / f"image{number:03d}.png").open("wb", buffering=0) as file:
        file.write(encoded[: len(encoded) // 2])
        time.sleep(0.05)
        file.write(encoded[len(encoded) // 2 :])


def read_sent(folder: Path) -> list[dict[str, Any]]:
    file = folder / "alerts.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["data"] for line in lines if line.endswith("}")]  # a line may be just being written


def test_random_kills_lose_no_image_and_no_alert(start: Start, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    chance = random.Random(0)
    job = start()
    job.wait_for("watching")
    kills = sorted(chance.sample(range(5, NUM_IMAGES), NUM_KILLS))
    for number in range(NUM_IMAGES):
        drop(inbox, number)
        if number in kills:
            time.sleep(chance.uniform(0, 1.5))
            assert job.end(signal.SIGKILL) == -signal.SIGKILL
            job = start()
            if chance.random() < 0.5:
                job.wait_for("watching")
    deadline = time.monotonic() + 120
    while len({one["idempotency_key"] for one in read_sent(tmp_path)}) < NUM_IMAGES and time.monotonic() < deadline:
        time.sleep(0.1)
    assert job.end(signal.SIGINT) == 130
    assert "interrupted; the same command goes on" in job.log.read_text()
    assert "Traceback" not in job.log.read_text()
    table = pd.read_parquet(tmp_path / "output" / "predictions.parquet")
    assert list(table["path"]) == sorted(str(path) for path in inbox.iterdir())
    assert table["decision"].eq("refer").all()
    assert "image000" not in job.log.read_text(), "file names may hold a name"
    sent = read_sent(tmp_path)
    keys = Counter(one["idempotency_key"] for one in sent)
    alerts = {alert["alert_id"] for one in sent for alert in one["alerts"]}
    assert len(alerts) == NUM_IMAGES
    assert sum(keys.values()) - len(keys) <= NUM_KILLS, "again only what a kill left unconfirmed, under the same key"


def test_a_service_manager_ends_it_and_a_wrong_setting_is_one_line(
    start: Start, checkpoint: str, tmp_path: Path
) -> None:
    job = start()
    job.wait_for("watching")
    assert job.end(signal.SIGTERM) == 143
    command = [sys.executable, "-m", "jobs.watch", "--checkpoint", checkpoint, "--images", str(tmp_path / "inbox")]
    wrong = subprocess.run(
        [*command, "--output", str(tmp_path / "inbox" / "out")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert wrong.stderr.strip().count("\n") == 0
    assert "lies in the folder of the images" in wrong.stderr
