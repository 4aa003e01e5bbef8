"""Sweeps with real trials: what the study remembers, what a resumed sweep repeats, and what ends a trial."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow.tracking import MlflowClient
from ray import cloudpickle
from ray.train import ScalingConfig

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import ConfigError, TrainingError
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.loading.stream import open_images
from melanoma_ray.model.checkpoint import check_files, read_manifest
from melanoma_ray.tuning.directory import TrialDirectory
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.space import build_space
from melanoma_ray.tuning.sweep import SweepPlan, sweep
from melanoma_ray.tuning.trial import TrialContext, build_trainable


def plan_of(experiment: Experiment, num_trials: int, **options: object) -> SweepPlan:
    space = build_space([], experiment)
    return SweepPlan(
        experiment=experiment,
        space=space,
        num_trials=num_trials,
        options=SearchOptions(**options),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sweep_on_two_cpus_stops_trials_and_ends_with_settings_that_training_takes(
    small_experiment: Experiment, prepared: str, tmp_path: Path, num_workers: int
) -> None:
    """With workers: two CPUs and a trial that the scheduler stops once deadlocked (ray#54305)."""
    scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}) if num_workers else None
    experiment, dataset = replace(small_experiment, num_epochs=2), open_dataset(prepared)
    plan, uri = replace(plan_of(experiment, 3), scaling=scaling), str(tmp_path / "sweep")
    result = sweep(plan, dataset, uri)
    assert len(result.trials) == 3
    assert {trial.status for trial in result.trials} <= {"finished", "stopped early"}
    values = [trial.value for trial in result.trials if trial.value is not None]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)
    best = json.loads(Path(result.best_json).read_text())
    assert best["experiment"]["num_epochs"] == 2
    assert best["val_balanced_accuracy"] == values[0]
    assert Predictor.load(result.best_json, "cpu").manifest.is_synthetic
    assert "loss.<wbr>class_weighting" in (tmp_path / "sweep" / "sweep.html").read_text()
    table = pd.read_parquet(tmp_path / "sweep" / "trials.parquet")
    assert list(table["trial"]) == [trial.trial_id for trial in result.trials]
    assert sweep(plan, dataset, uri) == result
    for trial in result.trials:  # with the last epoch of each, which Ray Tune ends while it is reported
        events = tmp_path / "sweep" / "trials" / trial.trial_id / "tensorboard"
        assert len(list(events.iterdir())) >= trial.num_epochs  # workers train on until they are stopped
        assert 0 < trial.seconds < 120
    if not num_workers:
        is_repaired_by_the_same_command(tmp_path / "sweep", lambda: sweep(plan, dataset, uri))
    with pytest.raises(ConfigError, match="begun from other settings"):
        sweep(plan_of(small_experiment, 3), dataset, uri)


def is_repaired_by_the_same_command(folder: Path, again: Callable[[], object]) -> None:
    shutil.rmtree(folder / "best")
    again()
    assert Predictor.load(str(folder / "best.json"), "cpu").manifest.is_synthetic
    shutil.rmtree(folder / "trials")  # once there is a checkpoint, nothing needs them
    for name in ("sweep.html", "trials.parquet"):
        (folder / name).unlink()
    again()
    assert all((folder / name).is_file() for name in ("sweep.html", "trials.parquet"))
    (folder / "best.json").write_text('{"trial"')
    with pytest.raises(TrainingError, match=r"the weights of trial .* are gone"):
        again()


@pytest.mark.slow
def test_more_trials_are_added_to_a_finished_sweep_and_none_is_run_again(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    experiment, dataset = replace(small_experiment, num_epochs=1), open_dataset(prepared)
    uri = str(tmp_path / "sweep")
    first = sweep(plan_of(experiment, 1), dataset, uri)
    ended = {file: file.stat().st_mtime_ns for file in (tmp_path / "sweep" / "trials").rglob("progress.json")}
    more = sweep(plan_of(experiment, 3), dataset, uri)
    assert len(more.trials) == 3
    assert {trial.trial_id for trial in first.trials} < {trial.trial_id for trial in more.trials}
    assert {file: file.stat().st_mtime_ns for file in ended} == ended
    at_once = sweep(plan_of(experiment, 3), dataset, str(tmp_path / "other"))
    key = lambda trial: trial.trial_id  # noqa: E731
    assert [one.settings for one in sorted(more.trials, key=key)] == [
        one.settings for one in sorted(at_once.trials, key=key)
    ]


def test_a_sweep_of_which_all_trials_fail_leaves_the_reason_of_each(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    diverging = replace(small_experiment.optimizer, learning_rate=1e30)
    experiment, dataset = replace(small_experiment, num_epochs=1, optimizer=diverging), open_dataset(prepared)
    space = build_space(["optimizer.learning-rate=log:1e29:1e30"], experiment)
    plan = SweepPlan(experiment=experiment, space=space, num_trials=2, options=SearchOptions(stopping="none"))
    for _ in range(2):  # the second one finds what the first one has left
        with pytest.raises(TrainingError, match=r"none of 2 trials finished an epoch, .* of 01-lr-1e\+30: failed: "):
            sweep(plan, dataset, str(tmp_path / "sweep"))
        table = pd.read_parquet(tmp_path / "sweep" / "trials.parquet")
        assert len(table) == 2
        assert table["why"].str.contains("training has diverged").all()
        assert (tmp_path / "sweep" / "sweep.html").read_text().count("training has diverged") >= 2
    assert not (tmp_path / "sweep" / "best.json").exists()


def test_a_result_that_was_damaged_is_written_again(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    plan, dataset = plan_of(replace(small_experiment, num_epochs=1), 1), open_dataset(prepared)
    result = sweep(plan, dataset, str(tmp_path / "sweep"))
    for name in ("trials.parquet", "sweep.html", "best/model.safetensors"):
        os.truncate(tmp_path / "sweep" / name, 100)
        assert sweep(plan, dataset, result.uri).trials == result.trials
        check_files(f"{result.uri}/best", read_manifest(f"{result.uri}/best"))
        assert len(pd.read_parquet(tmp_path / "sweep" / "trials.parquet")) == 1
        assert (tmp_path / "sweep" / "sweep.html").read_text().rstrip().endswith("</html>")
    best = storage.read_json(result.best_json)
    storage.write_json(result.best_json, {**best, "experiment": {**best["experiment"], "num_epochs": 77}})
    sweep(plan, dataset, result.uri)
    assert storage.read_json(result.best_json) == best


def test_a_trial_whose_loss_is_no_number_ends_and_the_sweep_goes_on(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    experiment, dataset = replace(small_experiment, num_epochs=2), open_dataset(prepared)
    space = build_space(["optimizer.learning-rate=choice:0.001,1e30"], experiment)
    plan = SweepPlan(experiment=experiment, space=space, num_trials=6, options=SearchOptions(stopping="none"))
    plan = replace(plan, mlflow_uri=f"sqlite:///{tmp_path}/mlflow.db")
    result = sweep(plan, dataset, str(tmp_path / "sweep"))
    diverged = [trial for trial in result.trials if trial.settings["optimizer.learning_rate"] == 1e30]
    others = [trial for trial in result.trials if trial not in diverged]
    assert len(others) + len(diverged) == 6
    assert diverged
    assert {trial.status.split(":")[0] for trial in diverged} == {"failed"}
    assert all("diverged" in trial.why for trial in diverged)
    assert {trial.status for trial in others} == {"finished"}
    client = MlflowClient(tracking_uri=plan.mlflow_uri)
    group = client.get_experiment_by_name("melanoma_ray")
    assert group is not None
    runs = {run.info.run_name: run for run in client.search_runs([group.experiment_id])}
    parent = runs.pop("sweep")
    assert parent.info.status == "FINISHED"
    assert {name: run.info.status for name, run in runs.items()} == {
        trial.trial_id: "FAILED" if trial in diverged else "FINISHED" for trial in result.trials
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}


def test_a_trial_whose_process_is_killed_goes_on_from_its_newest_progress(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    dataset, uri, killed = open_dataset(prepared), tmp_path / "sweep", list[int]()

    def kill_once() -> None:
        deadline = time.monotonic() + 120
        while not list(uri.glob("trials/*/epoch-*/progress.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        for one in psutil.Process().children(recursive=True):
            if "ImplicitFunc" in " ".join(one.cmdline()):
                killed.append(one.pid)
                one.kill()

    watching = threading.Thread(target=kill_once)
    watching.start()
    result = sweep(plan_of(replace(small_experiment, num_epochs=6), 1, stopping="none"), dataset, str(uri))
    watching.join()
    assert len(killed) == 1
    (trial,) = result.trials
    assert (trial.status, trial.num_epochs) == ("finished", 6)
    history = TrialDirectory.of(str(uri), trial.trial_id, has_workers=False, metric="val_balanced_accuracy").history()
    assert [record.epoch for record in history] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_trial_of_a_population_goes_on_from_another_s_progress(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    experiment, dataset, uri = replace(small_experiment, num_epochs=2), open_dataset(prepared), str(tmp_path / "sweep")
    space = build_space(["optimizer.learning-rate=log:1e-5:3e-3"], experiment)
    options = SearchOptions(search="population")
    plan = SweepPlan(experiment=experiment, space=space, num_trials=2, options=options)
    result = sweep(plan, dataset, uri)
    assert len(result.trials) == 4  # two members, two generations of an epoch
    later = [trial for trial in result.trials if trial.parent is not None]
    assert len(later) == 2
    for trial in later:
        assert trial.parent is not None
        mine, parents = (
            TrialDirectory.of(uri, name, has_workers=False, metric=options.metric).history()
            for name in (trial.trial_id, trial.parent)
        )
        assert mine[: len(parents)] == parents  # with the moments at which the parent's epochs ended
        assert len(mine) == len(parents) + 1


def test_what_is_sent_to_each_trial_doesn_t_grow_with_the_index(
    small_experiment: Experiment, prepared: str, tmp_path: Path
) -> None:
    dataset = open_dataset(prepared)
    index = pd.concat([dataset.index] * (1 + 200_000 // len(dataset.index)), ignore_index=True).head(200_000)
    large = replace(dataset, index=index)
    context = TrialContext(
        experiment=small_experiment, uri=str(tmp_path), metric="val_balanced_accuracy", num_threads=1, scaling=None
    )
    trainable = build_trainable(context, large, open_images(dataset), {"CPU": 1.0})
    assert len(cloudpickle.dumps(large)) > 5_000_000
    assert len(cloudpickle.dumps(trainable)) < 1_000_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_sweep_killed_five_times_has_every_trial_exactly_once(prepared: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.tune", "baseline", "--data", prepared, "--storage", str(tmp_path)]
    command += ["--name", "sweep", "--num-trials", "6", "--num-epochs", "2", "--model.image-side", "64"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    study, random = tmp_path / "sweep" / "study.log", np.random.default_rng(0)
    for _ in range(5):
        before = study.stat().st_size if study.exists() else 0
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not study.exists() or study.stat().st_size == before:  # until it is at work
            assert driver.poll() is None
            time.sleep(0.2)
        time.sleep(random.uniform(0, 5))
        assert driver.poll() is None
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    subprocess.run(command, env=environment, check=True)
    table = pd.read_parquet(tmp_path / "sweep" / "trials.parquet")
    assert sorted(int(name.split("-")[0]) for name in table["trial"]) == list(range(1, 7))
    assert set(table["status"]) <= {"finished", "stopped early"}
    assert sorted(folder.name for folder in (tmp_path / "sweep" / "trials").iterdir()) == sorted(table["trial"])
    assert (tmp_path / "sweep" / "best.json").exists()
