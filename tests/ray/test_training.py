"""Training on real workers: exact through a kill, the same order for any number of workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from ray.train import ScalingConfig
from safetensors.numpy import load_file

from melanoma_ray.config import Experiment
from melanoma_ray.data.dataset import open_dataset
from melanoma_ray.data.stream import build_plan, build_stream, load_decoded
from melanoma_ray.errors import ConfigError
from melanoma_ray.model.predictor import Predictor
from melanoma_ray.training.run import RunDirectory
from melanoma_ray.training.trainer import build_run_config, train


def scaling(num_workers: int) -> ScalingConfig:
    return ScalingConfig(num_workers=num_workers, resources_per_worker={"CPU": 0.8 / num_workers})


def run_training(
    experiment: Experiment, data: str, storage: Path, name: str, *, num_workers: int = 1, max_failures: int = 0
) -> RunDirectory:
    run_config = build_run_config(str(storage), name, max_failures=max_failures)
    return train(experiment, open_dataset(data), scaling=scaling(num_workers), run_config=run_config)


def weights_sha256(run: RunDirectory) -> str:
    return sha256((Path(run.newest_progress()) / "progress.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(small_experiment: Experiment, prepared: str, storage: Path) -> RunDirectory:
    return run_training(small_experiment, prepared, storage, "undisturbed")


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def our_workers() -> list[int]:
    """Pids of the training workers of this test's own Ray, and of no other on the machine."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_worker = entry.name.isdigit() and b"RayTrainWorker" in (entry / "cmdline").read_bytes()
            if is_worker and os.getpid() in ancestors(int(entry.name)):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill_a_worker_after_the_first_epoch(run: Path, killed: list[int]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and not killed:
        if list(run.glob("checkpoint_*/progress.json")) and (workers := our_workers()):
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])
        time.sleep(0.02)


def test_a_run_leaves_a_checkpoint_curves_and_a_history(
    undisturbed: RunDirectory, small_experiment: Experiment
) -> None:
    run = Path(undisturbed.uri)
    assert Predictor.load(undisturbed.uri, "cpu").manifest.is_synthetic
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    history = undisturbed.history()
    assert [record["epoch"] for record in history] == list(range(1, small_experiment.num_epochs + 1))
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_a_worker_killed_in_mid_run_changes_nothing_in_the_weights(
    undisturbed: RunDirectory, small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker_after_the_first_epoch, args=(storage / "killed", killed))
    killer.start()
    run = run_training(small_experiment, prepared, storage, "killed", max_failures=1)
    killer.join()
    assert killed
    assert weights_sha256(run) == weights_sha256(undisturbed)


def test_two_workers_see_the_same_batches_and_learn_the_same(
    undisturbed: RunDirectory, small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    run = run_training(small_experiment, prepared, storage, "two", num_workers=2)
    ours, theirs = (record["train_loss"] for record in (run.history()[0], undisturbed.history()[0]))
    assert ours == pytest.approx(theirs, rel=0.05)  # dropout draws differently on each worker
    one, two = (load_file(Path(r.newest_progress()) / "model.safetensors") for r in (undisturbed, run))
    distance = sum(float(np.square(one[name] - two[name]).sum()) for name in one)
    length = sum(float(np.square(one[name]).sum()) for name in one)
    assert distance < 0.2 * length


def test_the_stream_follows_the_plan_for_one_worker_and_for_two(small_experiment: Experiment, prepared: str) -> None:
    dataset = open_dataset(prepared)
    plan, decoded = build_plan(dataset, small_experiment), load_decoded(dataset)
    whole = build_stream(plan, decoded, small_experiment, start_slot=0, num_workers=1)
    batches = list(whole.iter_batches(batch_size=16, batch_format="numpy"))
    assert [int(batch["slot"][0]) for batch in batches] == list(range(plan.num_slots))
    split = build_stream(plan, decoded, small_experiment, start_slot=0, num_workers=2)
    shards = split.streaming_split(2, equal=True)
    halves: list[list[dict[str, np.ndarray]]] = [[], []]

    def read(worker: int) -> None:
        halves[worker].extend(shards[worker].iter_batches(batch_size=8, batch_format="numpy"))

    readers = [threading.Thread(target=read, args=(worker,)) for worker in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for batch, first, second in zip(batches, *halves, strict=True):
        np.testing.assert_array_equal(np.concatenate([first["pixels"], second["pixels"]]), batch["pixels"])
        np.testing.assert_array_equal(np.concatenate([first["target"], second["target"]]), batch["target"])


def test_a_finished_run_is_returned_and_other_settings_are_refused(
    undisturbed: RunDirectory, small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    assert run_training(small_experiment, prepared, storage, "undisturbed") == undisturbed
    with pytest.raises(ConfigError, match=r"was begun with num_epochs=3 \(now 4\); .* another --name"):
        run_training(replace(small_experiment, num_epochs=4), prepared, storage, "undisturbed")


def test_a_batch_that_the_workers_can_t_share_is_refused_before_anything_starts(
    small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    with pytest.raises(ConfigError, match="global_batch_size=16: not a multiple of 3 workers"):
        run_training(small_experiment, prepared, storage, "three", num_workers=3)
    assert not (storage / "three").exists()
