"""The loop without Ray: what ends a run, what is saved within an epoch, and what it goes on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from melanoma_ray.config import OptimizerConfig
from melanoma_ray.patients import NUM_FEATURES
from melanoma_ray.training.loop import Worker
from tests.unit.training.local_backend import EXPERIMENT, Images, InterruptionError, LocalBackend, build_job


def test_a_run_without_disturbance_reports_each_epoch_and_learns(tmp_path: Path) -> None:
    backend = LocalBackend(build_job(EXPERIMENT), tmp_path / "run")
    history = Worker(backend.job, backend).train()
    assert backend.steps_saved == [15, 30, 45, 60]
    assert [report["epoch"] for report in backend.reports] == [1, 2, 3, 4]
    assert history[-1].val_loss < history[0].val_loss


@pytest.mark.parametrize("fail_at_step", [10, 20, 30])
def test_an_interruption_within_an_epoch_leaves_no_trace(tmp_path: Path, fail_at_step: int) -> None:
    alone = LocalBackend(build_job(EXPERIMENT), tmp_path / "alone")
    expected = Worker(alone.job, alone).train()
    job = build_job(EXPERIMENT, checkpoint_every_s=1e-9)
    first = LocalBackend(job, tmp_path / "run", fail_at_step=fail_at_step)
    with pytest.raises(InterruptionError):
        Worker(job, first).train()
    second = LocalBackend(job, tmp_path / "run")
    found = Worker(job, second).train()
    assert first.steps_saved + second.steps_saved == [10, 15, 20, 30, 30, 40, 45, 50, 60, 60]
    for ours, theirs in zip(found, expected, strict=True):
        timeless = {"images_per_s": 0, "waiting_fraction": 0, "first_batch_s": 0, "ended_at": 0, "seconds": 0}
        assert replace(ours, **timeless) == replace(theirs, **timeless)
    for name in ("progress.safetensors", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_a_node_that_leaves_is_reason_to_save_even_where_checkpoints_within_epochs_are_off(tmp_path: Path) -> None:
    backend = LocalBackend(build_job(EXPERIMENT), tmp_path / "run", leaves_at=2)
    Worker(backend.job, backend).train()
    assert backend.steps_saved == [15, 20, 30, 45, 60]


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    still = replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=1e-12), num_epochs=20, patience_epochs=2)
    backend = LocalBackend(build_job(still), tmp_path / "run")
    assert len(Worker(backend.job, backend).train()) == 3
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["batch_index"] == backend.job.plan.num_batches


def test_a_network_learns_from_metadata_what_no_image_shows(tmp_path: Path) -> None:
    class Blank(Images):
        def __init__(self) -> None:
            super().__init__()
            self.pixels = np.full_like(self.pixels, 128)
            self.metadata = np.eye(3, NUM_FEATURES, dtype=np.float32)[self.target]

    accuracy = {}
    for uses_metadata in (False, True):
        model = replace(EXPERIMENT.model, uses_metadata=uses_metadata)
        job = build_job(
            replace(EXPERIMENT, model=model, num_epochs=20, optimizer=replace(EXPERIMENT.optimizer, learning_rate=1e-2))
        )
        backend = LocalBackend(job, tmp_path / str(uses_metadata), images=Blank())
        accuracy[uses_metadata] = Worker(job, backend).train()[-1].val_accuracy
    assert accuracy[False] == pytest.approx(1 / 3)
    assert accuracy[True] > 0.9


def test_a_run_that_starts_from_another_goes_on_with_its_weights_and_its_place(tmp_path: Path) -> None:
    parent = LocalBackend(build_job(EXPERIMENT), tmp_path / "parent", fail_at_step=30)
    with pytest.raises(InterruptionError):
        Worker(parent.job, parent).train()
    job = replace(parent.job, starts_from=str(tmp_path / "parent"))
    child = LocalBackend(job, tmp_path / "child")
    worker = Worker(job, child)
    kept = load_file(tmp_path / "parent" / "progress.safetensors")
    restored = worker.state.classifier.state_dict()
    assert all(torch.equal(restored[name], kept[f"network.{name}"]) for name in restored)
    assert worker.state.step == 30
    history = worker.train()
    assert [record.epoch for record in history] == [1, 2, 3, 4]
    assert child.steps_saved == [45, 60]
    own = LocalBackend(job, tmp_path / "child")
    assert Worker(job, own).state.step == 60  # its own progress counts for more than another's
