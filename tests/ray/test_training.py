"""Training on real workers: exact through a kill, the same order for any number of workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.train import ScalingConfig
from safetensors.numpy import load_file
from tensorboardX.proto.event_pb2 import Event

from melanoma_ray.config import Experiment, ModelConfig
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.inference.measures import MEASURES
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.loading.stream import DecodedImages, StoredImages, build_plan, build_stream, input_side, open_images
from melanoma_ray.model.checkpoint import read_manifest, read_validation
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.runs.tracking import EVENTS
from melanoma_ray.settings import with_setting
from melanoma_ray.training.trainer import Supervision, build_run_config, train

SIDE = 64


def scaling(num_workers: int) -> ScalingConfig:
    return ScalingConfig(num_workers=num_workers, resources_per_worker={"CPU": 0.8 / num_workers})


MID_EPOCH_STEP = 10
"""Workers ask every ten steps whether it is time to save; epochs end after 4, 9 and 14."""
EXACT = ("epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy")


def run_training(
    experiment: Experiment,
    data: str,
    storage: Path,
    name: str,
    *,
    num_workers: int = 1,
    max_failures: int = 0,
    supervision: Supervision | None = None,
) -> RunDirectory:
    run_config = build_run_config(str(storage), name, max_failures=max_failures)
    return train(
        experiment,
        open_dataset(data),
        scaling=scaling(num_workers),
        run_config=run_config,
        supervision=supervision,
    )


def newest_progress(run: RunDirectory) -> Path:
    progress = run.newest_progress()
    assert progress is not None
    return Path(progress)


def weights_sha256(run: RunDirectory) -> str:
    progress = newest_progress(run)
    return sha256(
        (progress / "progress.safetensors").read_bytes() + (progress / "model.safetensors").read_bytes()
    ).hexdigest()


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


def steps_saved(run: Path) -> set[int]:
    found = set()
    for name in run.glob("checkpoint_*/progress.json"):
        with contextlib.suppress(OSError, ValueError):  # it may just be written, or deleted
            found.add(json.loads(name.read_text())["step"])
    return found


def kill_a_worker_when_saved(run: Path, step: int, killed: list[int]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and not killed:
        if step in steps_saved(run) and (workers := our_workers()):
            os.kill(workers[-1], signal.SIGKILL)
            killed.append(workers[-1])
        time.sleep(0.01)


def test_a_run_leaves_a_checkpoint_curves_and_a_history(
    undisturbed: RunDirectory, small_experiment: Experiment
) -> None:
    run = Path(undisturbed.uri)
    assert Predictor.load(undisturbed.uri, "cpu").manifest.is_synthetic
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    history = undisturbed.history()
    assert [record.epoch for record in history] == list(range(1, small_experiment.num_epochs + 1))
    assert history[-1].train_loss < history[0].train_loss


def test_a_checkpoint_keeps_what_its_validation_images_looked_like(undisturbed: RunDirectory, prepared: str) -> None:
    kept = read_validation(undisturbed.best, read_manifest(undisturbed.best))
    assert set(kept) == set(MEASURES)
    assert {len(values) for values in kept.values()} == {len(open_dataset(prepared).split("val"))}
    assert ((kept["score"] >= 0) & (kept["score"] <= 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_worker_killed_within_an_epoch_changes_nothing_in_the_weights(
    num_workers: int, small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    # Steps of a quarter of a second, so that the run isn't over before the killer has seen what it waits for.
    slow = replace(small_experiment, model=replace(small_experiment.model, image_side=160))
    alone = run_training(slow, prepared, storage, f"alone-{num_workers}", num_workers=num_workers)
    killed: list[int] = []
    directory = storage / f"killed-{num_workers}"
    killer = threading.Thread(target=kill_a_worker_when_saved, args=(directory, MID_EPOCH_STEP, killed))
    killer.start()
    run = run_training(
        slow,
        prepared,
        storage,
        directory.name,
        num_workers=num_workers,
        max_failures=1,
        supervision=Supervision(checkpoint_every_s=1e-6),
    )
    killer.join()
    assert killed
    assert weights_sha256(run) == weights_sha256(alone)
    for ours, theirs in zip(run.history(), alone.history(), strict=True):
        assert {name: getattr(ours, name) for name in EXACT} == {name: getattr(theirs, name) for name in EXACT}


def test_a_run_that_gets_no_better_ends_early_and_is_finished(
    small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    optimizer = replace(small_experiment.optimizer, learning_rate=1e-12)
    still = replace(small_experiment, optimizer=optimizer, num_epochs=8, patience_epochs=1)
    run = run_training(still, prepared, storage, "still")
    assert len(run.history()) == 2
    assert run.is_finished


def test_two_workers_see_the_same_batches_and_learn_the_same(
    undisturbed: RunDirectory, small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    run = run_training(small_experiment, prepared, storage, "two", num_workers=2)
    ours, theirs = (record.train_loss for record in (run.history()[0], undisturbed.history()[0]))
    assert ours == pytest.approx(theirs, rel=0.05)  # dropout draws differently on each worker
    one, two = (load_file(newest_progress(r) / "model.safetensors") for r in (undisturbed, run))
    distance = sum(float(np.square(one[name] - two[name]).sum()) for name in one)
    length = sum(float(np.square(one[name]).sum()) for name in one)
    assert distance < 0.2 * length


def test_the_stream_follows_the_plan_for_one_worker_and_for_two(small_experiment: Experiment, prepared: str) -> None:
    dataset = open_dataset(prepared)
    plan, images = build_plan(dataset, small_experiment), open_images(dataset)
    whole = build_stream(plan, images, small_experiment, start_batch=0, num_workers=1)
    batches = list(whole.iter_batches(batch_size=16, batch_format="numpy"))
    assert [int(batch["batch_index"][0]) for batch in batches] == list(range(plan.num_batches))
    split = build_stream(plan, images, small_experiment, start_batch=0, num_workers=2)
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


def test_a_run_that_was_begun_before_a_setting_existed_goes_on_with_its_default(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    run, dataset = RunDirectory(uri=str(tmp_path / "old")), open_dataset(prepared)
    run.claim(small_experiment, dataset)
    begun = json.loads((tmp_path / "old" / "run.json").read_text())
    del begun["experiment"]["loss"]["logit_adjustment"], begun["ensemble_over"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(begun))
    run.claim(small_experiment, dataset)
    adjusted = with_setting(small_experiment, "loss.logit_adjustment", 1.0)
    with pytest.raises(ConfigError, match=r"begun with loss.logit_adjustment=0.0 \(now 1.0\)"):
        run.claim(adjusted, dataset)


def test_a_batch_that_the_workers_can_t_share_is_refused_before_anything_starts(
    small_experiment: Experiment, prepared: str, storage: Path
) -> None:
    with pytest.raises(ConfigError, match="global_batch_size=16: 3 workers can't share it evenly"):
        run_training(small_experiment, prepared, storage, "three", num_workers=3)
    assert not (storage / "three").exists()


def test_images_read_from_disk_give_the_same_stream_as_those_in_memory(
    small_experiment: Experiment, prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(prepared)
    plan = build_plan(dataset, small_experiment)
    in_memory = open_images(dataset)
    monkeypatch.setattr("melanoma_ray.loading.stream._MEMORY_SHARE", 0.0)
    on_disk = open_images(dataset)
    assert (type(in_memory), type(on_disk)) == (DecodedImages, StoredImages)
    streams = (
        build_stream(plan, images, small_experiment, start_batch=2, num_workers=1).iter_batches(batch_size=16)
        for images in (in_memory, on_disk)
    )
    for ours, theirs in zip(*streams, strict=True):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_growing_input_reaches_the_network_in_each_size(small_experiment: Experiment, prepared: str) -> None:
    model = ModelConfig(network="tf_efficientnet_lite0", image_side=SIDE)
    experiment = replace(small_experiment, model=model, initial_side_fraction=0.5)
    dataset = open_dataset(prepared)
    plan = build_plan(dataset, experiment)
    stream = build_stream(plan, open_images(dataset), experiment, start_batch=0, num_workers=1)
    sides = [batch["pixels"].shape[1] for batch in stream.iter_batches(batch_size=16)]
    assert sides == [input_side(plan, experiment, batch_index) for batch_index in range(plan.num_batches)]
    assert len(set(sides)) > 1


def test_a_run_s_curves_are_a_tensorboard_file_and_its_origin_is_noted(undisturbed: RunDirectory) -> None:
    files = sorted((Path(undisturbed.uri) / EVENTS).iterdir())
    assert len(files) == len(undisturbed.history())
    events = read_events(b"".join(file.read_bytes() for file in files))
    history = undisturbed.history()
    for name in ("train_loss", "val_balanced_accuracy", "images_per_s"):
        expected = {record.epoch: getattr(record, name) for record in history}
        assert events[f"epoch/{name}"] == pytest.approx(expected)
    assert list(events["step/loss"]) == list(range(1, history[-1].step + 1))
    (provenance,) = json.loads((Path(undisturbed.uri) / "run.json").read_text())["provenance"]
    assert torch.__version__.startswith(provenance["versions"]["torch"])
    assert provenance["nodes"][0]["num_cpus"] == 2


def read_events(content: bytes) -> dict[str, dict[int, float]]:
    """Return the scalars of an event file by name and step: records of length, checksum, message, checksum."""
    found: dict[str, dict[int, float]] = {}
    place = 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        place += 12 + length + 4
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_a_start_by_other_code_is_noted(small_experiment: Experiment, prepared: str, tmp_path: Path) -> None:
    run, dataset, note = RunDirectory(uri=str(tmp_path)), open_dataset(prepared), tmp_path / "run.json"
    for _ in range(2):
        run.claim(small_experiment, dataset)
    noted = json.loads(note.read_text())
    (provenance,) = noted["provenance"]
    note.write_text(json.dumps(noted | {"provenance": [provenance | {"code_sha256": "older"}]}))
    run.claim(small_experiment, dataset)
    assert [start["code_sha256"] for start in json.loads(note.read_text())["provenance"]] == [
        "older",
        provenance["code_sha256"],
    ]
