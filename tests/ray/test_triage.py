"""Batch triage that is killed, goes on, and is run again: every image exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
import pytest

from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.batch import TriageResult, triage
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE

NUM_IMAGES = 640
JOB = """
import sys, ray
from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.batch import triage
ray.init(address="local", num_cpus=2, logging_level="error", log_to_driver=False)
triage(sys.argv[1], list_images(sys.argv[2]), sys.argv[3])
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    draw_images(folder, NUM_IMAGES)
    return folder


def draw_images(folder: Path, number: int) -> None:
    """Write images of noise, no two alike."""
    random = np.random.default_rng(0)
    for place in range(number):
        cv2.imwrite(str(folder / f"image{place:04d}.png"), random.integers(0, 255, (SIDE, SIDE, 3), np.uint8))


def parts_in(output: Path) -> dict[str, int]:
    """Files of answers, and when each was written, ns."""
    return {path.name: path.stat().st_mtime_ns for path in output.glob("parts/*/[!.]*.parquet")}


def wait_for(is_done: Callable[[], bool], timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_done():
        assert time.monotonic() < deadline, f"nothing within {timeout_s} s"
        time.sleep(0.01)


def kill_actors() -> int:
    """End the processes of this test's own Ray that hold a network, by SIGKILL, and return their number."""
    found = [one for one in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(one.cmdline())]
    for one in found:
        one.send_signal(signal.SIGKILL)
    return len(found)


def expect_each_once(result: TriageResult, images: Path) -> pd.DataFrame:
    table = pd.read_parquet(result.predictions)
    assert list(table["path"]) == sorted(str(path) for path in images.iterdir())
    assert table["decision"].notna().all()
    return table


def test_an_actor_that_is_killed_costs_its_block_and_every_image_is_answered_once(
    local_ray: None, checkpoint: str, images: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def watch() -> None:
        wait_for(lambda: len(parts_in(tmp_path)) >= 2)
        killed.append(kill_actors())

    watching = threading.Thread(target=watch)
    watching.start()
    result = triage(checkpoint, list_images(str(images)), str(tmp_path))
    watching.join()
    assert killed[0] >= 1
    assert (result.num_scored, result.num_kept) == (NUM_IMAGES, 0)
    expect_each_once(result, images)


def test_a_job_that_is_killed_goes_on_without_scoring_an_image_twice(
    local_ray: None, checkpoint: str, images: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", JOB, checkpoint, str(images), str(tmp_path)]
    root = str(Path(__file__).parents[2])
    job = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": root}, start_new_session=True)
    try:
        wait_for(lambda: len(parts_in(tmp_path)) >= 2 or job.poll() is not None)
        assert job.poll() is None, "it ended before it could be killed"
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert not (tmp_path / "predictions.parquet").exists()
    before = parts_in(tmp_path)
    result = triage(checkpoint, list_images(str(images)), str(tmp_path))
    after = parts_in(tmp_path)
    assert {name: after[name] for name in before} == before
    assert result.num_kept >= 64 * len(before)
    assert result.num_scored == NUM_IMAGES - result.num_kept < NUM_IMAGES
    expect_each_once(result, images)


def test_run_again_it_scores_only_what_is_new_and_answers_copies_once(
    local_ray: None, checkpoint: str, tmp_path: Path
) -> None:
    images, output = tmp_path / "images", tmp_path / "output"
    images.mkdir()
    draw_images(images, 30)
    first = triage(checkpoint, list_images(str(images)), str(output))
    before = expect_each_once(first, images)
    new, copy = images / "new.png", images / "copy-of-new.png"
    cv2.imwrite(str(new), np.full((SIDE, SIDE, 3), 90, np.uint8))
    copy.write_bytes(new.read_bytes())
    again = triage(checkpoint, list_images(str(images)), str(output))
    assert (again.num_scored, again.num_kept, again.num_copies) == (1, 30, 1)
    table = expect_each_once(again, images)
    rows = table.set_index("image_id")
    assert rows["copy_of"]["new"] == str(copy)
    assert table["copy_of"].notna().sum() == 1
    assert rows["melanoma_probability"]["new"] == rows["melanoma_probability"]["copy-of-new"]
    assert f"same picture: {new}" in (output / "worklist.html").read_text()
    pd.testing.assert_frame_equal(rows.loc[before["image_id"]].reset_index()[before.columns], before)
