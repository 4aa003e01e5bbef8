"""A run's directory: the files in it, and the settings that the run was started with.

run.lock            process that holds the run (``runs/lock.py``), while one does
run.json            experiment and data (a start with other ones is refused); code and machines of each start
checkpoint_…/       written by Ray Train: the newest and the best progress
history.json        one record for each epoch
curves.png          the same as plots
best/               the checkpoint that evaluation, prediction and the service use
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from melanoma_ray import storage
from melanoma_ray.cluster.workarounds import checkpoint_uri, read_result
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.model.checkpoint import BEST, MANIFEST, EnsembleOver
from melanoma_ray.runs.history import BEST_METRIC, EpochRecord
from melanoma_ray.runs.progress import Progress, read_progress
from melanoma_ray.runs.provenance import describe_provenance
from melanoma_ray.settings import experiment_from_dict, to_dict

RUN = "run.json"
SWEEP = "sweep.json"
"""File that a sweep has in place of run.json."""
_HISTORY = "history.json"
_NAME_BYTES = 200
"""Largest length of a name, bytes: filesystems allow 255, and Ray appends to the name."""


def check_name(name: str) -> None:
    """Refuse a name of a run or a sweep that can't be a directory and a word on command lines.

    Raises:
        ConfigError: It is empty or too long, has separators or ``..``, or starts with a dot or a dash.
    """
    is_word = bool(name) and name == name.strip() and name.isprintable() and len(name.encode()) <= _NAME_BYTES
    if not is_word or name[0] in ".-" or any(part in name for part in ("/", "\\", "..")):
        msg = (
            f"name={name!r}: expected one word for a directory, such as first-run: no / or \\, no .., no dot or dash "
            f"in front, at most {_NAME_BYTES} bytes; the directory above it is --storage"
        )
        raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDirectory:
    """Access to the files in a run's directory."""

    uri: str
    """The directory, local or s3://."""

    @classmethod
    def of_checkpoint(cls, checkpoint: str) -> RunDirectory | None:
        """Return the run that wrote a checkpoint directory; none: the directory isn't in its run any more."""
        parent, _, name = checkpoint.rstrip("/").rpartition("/")
        return cls(uri=parent) if name == BEST and storage.exists(storage.join(parent, RUN)) else None

    @property
    def best(self) -> str:
        """Checkpoint directory of the finished run."""
        return storage.join(self.uri, BEST)

    @property
    def is_finished(self) -> bool:
        """Whether the checkpoint is complete."""
        return storage.exists(storage.join(self.best, MANIFEST))

    def claim(self, experiment: Experiment, dataset: PreparedDataset, *, over: EnsembleOver | None = None) -> None:
        """Write the settings of a new run, or check that they are those of the run that is already here.

        A setting that didn't exist when the run was started counts as its default.

        Args:
            experiment: Settings that decide the weights.
            dataset: Prepared dataset of the run.
            over: What the networks of the run differ by, if it is an ensemble.

        Raises:
            ConfigError: The run was started with other settings or other data, or the directory is a sweep's.
        """
        name = storage.join(self.uri, RUN)
        if storage.exists(storage.join(self.uri, SWEEP)):
            msg = f"run {self.uri}: there is a sweep of this name; give another --name or --storage"
            raise ConfigError(msg)
        settings = {
            "experiment": to_dict(experiment),
            "data_fingerprint": dataset.info.fingerprint,
            "fold": dataset.fold,
            "ensemble_over": over,
        }
        provenance = describe_provenance()
        if not storage.exists(name):
            storage.write_json(name, settings | {"data": dataset.uri, "provenance": [provenance]})
            return
        old = storage.read_json(name)
        old["experiment"] = to_dict(experiment_from_dict(old["experiment"]))
        old.setdefault("ensemble_over", over)
        differing = _differences(old, settings)
        if differing:
            msg = (
                f"run {self.uri}: was begun with {', '.join(differing)}; "
                "give the same settings to continue it, or another --name"
            )
            raise ConfigError(msg)
        if not self.is_finished and old["provenance"][-1] != provenance:
            storage.write_json(name, old | {"provenance": [*old["provenance"], provenance]})

    def newest_progress(self) -> str | None:
        """Return the newest complete progress directory; none: there is none yet."""
        result = read_result(self.uri)
        return None if result is None or result.checkpoint is None else checkpoint_uri(self.uri, result.checkpoint)

    def best_progress(self, metric: str = BEST_METRIC) -> str | None:
        """Return the progress directory of the best epoch; none: no epoch is finished.

        Args:
            metric: Field of ``EpochRecord`` whose largest value is the best.
        """
        result = read_result(self.uri)
        scored = [
            (float(metrics[metric]), checkpoint)
            for checkpoint, metrics in (result.best_checkpoints if result else [])
            if not math.isnan(float(metrics.get(metric, math.nan)))  # NaN: saved within an epoch
        ]
        return checkpoint_uri(self.uri, max(scored, key=lambda one: one[0])[1]) if scored else None

    def next_batch(self) -> int:
        """Return the batch index at which the run continues."""
        return self.progress().batch_index

    def history(self) -> list[EpochRecord]:
        """Return one record for each finished epoch."""
        name = storage.join(self.uri, _HISTORY)
        if storage.exists(name):
            return [EpochRecord(**record) for record in storage.read_json(name)["epochs"]]
        return self.progress().history

    def progress(self) -> Progress:
        """Return the newest progress; for a run that has none, the progress at its start."""
        newest = self.newest_progress()
        return Progress() if newest is None else read_progress(newest)

    def write_history(self) -> list[EpochRecord]:
        """Write history.json, when training has ended, and return its records."""
        history = self.history()
        storage.write_json(storage.join(self.uri, _HISTORY), {"epochs": [asdict(record) for record in history]})
        return history

    def write_picture(self, name: str, png: bytes) -> None:
        """Write a PNG file into the directory."""
        storage.write_bytes(storage.join(self.uri, name), png)


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return ``name=old value (now new value)`` for each setting whose value has changed."""
    found: list[str] = []
    for name, value in new.items():
        if isinstance(value, dict):
            found += _differences(old.get(name, {}), value, f"{prefix}{name}.")
        elif old.get(name) != value:
            found.append(f"{prefix}{name}={old.get(name)!r} (now {value!r})")
    return [text.removeprefix("experiment.") for text in found]
