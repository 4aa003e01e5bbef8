"""What was served, as measures of each image: from a service's audit log, or from a table of predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from jaxtyping import Float64

from melanoma_ray import storage
from melanoma_ray.access.audit_log import read_records
from melanoma_ray.errors import DataError
from melanoma_ray.imaging.appearance import MEASUREMENTS
from melanoma_ray.inference.measures import MEASURES, SCORE
from melanoma_ray.inference.predictions import find_checkpoint_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """Images that got an answer of one checkpoint, each once, however often it was asked about."""

    measures: Mapping[str, Float64[np.ndarray, " image"]]
    """Each of ``MEASURES``; NaN where it isn't known."""
    sources: tuple[str, ...]
    """Where each image came from."""
    num_answers: int
    """Answers that these images got; of an image that was asked about again, the newest one counts."""
    num_of_others: int | None
    """Images that were left out, since another checkpoint answered them; none: it isn't known which one answered."""
    advice: str = "wait until more were served"
    """What to do where there are too few."""

    def __len__(self) -> int:
        return len(self.sources)

    def count_by_source(self) -> Counter[str]:
        """Return the number of images of each source."""
        return Counter(self.sources)

    def of_source(self, source: str) -> Served:
        """Return those of one source."""
        rows = np.array([one == source for one in self.sources], bool)
        kept = {name: values[rows] for name, values in self.measures.items()}
        number = int(rows.sum())
        return replace(self, measures=kept, sources=(source,) * number, num_answers=number)


def read_audit_log(folder: str, checkpoint_id: str, *, since: datetime | None) -> Served:
    """Return the answers in an audit log; the source of each is its caller.

    Args:
        folder: Folder of the log.
        checkpoint_id: Checkpoint whose answers are meant.
        since: Time of the earliest answer; none: all.

    Raises:
        DataError: There is no log, or its chain is broken.
    """
    own: dict[tuple[str, str], list[float]] = {}
    others, num_answers, has_older = set[tuple[str, str]](), 0, False
    for record in read_records(folder):
        if record["event"] != "predict" or record["melanoma_probability"] is None:
            continue
        if since is not None and datetime.fromisoformat(record["time"]) < since:
            has_older = has_older or record["checkpoint_id"] == checkpoint_id
            continue
        image = (record["caller_id"] or "nobody", record["image_sha256"])
        if record["checkpoint_id"] == checkpoint_id:
            own[image] = _measures_of(record)
            num_answers += 1
        else:
            others.add(image)
    rows = np.array(list(own.values()), np.float64).reshape(len(own), len(MEASURES))
    return Served(
        measures=dict(zip(MEASURES, rows.T, strict=True)),
        sources=tuple(caller for caller, _ in own),
        num_answers=num_answers,
        num_of_others=len(others),
        advice="give more --days" if has_older else "wait until more were served",
    )


def _measures_of(record: Mapping[str, Any]) -> list[float]:
    appearance = record.get("appearance") or [np.nan] * len(MEASUREMENTS)
    unlikeness = record["out_of_distribution_score"]
    return [record["melanoma_probability"], np.nan if unlikeness is None else unlikeness, *appearance]


def read_predictions(uri: str, checkpoint_id: str) -> Served:
    """Return the scores of a table of predictions; the source of each image is its folder below the common one.

    Copies of an image in a folder count once, as the table tells them.

    The table has neither how unlike the images are nor how they look, so only their scores are compared.

    Args:
        uri: The file predictions.parquet.
        checkpoint_id: Checkpoint whose answers are meant.

    Raises:
        DataError: It can't be read, isn't such a table, or another checkpoint has made it.
    """
    try:
        table = storage.read_table(uri)
        paths, answers = table.column("path").to_pylist(), table.column("melanoma_probability").to_numpy()
    except (OSError, ValueError, KeyError) as error:
        msg = f"{uri}: can't be read as predictions ({error}); give the predictions.parquet of jobs.predict"
        raise DataError(msg) from error
    made_by = find_checkpoint_id(table)
    if made_by not in {None, checkpoint_id}:
        msg = f"{uri}: checkpoint {made_by} has made it, not {checkpoint_id}: give the checkpoint of these predictions"
        raise DataError(msg)
    copies = table.column("copy_of").to_pylist() if "copy_of" in table.column_names else [None] * len(paths)
    scores = np.asarray(answers, np.float64)
    is_answered, folders = np.isfinite(scores), _name_folders(paths)
    own = {
        (folder, of or path): score
        for folder, of, path, score, known in zip(folders, copies, paths, scores, is_answered, strict=True)
        if known
    }
    unknown = np.full(len(own), np.nan)
    return Served(
        measures={name: np.array(list(own.values()), np.float64) if name == SCORE else unknown for name in MEASURES},
        sources=tuple(folder for folder, _ in own),
        num_answers=int(is_answered.sum()),
        num_of_others=None if made_by is None else 0,
        advice="give predictions for more images",
    )


def _name_folders(paths: Sequence[str]) -> list[str]:
    """Return the folder of each file below the deepest one that has them all, in which a file is in ``.``.

    >>> _name_folders(["/scans/ward/left/1.jpg", "/scans/home/left/2.jpg", "/scans/3.jpg"])
    ['ward/left', 'home/left', '.']
    """
    folders = [path.split("/")[:-1] for path in paths]
    first, last = min(folders, default=[]), max(folders, default=[])  # what both begin with, all between them do
    num_common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return ["/".join(folder[num_common:]) or "." for folder in folders]
