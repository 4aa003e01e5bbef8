"""A progress directory: everything that a run needs to continue after an interruption.

model.safetensors       weights of the network that is evaluated and kept: the moving average, where there is one
progress.safetensors    weights of the network that is trained, and the optimizer's moments
progress.json           ``Progress``: place in the plan, sums of the epoch that has begun, history
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from melanoma_ray import storage
from melanoma_ray.errors import DataError
from melanoma_ray.runs.history import EpochRecord, StepRecord

TRAINED = "progress.safetensors"
PROGRESS = "progress.json"
_OLD_BATCH_INDEX = "slot"
"""Name of the batch index in progress.json until November 2026."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Content of progress.json."""

    batch_index: int = 0
    """Batch index of the next batch."""
    step: int = 0
    """Number of optimizer steps done."""
    tally: list[float] = field(default_factory=list)
    """Sums of the epoch that has begun, over all workers, as from ``Tally.sums``."""
    history: list[EpochRecord] = field(default_factory=list)
    """One record for each finished epoch."""
    steps: list[StepRecord] = field(default_factory=list)
    """Records of about a thousand steps of the run, evenly spread."""

    def write(self, directory: Path) -> None:
        """Write progress.json into a progress directory."""
        (directory / PROGRESS).write_text(json.dumps(asdict(self)))


def read_progress(directory: str) -> Progress:
    """Read progress.json of a progress directory, local or s3://.

    Raises:
        DataError: The file doesn't exist, or isn't what ``Progress.write`` writes.
    """
    name = storage.join(directory, PROGRESS)
    try:
        return _parse(storage.read_json(name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        msg = f"{name}: malformed ({missing}); begin the run anew under another name, or repair the file"
        raise DataError(msg) from error


def parse_tensors(name: str) -> dict[str, Tensor]:
    """Return the tensors in a file of a progress directory.

    Args:
        name: The file, local or s3://.

    Raises:
        DataError: The file is damaged.
    """
    try:
        return load(storage.read_bytes(name))
    except SafetensorError as error:
        msg = f"{name}: damaged ({error}); put it back, or begin anew under another name"
        raise DataError(msg) from error


@contextmanager
def local_progress(directory: str) -> Iterator[Path]:
    """Give a progress directory as a local path, copied to this machine while the block runs if it isn't on its disk.

    Args:
        directory: Progress directory, local or s3://.
    """
    if storage.is_local(directory):
        yield Path(directory)
        return
    with tempfile.TemporaryDirectory(prefix="melanoma-progress-") as folder:
        for file in storage.list_files(directory):
            (Path(folder) / file.rsplit("/", 1)[-1]).write_bytes(storage.read_bytes(file))
        yield Path(folder)


def _parse(data: Mapping[str, Any]) -> Progress:
    return Progress(
        batch_index=int(data["batch_index"] if "batch_index" in data else data[_OLD_BATCH_INDEX]),
        step=int(data["step"]),
        tally=[float(value) for value in data["tally"]],
        history=[EpochRecord(**record) for record in data["history"]],
        steps=[StepRecord(**record) for record in data["steps"]],
    )
