"""Nodes that go while a sweep, a batch and the service use them: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from melanoma_ray.client import Client
from melanoma_ray.retries import Retries
from tests.checkpoints import build_checkpoint
from tests.cluster import Cluster, free_ports, nodes_of, running_cluster, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600
NUM_IMAGES = 12_000  # fewer are answered before the second actor has started


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def two_nodes(cluster: Cluster) -> list[str]:
    """See that two nodes are there, with a CPU each, and return their ids; the second is called ``lost``."""
    for name in [name for name in cluster.nodes if name != "head"]:
        cluster.kill_raylet(name)
    return [cluster.add_worker(name, 1) for name in ("kept", "lost")]


def start(cluster: Cluster, log: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a job on the cluster, as a process of its own."""
    environment = cluster.environment() | {"RAY_ADDRESS": cluster.address}
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )


def draw_images(folder: Path, number: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(number):
        cv2.imwrite(str(folder / f"{index:05}.png"), random.integers(0, 256, (64, 64, 3), np.uint8))


def test_a_batch_that_loses_a_node_answers_every_image_once(
    cluster: Cluster, two_nodes: list[str], tmp_path: Path
) -> None:
    draw_images(tmp_path / "images", NUM_IMAGES)
    checkpoint, output, log = build_checkpoint(str(tmp_path / "checkpoint")), tmp_path / "out", tmp_path / "log"
    command = ["jobs.predict", "--checkpoint", checkpoint, "--images", str(tmp_path / "images")]
    job = start(cluster, log, *command, "--output", str(output))
    wait_for(lambda: nodes_of(cluster, "MapWorker") == set(two_nodes) or job.poll() is not None, TIMEOUT_S, cluster)
    assert job.poll() is None, log.read_text()[-4000:]
    cluster.kill_raylet("lost")
    assert job.wait(TIMEOUT_S) == 0, log.read_text()[-4000:]
    table = pd.read_parquet(output / "predictions.parquet")
    assert [Path(path).name for path in table["path"]] == [f"{index:05}.png" for index in range(NUM_IMAGES)]
    assert table["decision"].notna().all()


def test_a_sweep_of_two_workers_a_trial_goes_on_when_a_node_is_replaced(
    cluster: Cluster, two_nodes: list[str], prepared: str, tmp_path: Path
) -> None:
    command = ["jobs.tune", "baseline", "--data", prepared, "--storage", str(tmp_path), "--name", "sweep"]
    command += ["--num-trials", "3", "--num-epochs", "4", "--model.image-side", "64", "--global-batch-size", "16"]
    log = tmp_path / "log"
    job = start(cluster, log, *command, "--num-workers", "2", "--cpus-per-worker", "0.6")
    wait_for(
        lambda: nodes_of(cluster, "RayTrainWorker") == set(two_nodes) or job.poll() is not None, TIMEOUT_S, cluster
    )
    assert job.poll() is None, log.read_text()[-4000:]
    cluster.kill_raylet("lost")
    cluster.add_worker("replacement", 1)
    assert job.wait(TIMEOUT_S) == 0, log.read_text()[-4000:]
    table = pd.read_parquet(tmp_path / "sweep" / "trials.parquet")
    assert sorted(int(name.split("-")[0]) for name in table["trial"]) == [1, 2, 3]
    assert set(table["status"]) <= {"finished", "stopped early"}


def test_a_node_lost_under_load_costs_our_client_no_answer(
    cluster: Cluster, two_nodes: list[str], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    command = ["jobs.deploy", "--checkpoint", build_checkpoint(str(tmp_path / "checkpoint")), "--port", str(port)]
    log, is_done = tmp_path / "log", threading.Event()
    assert start(cluster, log, *command, "--num-replicas", "2").wait(TIMEOUT_S) == 0, log.read_text()[-4000:]
    assert nodes_of(cluster, "ServeReplica") == set(two_nodes)

    def keep_asking(seed: int) -> int:
        image = np.random.default_rng(seed).integers(0, 256, (80, 90, 3), np.uint8)
        encoded, number = cv2.imencode(".png", image)[1].tobytes(), 0
        with Client(f"http://127.0.0.1:{port}", retries=Retries(max_tries=10)) as client:
            while not is_done.is_set():
                client.predict(encoded)
                number += 1
                time.sleep(0.1)  # a new node has to start beside it, on the same cores
        return number

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking, seed) for seed in range(4)]
        try:
            time.sleep(2)
            cluster.kill_raylet("lost")
            time.sleep(5)
            replacement = cluster.add_worker("replacement", 1)
            wait_for(lambda: nodes_of(cluster, "ServeReplica") == {two_nodes[0], replacement}, TIMEOUT_S, cluster)
            time.sleep(2)
        finally:
            is_done.set()
        assert all(one.result() > 20 for one in asking)
    it_can_be_stopped(cluster, log)


def it_can_be_stopped(cluster: Cluster, log: Path) -> None:
    assert start(cluster, log, "jobs.deploy", "--stop").wait(TIMEOUT_S) == 0, log.read_text()[-4000:]
    assert log.read_text().splitlines()[-1] == "the service is stopped"
    wait_for(lambda: nodes_of(cluster, "ServeReplica") == set(), TIMEOUT_S, cluster)
    assert start(cluster, log, "jobs.deploy", "--rollback").wait(TIMEOUT_S) == 1
    assert "no service runs on this cluster" in log.read_text()


def test_a_job_whose_cluster_is_gone_ends_with_one_line(prepared: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_cluster() as cluster:
        command = ["jobs.evaluate", "--checkpoint", build_checkpoint(str(tmp_path / "checkpoint")), "--data", prepared]
        job = start(cluster, log, *command, "--output", str(tmp_path / "out"))
        wait_for(lambda: "waiting: " in log.read_text() or job.poll() is not None, TIMEOUT_S, cluster)
        assert job.poll() is None, log.read_text()[-4000:]
    assert job.wait(TIMEOUT_S) == 1
    text = log.read_text()
    assert "doesn't answer any more: see that its head runs, then start the job again" in text
    assert "Traceback" not in text
