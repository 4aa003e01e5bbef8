"""Where a run's curves go besides its own history: TensorBoard's event file, and MLflow if asked for.

Both are made from what a checkpoint remembers, so an interrupted run's curves have neither gaps nor
doubled points.
"""

from __future__ import annotations

import importlib.util
import logging
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

EVENTS = "tensorboard/events.out.tfevents.melanoma_ray"
_MLFLOW = "mlflow.json"
_UNTRACKED = {"epoch", "step", "ended_at"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingConfig:
    """Where the curves of a run go."""

    run_uri: str
    """Directory of the run; TensorBoard's event file lies in it."""
    mlflow_uri: str | None = None
    """Tracking server or directory of MLflow; none: MLflow isn't used."""

    def __post_init__(self) -> None:
        """Refuse MLflow where it isn't installed."""
        if self.mlflow_uri is not None and importlib.util.find_spec("mlflow") is None:
            msg = f"mlflow_uri={self.mlflow_uri!r}: MLflow isn't installed; pip install 'melanoma-ray[mlflow]'"
            raise ConfigError(msg)


def track(
    config: TrackingConfig, experiment: Experiment, steps: Sequence[StepRecord], history: Sequence[EpochRecord]
) -> None:
    """Write what is known so far; what was written before is replaced by the same and more."""
    storage.write_bytes(storage.join(config.run_uri, EVENTS), render_events(steps, history))
    if config.mlflow_uri is not None and history:
        _log_to_mlflow(config, experiment, history[-1])


def render_events(steps: Sequence[StepRecord], history: Sequence[EpochRecord]) -> bytes:
    """Return TensorBoard's event file of a run's curves."""
    with tempfile.TemporaryDirectory() as directory:
        writer = SummaryWriter(directory)
        for step in steps:
            for name in ("loss", "learning_rate"):
                writer.add_scalar(f"step/{name}", getattr(step, name), step.step, walltime=step.ended_at)
        for record in history:
            for name, value in _figures(record).items():
                writer.add_scalar(f"epoch/{name}", value, record.epoch, walltime=record.ended_at)
        writer.close()
        (file,) = Path(directory).iterdir()
        return file.read_bytes()


def _figures(record: EpochRecord) -> dict[str, float]:
    return {name: value for name, value in asdict(record).items() if name not in _UNTRACKED}


def _log_to_mlflow(config: TrackingConfig, experiment: Experiment, record: EpochRecord) -> None:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - an extra, and slow to import

    client = MlflowClient(tracking_uri=config.mlflow_uri)
    run_id = _find_mlflow_run(client, config, experiment)
    for name, value in _figures(record).items():
        client.log_metric(run_id, name, value, timestamp=round(record.ended_at * 1000), step=record.epoch)


def _find_mlflow_run(client: Any, config: TrackingConfig, experiment: Experiment) -> str:  # noqa: ANN401
    """Return the run's id with MLflow, kept in the run's directory; it is made when there is none."""
    note = storage.join(config.run_uri, _MLFLOW)
    if storage.exists(note):
        return str(storage.read_json(note)["run_id"])
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    found = client.get_experiment_by_name("melanoma_ray")
    experiment_id = found.experiment_id if found else client.create_experiment("melanoma_ray")
    run = client.create_run(experiment_id, run_name=config.run_uri.rsplit("/", 1)[-1])
    for name, value in _flatten(to_dict(experiment)).items():
        client.log_param(run.info.run_id, name, value)
    storage.write_json(note, {"run_id": run.info.run_id})
    return str(run.info.run_id)


def _flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
