"""Two training workers on two nodes, and what happens when one of the nodes goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from melanoma_ray.synthetic.collection import write_synthetic_collection
from tests.checkpoints import build_checkpoint
from tests.cluster import Cluster, nodes_of, running_cluster, wait_for

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 400
NUM_EPOCHS = 4
CPUS = 1  # of a node: room for one worker of 0.6, and for one task that loads
MID_EPOCH_STEP = 10
EVERY_TEN_STEPS = ("--checkpoint-every-minutes", "1e-6")


class Driver:
    """``python -m jobs.train`` with two workers, as a process of its own."""

    def __init__(self, cluster: Cluster, data: str, storage: Path, name: str, *options: str) -> None:
        self.run = storage / name
        self.log = storage / f"{name}.log"
        command = [sys.executable, "-m", "jobs.train", "baseline", "--precision", "fp32", "--model.image-side", "160"]
        command += ["--global-batch-size", "16", "--num-epochs", str(NUM_EPOCHS), "--cpus-per-worker", "0.6"]
        command += ["--data", data, "--storage", str(storage), "--name", name, "--num-workers", "2", *options]
        environment = cluster.environment() | {"RAY_ADDRESS": cluster.address}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def saved(self) -> dict[int, dict[str, Any]]:
        """Return the progress of each checkpoint, by its step."""
        found = {}
        for name in self.run.glob("checkpoint_*/progress.json"):
            try:
                progress = json.loads(name.read_text())
            except (OSError, ValueError):  # it is being written, or deleted
                continue
            found[progress["step"]] = progress
        return found

    def steps_saved(self) -> set[int]:
        return set(self.saved())

    def newest_history(self) -> list[dict[str, Any]]:
        saved = self.saved()
        history: list[dict[str, Any]] = saved[max(saved)]["history"]
        return history

    def wait_for_step(self, step: int) -> None:
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while not any(saved >= step for saved in self.steps_saved()):
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.02)

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the final weights' digest and the history."""
        assert self.process.wait(RUN_TIMEOUT_S) == 0, self.log.read_text()[-4000:]
        history = json.loads((self.run / "history.json").read_text())["epochs"]
        assert [record["epoch"] for record in history] == list(range(1, NUM_EPOCHS + 1))
        saved = {
            json.loads(path.read_text())["step"]: path.parent for path in self.run.glob("checkpoint_*/progress.json")
        }
        newest = saved[max(saved)]
        content = (newest / "progress.safetensors").read_bytes() + (newest / "model.safetensors").read_bytes()
        return sha256(content).hexdigest(), history


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def two_nodes(cluster: Cluster) -> dict[str, str]:
    """See that two worker nodes are there; return their names and ids."""
    return add_two_nodes(cluster)


def add_two_nodes(cluster: Cluster) -> dict[str, str]:
    for name in [name for name in cluster.nodes if name != "head"]:
        cluster.kill_raylet(name)
    return {name: cluster.add_worker(name, CPUS) for name in (f"a-{os.urandom(2).hex()}", f"b-{os.urandom(2).hex()}")}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, prepared: str, storage: Path) -> dict[str, Any]:
    """A run that is left alone: where it was to train, where it did, and its result."""
    nodes = set(add_two_nodes(cluster).values())
    driver = Driver(cluster, prepared, storage, "alone", *EVERY_TEN_STEPS)
    driver.wait_for_step(MID_EPOCH_STEP)
    trained_on = nodes_of(cluster, "RayTrainWorker")
    weights, history = driver.finish()
    return {"nodes": nodes, "trained_on": trained_on, "weights": weights, "history": history}


@pytest.mark.slow
def test_two_workers_on_two_nodes_train_to_the_end(undisturbed: dict[str, Any]) -> None:
    assert undisturbed["trained_on"] == undisturbed["nodes"]
    assert undisturbed["history"][-1]["train_loss"] < undisturbed["history"][0]["train_loss"]


@pytest.mark.slow
def test_a_node_that_dies_and_is_replaced_changes_nothing_in_the_weights(
    cluster: Cluster, two_nodes: dict[str, str], prepared: str, storage: Path, undisturbed: dict[str, Any]
) -> None:
    driver = Driver(cluster, prepared, storage, "killed", *EVERY_TEN_STEPS)
    driver.wait_for_step(MID_EPOCH_STEP)
    cluster.kill_raylet(next(iter(two_nodes)))
    cluster.add_worker("replacement", CPUS)
    weights, _ = driver.finish()
    assert max(driver.steps_saved()) == undisturbed["history"][-1]["step"]
    assert weights == undisturbed["weights"]


@pytest.mark.slow
def test_a_driver_that_is_killed_and_the_same_command_again_give_the_same_weights(
    cluster: Cluster, two_nodes: dict[str, str], prepared: str, storage: Path, undisturbed: dict[str, Any]
) -> None:
    first = Driver(cluster, prepared, storage, "again", *EVERY_TEN_STEPS)
    first.wait_for_step(MID_EPOCH_STEP)
    first.process.kill()
    first.process.wait()
    weights, history = Driver(cluster, prepared, storage, "again", *EVERY_TEN_STEPS).finish()
    assert weights == undisturbed["weights"]
    assert [record["val_loss"] for record in history] == [record["val_loss"] for record in undisturbed["history"]]


@pytest.mark.slow
def test_an_elastic_run_shrinks_and_grows_with_the_cluster_and_learns_the_same(
    cluster: Cluster, two_nodes: dict[str, str], prepared: str, storage: Path, undisturbed: dict[str, Any]
) -> None:
    """Its epochs are many, since Ray asks once a minute whether a run could grow; the first ones are compared."""
    driver = Driver(cluster, prepared, storage, "elastic", *EVERY_TEN_STEPS, "--min-workers", "1", "--num-epochs", "60")
    try:
        driver.wait_for_step(MID_EPOCH_STEP)
        lost, left = two_nodes
        cluster.kill_raylet(lost)
        wait_for(lambda: nodes_of(cluster, "RayTrainWorker") == {two_nodes[left]}, RUN_TIMEOUT_S, cluster)
        driver.wait_for_step(max(driver.steps_saved()) + MID_EPOCH_STEP)  # it goes on with one
        returned = cluster.add_worker("returned", CPUS)
        wait_for(lambda: nodes_of(cluster, "RayTrainWorker") == {two_nodes[left], returned}, RUN_TIMEOUT_S, cluster)
        grown_at = max(driver.steps_saved())
        driver.wait_for_step(max(grown_at, undisturbed["history"][-1]["step"]) + MID_EPOCH_STEP)  # and with both
        history = driver.newest_history()
    finally:
        driver.process.terminate()
        driver.process.wait(60)
    assert [record["epoch"] for record in history] == list(range(1, len(history) + 1))
    for ours, theirs in zip(history, undisturbed["history"], strict=False):
        assert ours["step"] == theirs["step"]
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.1)  # dropout draws by worker
    assert len(history) >= NUM_EPOCHS


@pytest.mark.slow
def test_a_node_that_is_about_to_go_leads_to_a_checkpoint(
    cluster: Cluster, two_nodes: dict[str, str], prepared: str, storage: Path
) -> None:
    driver = Driver(cluster, prepared, storage, "preempted", "--checkpoint-every-minutes", "1000", "--num-epochs", "40")
    driver.wait_for_step(1)  # of the first epoch's end
    address, node = cluster.address, next(iter(two_nodes.values()))
    drain = [str(Path(sys.executable).parent / "ray"), "drain-node", f"--address={address}", f"--node-id={node}"]
    drain += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", "--deadline-remaining-seconds=300"]
    subprocess.run(drain, env=cluster.environment(), check=True, capture_output=True)
    deadline = time.monotonic() + 120
    try:
        while not (found := driver.steps_saved() - epoch_ends(driver)):
            assert time.monotonic() < deadline, driver.log.read_text()[-2000:]
            time.sleep(0.05)
    finally:
        driver.process.terminate()
        driver.process.wait(60)
    assert all(step % 10 == 0 for step in found)


def epoch_ends(driver: Driver) -> set[int]:
    """Return the steps at which the epochs done so far ended, as the checkpoints' histories tell them."""
    return {record["step"] for progress in driver.saved().values() for record in progress["history"]}


@pytest.mark.slow
def test_a_training_that_fits_no_node_says_so_in_one_line_and_ends_when_its_patience_does(
    cluster: Cluster, two_nodes: dict[str, str], prepared: str, storage: Path
) -> None:
    driver = Driver(cluster, prepared, storage, "huge", "--cpus-per-worker", "64", "--wait-minutes", "1.5")
    assert driver.process.wait(RUN_TIMEOUT_S) == 1
    told = driver.log.read_text()
    (line,) = [line for line in told.splitlines() if line.startswith("waiting: ")]
    assert "training asks for 2 × 64 CPUs; there are 2 CPUs" in line
    assert "in the largest node 1 CPU" in line
    assert "for 1.5 minutes (--wait-minutes); fewer --num-workers" in line
    assert told.strip().splitlines()[-1].startswith("error: no room within 1.5 minutes (--wait-minutes): training")
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_prediction_that_others_leave_no_room_for_says_who_they_are(
    cluster: Cluster, two_nodes: dict[str, str], prepared: str, storage: Path, tmp_path: Path
) -> None:
    """And Ctrl-C ends it while it waits."""
    driver = Driver(cluster, prepared, storage, "holding", "--cpus-per-worker", "1", "--num-epochs", "1")
    checkpoint, images = build_checkpoint(str(tmp_path / "checkpoint")), str(tmp_path / "images")
    write_synthetic_collection(images, num_images=60, seed=1)
    environment = cluster.environment() | {"RAY_ADDRESS": cluster.address}
    command = [sys.executable, "-m", "jobs.predict", "--checkpoint", checkpoint, "--images", images]
    log = tmp_path / "predict.log"
    try:
        wait_for(lambda: len(nodes_of(cluster, "RayTrainWorker")) == 2, RUN_TIMEOUT_S, cluster)
        with log.open("w") as file:
            predict = subprocess.Popen(
                [*command, "--output", str(tmp_path / "out")], cwd=ROOT, env=environment, stdout=file, stderr=file
            )
        wait_for(lambda: "waiting: " in log.read_text() or predict.poll() is not None, 120, cluster)
        predict.send_signal(signal.SIGINT)
        assert predict.wait(15) == 130
    finally:
        driver.process.kill()
        driver.process.wait()
    assert "scoring asks for 1 × 1 CPU; there are 2 CPUs" in log.read_text()
    assert "held by 2 × RayTrainWorker of job " in log.read_text()
    assert log.read_text().strip().splitlines()[-1] == "interrupted; the same command goes on"
