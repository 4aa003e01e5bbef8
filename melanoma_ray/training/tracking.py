"""Where a run's curves go besides its own history: TensorBoard's event files, and MLflow if asked for.

Both are made from what a checkpoint remembers, and an epoch is told after it was saved, so an interrupted run's
curves have neither gaps nor doubled points.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from melanoma_ray import storage
from melanoma_ray.config import Experiment, to_dict
from melanoma_ray.errors import ConfigError
from melanoma_ray.training.history import EpochRecord, StepRecord

logger = logging.getLogger(__name__)

EVENTS = "tensorboard"
"""Directory of the event files, one an epoch: an open TensorBoard reads on where the last one ended."""
_MLFLOW = "mlflow.json"
_UNTRACKED = {"epoch", "step", "ended_at"}
_SQLITE = "sqlite:///"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingConfig:
    """Where the curves of a run go."""

    run_uri: str
    """Directory of the run; TensorBoard's event files lie in it."""
    mlflow_uri: str | None = None
    """Tracking server of MLflow (http://…), or sqlite:///FILE; none: MLflow isn't used."""

    def __post_init__(self) -> None:
        """Refuse MLflow where it isn't installed, and a store that it no longer has."""
        if self.mlflow_uri is None:
            return
        if importlib.util.find_spec("mlflow") is None:
            msg = f"mlflow_uri={self.mlflow_uri!r}: MLflow isn't installed; pip install 'melanoma-ray[mlflow]'"
            raise ConfigError(msg)
        if "://" not in self.mlflow_uri or self.mlflow_uri.startswith("file:"):
            msg = (
                f"mlflow_uri={self.mlflow_uri!r}: MLflow no longer writes directories; give http://… or sqlite:///FILE"
            )
            raise ConfigError(msg)


def absolute_mlflow_uri(uri: str | None) -> str | None:
    """Return the address with the path of a SQLite file made absolute: a worker has another working directory."""
    if uri is None or not uri.startswith(_SQLITE):
        return uri
    return _SQLITE + str(Path(uri.removeprefix(_SQLITE)).resolve())


def track(
    config: TrackingConfig, experiment: Experiment, steps: Sequence[StepRecord], history: Sequence[EpochRecord]
) -> None:
    """Tell TensorBoard the newest epoch and those that it lacks, and MLflow those that it lacks.

    A store that can't be reached is no reason to end a training: it is told of later, with the next epoch.
    """
    started = 0
    for record in history:
        name = storage.join(config.run_uri, EVENTS, f"events.out.tfevents.{record.epoch:06d}.melanoma_ray")
        if record is history[-1] or not storage.exists(name):
            of_epoch = [step for step in steps if started < step.step <= record.step]
            storage.write_bytes(name, render_events(of_epoch, record))
        started = record.step
    if config.mlflow_uri is not None:
        _tell_mlflow(config, experiment, history)


def render_events(steps: Sequence[StepRecord], record: EpochRecord) -> bytes:
    """Return an epoch's event file of TensorBoard's."""
    with tempfile.TemporaryDirectory() as directory:
        writer = SummaryWriter(directory)
        for step in steps:
            for name in ("loss", "learning_rate"):
                writer.add_scalar(f"step/{name}", getattr(step, name), step.step, walltime=step.ended_at)
        for name, value in _figures(record).items():
            writer.add_scalar(f"epoch/{name}", value, record.epoch, walltime=record.ended_at)
        writer.close()
        (file,) = Path(directory).iterdir()
        return file.read_bytes()


def _figures(record: EpochRecord) -> dict[str, float]:
    return {name: value for name, value in asdict(record).items() if name not in _UNTRACKED}


def end_tracking(config: TrackingConfig) -> None:
    """Tell MLflow that the run is finished."""
    note = storage.join(config.run_uri, _MLFLOW)
    if config.mlflow_uri is not None and storage.exists(note):
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra, and slow to import

        try:
            _mlflow_client(config).set_terminated(str(storage.read_json(note)["run_id"]))
        except (MlflowException, OSError) as error:
            logger.warning("MLflow at %s wasn't told that the run is finished: %s", config.mlflow_uri, error)


def _tell_mlflow(config: TrackingConfig, experiment: Experiment, history: Sequence[EpochRecord]) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra, and slow to import

    try:
        client = _mlflow_client(config)
        run_id = _find_mlflow_run(client, config, experiment)
        for name in _figures(history[-1]):
            known = {metric.step for metric in client.get_metric_history(run_id, name)}
            for record in history:
                if record.epoch not in known:
                    value, ended_ms = _figures(record)[name], round(record.ended_at * 1000)
                    client.log_metric(run_id, name, value, timestamp=ended_ms, step=record.epoch)
    except (MlflowException, OSError) as error:
        logger.warning("MLflow at %s isn't told of this epoch now: %s", config.mlflow_uri, error)


def _mlflow_client(config: TrackingConfig) -> Any:  # noqa: ANN401
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - an extra, and slow to import

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # by default minutes, in which a GPU would wait
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=config.mlflow_uri)


def _find_mlflow_run(client: Any, config: TrackingConfig, experiment: Experiment) -> str:  # noqa: ANN401
    """Return the run's id with MLflow, kept in the run's directory; it is made when there is none."""
    note = storage.join(config.run_uri, _MLFLOW)
    if storage.exists(note):
        return str(storage.read_json(note)["run_id"])
    found = client.get_experiment_by_name("melanoma_ray")
    experiment_id = found.experiment_id if found else client.create_experiment("melanoma_ray")
    run = client.create_run(experiment_id, run_name=config.run_uri.rsplit("/", 1)[-1], tags=_origin(config))
    for name, value in _flatten(to_dict(experiment)).items():
        client.log_param(run.info.run_id, name, value)
    storage.write_json(note, {"run_id": run.info.run_id})
    return str(run.info.run_id)


def _origin(config: TrackingConfig) -> dict[str, str]:
    """Return what run.json tells of data, code and hardware."""
    name = storage.join(config.run_uri, "run.json")
    if not storage.exists(name):
        return {}
    run = storage.read_json(name)
    tags = {"data_fingerprint": run["data_fingerprint"], **_flatten(run["provenance"][-1])}
    return {name: str(value) for name, value in tags.items()}


def _flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
