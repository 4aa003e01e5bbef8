"""Logs a run's curves to TensorBoard's event files, and to MLflow if wanted.

Both are made from the records in the progress. Each epoch is logged after its progress was handed over to be saved,
and what is missing is logged at the end, so the curves of an interrupted run have neither gaps nor repeated points.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tensorboardX import SummaryWriter

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.runs.history import EpochRecord, StepRecord
from melanoma_ray.settings import to_dict

logger = logging.getLogger(__name__)

EVENTS = "tensorboard"
"""Directory of the event files, one for each epoch; a running TensorBoard reads them one after the other."""
_MLFLOW = "mlflow.json"
_UNTRACKED = {"epoch", "step", "ended_at"}
_SQLITE = "sqlite:///"
EndStatus = Literal["FINISHED", "KILLED", "FAILED"]
"""How a run has ended, in MLflow's words; killed: it was stopped early, or by a person."""
_MLFLOW_POINTS = 500
"""Number of points in one request to MLflow, which allows 1000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingConfig:
    """Where the curves of a run are logged."""

    run_uri: str
    """Directory of the run, which has TensorBoard's event files."""
    mlflow_uri: str | None = None
    """MLflow tracking server (http://…) or sqlite:///FILE; none: MLflow isn't used."""
    parent_uri: str | None = None
    """Directory of the sweep that a trial belongs to, whose run in MLflow is above the trial's; none: it has none."""

    def __post_init__(self) -> None:
        """Refuse MLflow where it isn't installed, and the kind of store that it no longer supports."""
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
    """Return the address with the path of a SQLite file made absolute, since workers have another working directory.

    Raises:
        ConfigError: The file's directory doesn't exist; MLflow would retry for minutes.
    """
    if uri is None or not uri.startswith(_SQLITE):
        return uri
    file = Path(uri.removeprefix(_SQLITE)).resolve()
    if not file.parent.is_dir():
        msg = f"mlflow_uri={uri!r}: no directory {file.parent}; make it, or give another file"
        raise ConfigError(msg)
    return f"{_SQLITE}{file}"


@contextmanager
def tracked(config: TrackingConfig, experiment: Experiment) -> Iterator[None]:
    """Have the run of a sweep in MLflow, below which those of its trials are, while the block runs, and tell its end.

    A sweep that goes on goes on with its run.

    Args:
        config: Where to log.
        experiment: Experiment that the sweep started from.
    """
    status: EndStatus = "FAILED"
    _begin(config)
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        end_tracking(config, experiment, [], [], status=status)


def _begin(config: TrackingConfig) -> None:
    if config.mlflow_uri is None:
        return
    try:
        client = _mlflow_client(config)
        client.update_run(_find_mlflow_run(client, config), "RUNNING")
    except _errors(config) as error:
        logger.warning("MLflow at %s can't be reached now: %s", config.mlflow_uri, _first_line(error))


def log_curves(
    config: TrackingConfig, experiment: Experiment, steps: Sequence[StepRecord], history: Sequence[EpochRecord]
) -> None:
    """Log to TensorBoard the newest epoch and missing ones, and to MLflow missing ones.

    A store that can't be reached doesn't end the training: the epoch is logged with the next one, or at the end.

    Args:
        config: Where to log.
        experiment: Experiment of the run, whose settings MLflow gets.
        steps: Records of steps of the run.
        history: One record for each finished epoch.
    """
    if not history:
        return
    try:
        _tell_tensorboard(config, steps, history)
        if config.mlflow_uri is not None:
            _tell_mlflow(config, experiment, history)
    except _errors(config) as error:
        logger.warning("curves of %s can't be logged now: %s", config.run_uri, _first_line(error))


def _tell_tensorboard(config: TrackingConfig, steps: Sequence[StepRecord], history: Sequence[EpochRecord]) -> None:
    started = 0
    for record in history:
        name = storage.join(config.run_uri, EVENTS, f"events.out.tfevents.{record.epoch:06d}.melanoma_ray")
        if record is history[-1] or not storage.exists(name):
            of_epoch = [step for step in steps if started < step.step <= record.step]
            storage.write_bytes(name, render_events(of_epoch, record))
        started = record.step


def render_events(steps: Sequence[StepRecord], record: EpochRecord) -> bytes:
    """Return TensorBoard's event file of an epoch.

    Args:
        steps: Records of steps of the epoch.
        record: Figures of the epoch.
    """
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
    """Return what is logged of an epoch; the ends of intervals would hide the curves."""
    return {
        name: value
        for name, value in asdict(record).items()
        if value is not None and name not in _UNTRACKED and not name.endswith(("_low", "_high"))
    }


def end_tracking(
    config: TrackingConfig,
    experiment: Experiment,
    steps: Sequence[StepRecord],
    history: Sequence[EpochRecord],
    *,
    status: EndStatus = "FINISHED",
    figures: Mapping[str, float] | None = None,
) -> bool:
    """Log what is missing, and tell MLflow how the run has ended; return whether all of it could be told.

    Args:
        config: Where to log.
        experiment: Experiment of the run, whose settings MLflow gets.
        steps: Records of steps of the run.
        history: One record for each finished epoch; a sweep and what failed before have none.
        status: How it has ended.
        figures: Figures of the whole run, by name; none: there are none.
    """
    try:
        if history:
            _tell_tensorboard(config, steps, history)
        if config.mlflow_uri is not None:
            client, run_id = _mlflow_client(config), _tell_mlflow(config, experiment, history)
            for name, value in (figures or {}).items():
                client.log_metric(run_id, name, value)
            client.set_terminated(run_id, status)
    except _errors(config) as error:
        logger.warning("curves and end of %s can't be logged: %s", config.run_uri, _first_line(error))
        return False
    return True


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _tell_mlflow(config: TrackingConfig, experiment: Experiment, history: Sequence[EpochRecord]) -> str:
    """Log settings and missing epochs, and return MLflow's id of the run."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - an extra, and slow to import

    client = _mlflow_client(config)
    run_id = _find_mlflow_run(client, config)
    settings = [Param(name, str(value)) for name, value in _flatten(to_dict(experiment)).items()]
    points = []
    for name in _figures(history[-1]) if history else ():
        known = {metric.step for metric in client.get_metric_history(run_id, name)}
        points += [
            Metric(name, _figures(record)[name], round(record.ended_at * 1000), record.epoch)
            for record in history
            if record.epoch not in known
        ]
    client.log_batch(run_id, metrics=points[:_MLFLOW_POINTS], params=settings)
    for start in range(_MLFLOW_POINTS, len(points), _MLFLOW_POINTS):
        client.log_batch(run_id, metrics=points[start : start + _MLFLOW_POINTS])
    return run_id


def _errors(config: TrackingConfig) -> tuple[type[Exception], ...]:
    """Return the errors raised when a store can't be reached; MLflow's SQL store also raises SQLAlchemy's own."""
    if config.mlflow_uri is None:
        return (OSError,)
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra, and slow to import
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with MLflow

    return OSError, MlflowException, SQLAlchemyError, DataError  # the last: a damaged note of the run's id


def _mlflow_client(config: TrackingConfig) -> Any:  # noqa: ANN401
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - an extra, and slow to import

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the default takes minutes, and the GPU would wait
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=config.mlflow_uri)


def _find_mlflow_run(client: Any, config: TrackingConfig) -> str:  # noqa: ANN401
    """Return MLflow's id of the run, which is kept in the run's directory; create a run in MLflow if there is none."""
    note = storage.join(config.run_uri, _MLFLOW)
    if storage.exists(note):
        return str(storage.read_json(note)["run_id"])
    found = client.get_experiment_by_name("melanoma_ray")
    experiment_id = found.experiment_id if found else client.create_experiment("melanoma_ray", _artifacts(config))
    tags = _origin(config)
    above = None if config.parent_uri is None else storage.join(config.parent_uri, _MLFLOW)
    if above is not None and storage.exists(above):
        tags["mlflow.parentRunId"] = str(storage.read_json(above)["run_id"])
    run = client.create_run(experiment_id, run_name=config.run_uri.rsplit("/", 1)[-1], tags=tags)
    storage.write_json(note, {"run_id": run.info.run_id})
    return str(run.info.run_id)


def _artifacts(config: TrackingConfig) -> str | None:
    """Return where MLflow would keep files; by default that is below a SQLite store's caller, a directory of Ray's."""
    uri = config.mlflow_uri or ""
    return (Path(uri.removeprefix(_SQLITE)).parent / "mlruns").as_uri() if uri.startswith(_SQLITE) else None


def _origin(config: TrackingConfig) -> dict[str, str]:
    """Return data, code and hardware of the run, from run.json, as tags for MLflow."""
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
