"""What a watch has answered so far, what it couldn't read and when it tries again, and what still waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from melanoma_ray.api import Decision
from melanoma_ray.triage.parts import Parts

_NUM_TRIES = 5
PAUSE_S = 5.0
"""Time between two tries to read a file, or to write an answer, seconds; a file that can't be read or decoded at the
last try counts as unreadable: a network disk may be away, and a slow sender may pause."""
_LATER_S = 3600.0
"""Time between two further tries of an unreadable file, seconds: somebody may mend its permissions."""
_OF_A_PATIENT = ["age", "sex", "site", "lesion_id", "patient_id"]


class Answered:
    """The answers into an output, those of earlier processes included; images are known by their keys (``parts``)."""

    def __init__(self, parts: Parts) -> None:
        """Read what has been answered before.

        Args:
            parts: Answers of the watch's model.

        Raises:
            DataError: An earlier answer is damaged.
        """
        self.table = parts.read_answers()
        """Columns of predictions.parquet and the key, a row for each image."""
        self._unread = set(self.table.filter(pc.field("decision").is_null()).column("key").to_pylist())
        """Keys of the images whose answer is that they can't be read: they are tried again, and not told again."""
        self._tries: dict[str, tuple[int, float]] = {}
        """Number of failed tries to read an image, and time before which it isn't tried again."""

    def find_pending(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return the images that have no answer, or that couldn't be read, the oldest first.

        Args:
            images: key, path and modified_ns.
        """
        answered = set(self.table.column("key").to_pylist()) - self._unread
        return images[~images["key"].isin(answered)].sort_values(["modified_ns", "path"])

    def count_waiting(self, pending: pd.DataFrame) -> int:
        """Return how many of the pending images have no answer at all, not even that they can't be read."""
        return len(pending) - int(pending["key"].isin(self._unread).sum())

    def is_due(self, key: str, now: float) -> bool:
        """Return whether an image is to be tried now: an unreadable one is given time."""
        return self._tries.get(key, (0, now))[1] <= now

    def is_settled(self, key: str, decision: Decision | None, now: float) -> bool:
        """Return whether an answer is to be told now; one that can't be read is tried again first, and told once.

        Args:
            key: The image.
            decision: Decision about it; none: it couldn't be read.
            now: Time of a clock that never goes back, seconds.
        """
        if decision is not None:
            self._tries.pop(key, None)
            return True
        number = self._tries.get(key, (0, now))[0] + 1
        self._tries[key] = number, now + (PAUSE_S if number < _NUM_TRIES else _LATER_S)
        return number >= _NUM_TRIES and key not in self._unread

    def forget_tries(self, keys: Iterable[str]) -> None:
        """Count these images as never tried."""
        for key in keys:
            self._tries.pop(key, None)

    def add(self, keys: Sequence[str], answers: pa.Table) -> None:
        """Take more answers; a later one about an image replaces the earlier one.

        Args:
            keys: Key of each image.
            answers: Columns of predictions.parquet.
        """
        mine = answers.add_column(0, "key", pa.array(keys, pa.string())).select(self.table.schema.names)
        others = self.table.filter(~pc.field("key").isin(list(keys)))
        self.table = pa.concat_tables([others, mine.cast(self.table.schema)])
        decisions = answers.column("decision").to_pylist()
        unread = {key for key, decision in zip(keys, decisions, strict=True) if decision is None}
        self._unread = (self._unread - set(keys)) | unread

    def find_images(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return all images that have an answer: those in the folder, and those that were taken away since.

        A file that is being replaced has its earlier answer until the new one is there. Of one that was moved, the
        earlier place goes.

        Args:
            images: What the folder has now: key, path, image_id, and what is known of each patient.
        """
        answers = self.table.select(["key", "path", "image_id", "melanoma_probability"]).to_pandas()
        here = images[images["key"].isin(answers["key"])]
        earlier = answers[~answers["path"].isin(here["path"])].drop_duplicates("path", keep="last")
        of_here = answers[answers["key"].isin(here["key"])]
        moved = set(zip(map(_file_name, of_here["path"]), of_here["melanoma_probability"], strict=True))
        is_gone = ~earlier["path"].isin(images["path"])
        names = zip(map(_file_name, earlier["path"]), earlier["melanoma_probability"], strict=True)
        is_moved = is_gone & np.array([one in moved for one in names], bool)
        columns = ["key", "path", "image_id", *_OF_A_PATIENT]
        found: pd.DataFrame = pd.concat(
            [here.reindex(columns=columns), earlier[~is_moved].reindex(columns=columns)], ignore_index=True
        )
        found = found.assign(copy_of=None).astype(object)
        return found.sort_values("path", ignore_index=True)


def _file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
