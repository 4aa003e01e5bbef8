"""What was served, as measures of each image: from a service's audit log, or from a table of predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

import numpy as np
from jaxtyping import Float64

from melanoma_ray import storage
from melanoma_ray.access.audit_log import read_records
from melanoma_ray.errors import DataError
from melanoma_ray.imaging.appearance import MEASUREMENTS
from melanoma_ray.inference.measures import MEASURES, SCORE


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """Images that got an answer of one checkpoint."""

    measures: Mapping[str, Float64[np.ndarray, " image"]]
    """Each of ``MEASURES``; NaN where it isn't known."""
    sources: tuple[str, ...]
    """Where each image came from."""
    num_of_others: int
    """Images that were left out, since another checkpoint answered them."""

    def __len__(self) -> int:
        return len(self.sources)

    def count_by_source(self) -> Counter[str]:
        """Return the number of images of each source."""
        return Counter(self.sources)

    def of_source(self, source: str) -> Served:
        """Return those of one source."""
        rows = np.array([one == source for one in self.sources], bool)
        kept = {name: values[rows] for name, values in self.measures.items()}
        return Served(measures=kept, sources=(source,) * int(rows.sum()), num_of_others=0)


def read_audit_log(folder: str, checkpoint_id: str, *, since: datetime | None) -> Served:
    """Return the answers in an audit log; the source of each is its caller.

    Args:
        folder: Folder of the log.
        checkpoint_id: Checkpoint whose answers are meant.
        since: Time of the earliest answer; none: all.

    Raises:
        DataError: There is no log, or its chain is broken.
    """
    found = [
        record
        for record in read_records(folder)
        if record["event"] == "predict"
        and record["melanoma_probability"] is not None
        and (since is None or datetime.fromisoformat(record["time"]) >= since)
    ]
    own = [record for record in found if record["checkpoint_id"] == checkpoint_id]
    rows = np.array([_measures_of(record) for record in own], np.float64).reshape(len(own), len(MEASURES))
    return Served(
        measures=dict(zip(MEASURES, rows.T, strict=True)),
        sources=tuple(record["caller_id"] or "nobody" for record in own),
        num_of_others=len(found) - len(own),
    )


def _measures_of(record: Mapping[str, Any]) -> list[float]:
    appearance = record.get("appearance") or [np.nan] * len(MEASUREMENTS)
    unlikeness = record["out_of_distribution_score"]
    return [record["melanoma_probability"], np.nan if unlikeness is None else unlikeness, *appearance]


def read_predictions(uri: str) -> Served:
    """Return the scores of a table of predictions; the source of each image is its folder.

    The table has neither how unlike the images are nor how they look, so only their scores are compared.

    Args:
        uri: The file predictions.parquet.

    Raises:
        DataError: It can't be read, or isn't such a table.
    """
    try:
        table = storage.read_table(uri, ["path", "melanoma_probability"])
    except (OSError, ValueError, KeyError) as error:
        msg = f"{uri}: can't be read as predictions ({error}); give the predictions.parquet of jobs.predict"
        raise DataError(msg) from error
    scores = np.asarray(table.column("melanoma_probability").to_numpy(), np.float64)
    is_answered = np.isfinite(scores)
    unknown = np.full(int(is_answered.sum()), np.nan)
    paths = [path for path, known in zip(table.column("path").to_pylist(), is_answered, strict=True) if known]
    return Served(
        measures={name: scores[is_answered] if name == SCORE else unknown for name in MEASURES},
        sources=tuple(PurePath(path).parent.name or "." for path in paths),
        num_of_others=0,
    )
