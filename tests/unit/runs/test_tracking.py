"""Curves outside a run's own history: an MLflow in a SQLite file, and one that can't be reached."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.runs.history import EpochRecord, StepRecord
from melanoma_ray.runs.tracking import (
    EVENTS,
    TrackingConfig,
    absolute_mlflow_uri,
    end_tracking,
    log_curves,
    tracked,
)

HISTORY = [
    EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        train_loss=1 / epoch,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=epoch / 10,
        val_balanced_accuracy=0.5,
        images_per_s=100.0,
        waiting_fraction=0.0,
        first_batch_s=0.0,
        ended_at=1_700_000_000.0 + epoch,
    )
    for epoch in (1, 2, 3, 4)
]
STEPS = [StepRecord(step=step, loss=1 / step, learning_rate=0.1, ended_at=1_700_000_000.0) for step in range(1, 41)]


def test_a_run_is_told_to_mlflow_once_with_its_origin(tmp_path: Path) -> None:
    run_uri = str(tmp_path / "run")
    provenance = [{"code_sha256": "older"}, {"code_sha256": "newer", "versions": {"torch": "2"}}]
    storage.write_json(f"{run_uri}/run.json", {"data_fingerprint": "f" * 64, "provenance": provenance})
    config = TrackingConfig(run_uri=run_uri, mlflow_uri=f"sqlite:///{tmp_path}/mlflow.db")
    done_again = [HISTORY[0], replace(HISTORY[1], ended_at=HISTORY[1].ended_at + 5)]
    for known in (HISTORY[:2], done_again):  # the others are told at the end
        log_curves(config, Experiment(), STEPS, known)
    end_tracking(config, Experiment(), STEPS, HISTORY)
    client = MlflowClient(tracking_uri=config.mlflow_uri)
    experiment = client.get_experiment_by_name("melanoma_ray")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.network"] == "baseline"
    assert run.data.tags["data_fingerprint"] == "f" * 64
    assert run.data.tags["code_sha256"] == "newer"
    assert run.data.tags["versions.torch"] == "2"
    told = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "val_accuracy")]
    assert told == [(record.epoch, record.val_accuracy) for record in HISTORY]


def test_a_trial_s_run_is_below_that_of_its_sweep_and_says_how_it_ended(tmp_path: Path) -> None:
    uri, above = f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "sweep")
    whole = TrackingConfig(run_uri=above, mlflow_uri=uri)
    client = MlflowClient(tracking_uri=uri)
    with tracked(whole, Experiment()):
        check_trials(whole, client)
    for error, status in ((KeyboardInterrupt(), "KILLED"), (ValueError(), "FAILED"), (None, "FINISHED")):
        with suppress(KeyboardInterrupt, ValueError), tracked(whole, Experiment()):
            assert sweep_s_run(client).info.status == "RUNNING"
            if error is not None:
                raise error
        assert sweep_s_run(client).info.status == status


def sweep_s_run(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("melanoma_ray")
    assert experiment is not None
    (found,) = [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == "sweep"]
    return found


def check_trials(whole: TrackingConfig, client: MlflowClient) -> None:
    above, uri = whole.run_uri, whole.mlflow_uri
    trials = [TrackingConfig(run_uri=f"{above}/trials/0{n}", mlflow_uri=uri, parent_uri=above) for n in (1, 2, 3)]
    log_curves(trials[0], Experiment(), STEPS, HISTORY[:1])
    end_tracking(trials[0], Experiment(), STEPS, HISTORY, figures={"latency_ms": 4.5})
    end_tracking(trials[1], Experiment(), STEPS, HISTORY[:2], status="KILLED")
    assert end_tracking(trials[2], Experiment(), [], [], status="FAILED")
    experiment = client.get_experiment_by_name("melanoma_ray")
    assert experiment is not None
    assert experiment.artifact_location == (Path(above).parent / "mlruns").as_uri()
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "sweep": "RUNNING",
        "01": "FINISHED",
        "02": "KILLED",
        "03": "FAILED",
    }
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in runs.items() if name != "sweep"} == {
        runs["sweep"].info.run_id
    }
    assert runs["01"].data.metrics["latency_ms"] == 4.5
    assert runs["03"].data.params["model.network"] == "baseline"


def test_an_epoch_s_event_file_stays_as_it_is_when_the_next_is_told(tmp_path: Path) -> None:
    config, folder = TrackingConfig(run_uri=str(tmp_path)), tmp_path / EVENTS
    log_curves(config, Experiment(), STEPS[:10], HISTORY[:1])
    (first,) = folder.iterdir()
    before = first.stat()
    log_curves(config, Experiment(), STEPS, HISTORY[:3])  # the second was never told by itself
    assert len(list(folder.iterdir())) == 3
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_mlflow_that_is_not_there_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    config = TrackingConfig(run_uri=str(tmp_path), mlflow_uri=nowhere)
    log_curves(config, Experiment(), [], HISTORY)
    assert not end_tracking(config, Experiment(), [], HISTORY)  # so it is told another time
    assert f"curves of {tmp_path} can't be logged now" in caplog.text
    assert len(list((tmp_path / EVENTS).iterdir())) == len(HISTORY)


def test_a_directory_of_mlflow_s_is_refused(tmp_path: Path) -> None:
    for uri in ("mlruns", f"file://{tmp_path}"):
        with pytest.raises(ConfigError, match=r"no longer writes directories; give http://… or sqlite:///FILE"):
            TrackingConfig(run_uri=str(tmp_path), mlflow_uri=uri)


def test_a_relative_sqlite_file_lies_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_mlflow_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_mlflow_uri("http://tracker:5000") == "http://tracker:5000"
    assert absolute_mlflow_uri(None) is None
    with pytest.raises(ConfigError, match=rf"no directory {tmp_path}/nowhere; make it"):
        absolute_mlflow_uri("sqlite:///nowhere/mlflow.db")
