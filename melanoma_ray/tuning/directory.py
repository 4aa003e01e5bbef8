"""The directories of a sweep's trials, and the progress in them.

A trial with workers is a run of Ray Train, whose progress ``RunDirectory`` reads. A trial in its own process keeps its
progress itself, as ``epoch-0003`` and so on: progress.json is written last, so a directory that has it is complete. The
newest and the best are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from melanoma_ray import storage
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.runs.history import EpochRecord
from melanoma_ray.runs.progress import PROGRESS, read_progress
from melanoma_ray.tuning.dimension import SHORT_NAMES

LATENCY = "latency.json"
"""File with the time of an image, where it is searched for."""
LATENCIES = "latencies"
"""Directory of a sweep with the time of an image for each network that was measured."""
TRIALS = "trials"
_EPOCH = "epoch-"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialDirectory:
    """The directory of one trial."""

    uri: str
    has_workers: bool
    """Whether the trial is a run of Ray Train."""
    metric: str
    """Field of ``EpochRecord`` whose largest value is the best."""

    @classmethod
    def of(cls, sweep_uri: str, name: str, *, has_workers: bool, metric: str) -> TrialDirectory:
        """Return the directory of a trial of a sweep.

        Args:
            sweep_uri: Directory of the sweep.
            name: Name of the trial, from ``name_trial``.
            has_workers: Whether the trial is a run of Ray Train.
            metric: Field of ``EpochRecord`` whose largest value is the best.
        """
        return cls(uri=storage.join(sweep_uri, TRIALS, name), has_workers=has_workers, metric=metric)

    def newest(self) -> str | None:
        """Return the newest complete progress directory; none: there is none yet."""
        if self.has_workers:
            return RunDirectory(uri=self.uri).newest_progress()
        epochs = self._epochs()
        return epochs[max(epochs)] if epochs else None

    def best(self) -> str | None:
        """Return the progress directory of the best epoch; none: no epoch is finished."""
        if self.has_workers:
            return RunDirectory(uri=self.uri).best_progress(self.metric)
        epochs = self._epochs()
        number = self._best(self.history(), epochs)
        return None if number is None else epochs[number]

    def history(self) -> list[EpochRecord]:
        """Return one record for each finished epoch, also for those of the progress from which the trial started."""
        newest = self.newest()
        return read_progress(newest).history if newest else []

    def save(self, progress: Path) -> None:
        """Copy a progress directory here, and delete those that are neither the newest nor the best.

        Args:
            progress: Local directory, with everything from ``TrainingState.save``.
        """
        history = read_progress(str(progress)).history
        newest = storage.join(self.uri, f"{_EPOCH}{len(history):04d}")
        files = sorted(progress.iterdir(), key=lambda file: file.name == PROGRESS)  # which says that all are there
        for file in files:
            storage.write_bytes(storage.join(newest, file.name), file.read_bytes())
        epochs = self._epochs()
        kept = {len(history), self._best(history, epochs)}
        for number in sorted(set(epochs) - kept):
            storage.delete_file(storage.join(epochs[number], PROGRESS))
            storage.delete_directory(epochs[number])

    def _epochs(self) -> dict[int, str]:
        """Return the complete progress directories by number of finished epochs."""
        found = {}
        for file in storage.list_files(self.uri):
            folder, _, name = file.rpartition("/")
            last = folder.rsplit("/", 1)[-1]
            if name == PROGRESS and last.startswith(_EPOCH):
                found[int(last.removeprefix(_EPOCH))] = folder
        return found

    def _best(self, history: Sequence[EpochRecord], epochs: Mapping[int, str]) -> int | None:
        values = {one.epoch: getattr(one, self.metric) for one in history if one.epoch in epochs}
        known = {epoch: value for epoch, value in values.items() if value is not None}
        return max(known, key=lambda epoch: known[epoch], default=None)


def name_trial(number: int, settings: Mapping[str, object]) -> str:
    """Return the name of a trial, which is also that of its directory: its number, and what tells it from others.

    Args:
        number: Number of the trial, from 1.
        settings: Settings of the trial, by their dotted names.

    >>> name_trial(3, {"optimizer.learning_rate": 0.00064664, "loss.class_weighting": "effective"})
    '03-lr-0.00065-weighting-effective'
    """
    words = [f"{number:02d}"]
    for name, short in SHORT_NAMES.items():
        if name in settings:
            value = settings[name]
            words += [short, f"{value:.2g}" if isinstance(value, float) else str(value).replace("/", "_")]
    return "-".join(words)
