"""A folder that images are dropped into: each is answered within seconds, alerts go out, and a restart misses none.

One process on one machine, without a cluster, since a night's images come one at a time. What is done is remembered by
the same files as in a batch (``parts``), so both may work on one output, one after the other. Alerts about an image
are kept in the outbox before its answer is written: a process that is killed between the two answers the image again,
and the outbox knows the alert by its id.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from melanoma_ray import storage
from melanoma_ray.alerts.dispatcher import send_forever
from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.rules import as_iso
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.api import Decision
from melanoma_ray.errors import ConfigError, DataError, NoImagesError, StorageError
from melanoma_ray.inference.predictions import PREDICTIONS, write_predictions
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.reports.thumbnails import picture_side
from melanoma_ray.runs.lock import hold
from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.actor import PredictingActor
from melanoma_ray.triage.alerting import describe_origin, find_alerts
from melanoma_ray.triage.answered import PAUSE_S, Answered
from melanoma_ray.triage.arrivals import Arrivals
from melanoma_ray.triage.copies import fold_copies
from melanoma_ray.triage.dicom_results import write_results
from melanoma_ray.triage.pages import FIRST_PAGE, MAX_ROWS, write_pages
from melanoma_ray.triage.parts import make_keys
from melanoma_ray.triage.work import add_owners, gather, tabulate

STATUS = "watch.json"
_IMAGES_AT_ONCE = 16
"""Images that are answered before alerts about them are kept: after a long night, how long the first one waits."""
_PAGES_EVERY_S = 10.0
_LARGEST_SHARE = 0.05
"""Of the time, for writing pages: with thousands of rows they are written more rarely."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inbox:
    """The folder, and what is known of its images."""

    images: str
    """Folder, local or s3://."""
    metadata: tuple[str, ...] = ()
    """Tables with age, sex, site, lesion_id and patient_id by image; they are read again when they change."""
    columns: tuple[str, ...] = ()
    """Columns of the tables named by hand, such as ``image=derm``."""
    settle_s: float = 2.0
    """Time for which a file must not have changed before it is read, seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlet:
    """Where the answers go."""

    output: str
    """Directory for predictions.parquet, worklist.html and watch.json, as for ``triage``."""
    alerts: AlertSettings | None = None
    """Whom to alert about which answers; none: nobody."""
    dicom_results: str | None = None
    """Directory for the answers about DICOM images as DICOM; none: they aren't written."""
    explain: int = 0
    """For how many images, the most urgent, the page shows what the network went by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What one look at the folder has led to."""

    num_by_decision: dict[Decision, int] = field(default_factory=dict)
    num_unreadable: int = 0
    num_alerts: int | None = None
    """New alerts in the outbox; none: nobody is alerted."""
    without_report: dict[str, int] = field(default_factory=dict)
    """Number of DICOM images that have no report, by the reason; empty where none are written."""
    num_waiting: int = 0
    """Images at rest that have no answer yet."""
    trouble: str | None = None
    """What can't be done now, and what is done instead: a folder or table that can't be read, an output not written."""

    @property
    def num_answered(self) -> int:
        """Return the number of images with an answer, or with a reason why there is none."""
        return sum(self.num_by_decision.values()) + self.num_unreadable


class Watch:
    """Answers what arrives; used as a context manager."""

    def __init__(self, checkpoint: str, inbox: Inbox, outlet: Outlet, device: str = "cpu") -> None:
        """Load the model, and what has been answered before.

        Args:
            checkpoint: Checkpoint directory, run directory or a sweep's best.json.
            inbox: Where images arrive.
            outlet: Where answers go.
            device: Device to score on.

        Raises:
            CheckpointError: The checkpoint can't be used.
            ConfigError: The alerts are kept on another node of a cluster.
            DataError: An earlier answer is damaged.
        """
        self.inbox, self.outlet, self.output = inbox, outlet, storage.absolute(outlet.output)
        self.alerts = outlet.alerts
        if self.alerts is not None and self.alerts.node_resource is not None:
            msg = f"node_resource={self.alerts.node_resource!r}: a watch keeps its outbox on its machine; leave it out"
            raise ConfigError(msg)
        self._checkpoint = uri = find_checkpoint(storage.absolute(checkpoint))
        self._actor = PredictingActor(uri, picture_side(MAX_ROWS), self.output, device)
        self._arrivals = Arrivals(storage.absolute(inbox.images), inbox.metadata, inbox.settle_s)
        self._images = pd.DataFrame({name: pd.Series(dtype=object) for name in ("key", "path", "image_id")})
        self._answered = Answered(self._actor.parts)
        self._pages_due, self._answers_due, self._has_news, self._is_unlisted = 0.0, 0.0, True, True
        self._trouble_of_tables: str | None = None
        self._trouble_of_output: str | None = None
        self._trouble: str | None = None
        self._notes: tuple[str, ...] = ()
        self._without_report: Counter[str] = Counter()
        self._stack = ExitStack()

    @property
    def num_answered(self) -> int:
        """Return how many images have been answered into this output, those of earlier processes included."""
        return int(self._answered.table.num_rows)

    def __enter__(self) -> Self:
        """Hold the output, and start sending alerts."""
        with ExitStack() as stack:
            stack.enter_context(hold(self.output, advice="give another --output"))
            self._pictures = stack.enter_context(self._actor.parts.open_pictures())
            self._sending = None if self.alerts is None else stack.enter_context(_sending(self.alerts))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Write the pages once more, and stop."""
        with self._stack:
            self._write_pages(self._answered.count_waiting(self._find_pending()))

    def step(self, now: float) -> Round:
        """Look at the folder, and answer some of what waits.

        Args:
            now: Time of a clock that never goes back, seconds.

        Raises:
            AlertError: The alerts can't be kept, or sending them has failed.
        """
        if self._sending is not None and self._sending.done():
            self._sending.result()  # raises why it has ended
        trouble = self._look(now)
        pending = self._find_pending()
        num_waiting = self._answered.count_waiting(pending)
        done = self._answer_some(pending, now) if now >= self._answers_due else Round()
        # An image that can be read at last didn't count as waiting.
        num_waiting = max(0, num_waiting - done.num_answered)
        self._trouble = trouble or self._trouble_of_output
        if now >= self._pages_due:
            self._try_to_write_pages(now, num_waiting)
        return replace(done, num_waiting=num_waiting, trouble=trouble or self._trouble_of_output)

    def run(self, every_s: float) -> Iterator[Round]:
        """Yield what happens, for ever: each round that answered something, met trouble, or is over it.

        Args:
            every_s: Least time between two looks, seconds; as long as images wait there is no pause.
        """
        trouble: str | None = None
        while True:
            started = time.monotonic()
            found = self.step(started)
            if found.num_answered or found.trouble != trouble:
                yield found
            trouble = found.trouble
            if not found.num_answered:
                time.sleep(max(every_s, time.monotonic() - started))  # a look at a huge folder isn't all that is done

    def _look(self, now: float) -> str | None:
        """Read folder and tables again if they have changed; return why one of them can't be read."""
        try:
            if self._arrivals.look(now) or self._is_unlisted:
                self._is_unlisted = True  # until it has been read, whatever goes wrong meanwhile
                self._trouble_of_tables = self._list()
                self._is_unlisted = False
        except (DataError, OSError) as error:
            return f"can't look, and tries again: {error}"
        return self._trouble_of_tables

    def _list(self) -> str | None:
        """Read folder and tables; return why a table can't be read: nobody has to wait for an answer until it can."""
        trouble = None
        try:
            listed = self._list_images(self.inbox.metadata)
        except (DataError, OSError) as error:
            if not self.inbox.metadata:
                raise
            listed = self._list_images(())
            trouble = f"{error}; images are answered without the tables"
        self._images, self._has_news = listed, True
        return trouble

    def _list_images(self, metadata: Sequence[str]) -> pd.DataFrame:
        try:
            listed = list_images(self.inbox.images, metadata, self.inbox.columns if metadata else ())
        except NoImagesError:  # all are taken away again, or the first is still to come
            return self._images.iloc[:0]
        self._notes = listed.notes
        uses_metadata = self._actor.predictor.manifest.experiment.model.uses_metadata
        return listed.images.assign(key=make_keys(listed.images, uses_metadata=uses_metadata))

    def _find_pending(self) -> pd.DataFrame:
        """Return the images at rest that have no answer, or that couldn't be read, the oldest first."""
        if self._images.empty:
            return self._images
        pending = self._answered.find_pending(self._images)
        is_at_rest = [self._arrivals.is_at_rest(path) for path in pending["path"]]
        return pending[np.array(is_at_rest, bool)]

    def _answer_some(self, pending: pd.DataFrame, now: float) -> Round:
        """Answer the first of those that are due; while answers can't be written, what was answered counts for none."""
        is_due = [self._answered.is_due(key, now) for key in pending["key"]]
        due = pending[np.array(is_due, bool)].head(_IMAGES_AT_ONCE)
        if due.empty:
            return Round()
        try:
            done = self._answer(due, now)
        except StorageError as error:
            self._trouble_of_output = f"can't write answers, and tries again: {error}"
            self._answers_due = now + PAUSE_S
            self._answered.forget_tries(due["key"])  # what couldn't be read, since it couldn't be told
            return Round()
        self._trouble_of_output = None
        return done

    def _answer(self, images: pd.DataFrame, now: float) -> Round:
        read = list(self._actor.read(list(images["path"])))
        answers, pictures = self._actor.answer(tabulate(images), read)
        decisions = answers.column("decision").to_pylist()
        is_told = [self._answered.is_settled(key, one, now) for key, one in zip(images["key"], decisions, strict=True)]
        if not any(is_told):
            return Round()
        images, answers = images[np.array(is_told, bool)], answers.filter(pa.array(is_told))
        read = [one for one, is_in in zip(read, is_told, strict=True) if is_in]
        pictures = [one for one, is_in in zip(pictures, is_told, strict=True) if is_in]
        num_alerts = self._keep_alerts(answers, images, read)
        copy_of = pa.nulls(answers.num_rows, pa.string())  # each image that arrives is answered by itself
        without = self._write_dicom(answers.append_column("copy_of", copy_of), {})
        keys = list(images["key"])
        self._actor.parts.write(keys, answers, pictures)
        self._pictures.add(keys, pictures)
        self._answered.add(keys, answers)
        told = Counter(answers.column("decision").to_pylist())
        num_unreadable = told.pop(None, 0)
        self._has_news = True
        self._without_report.update(without)
        return Round(
            num_by_decision=dict(told), num_unreadable=num_unreadable, num_alerts=num_alerts, without_report=without
        )

    def _keep_alerts(self, answers: pa.Table, images: pd.DataFrame, encoded: Sequence[bytes | OSError]) -> int | None:
        """Keep the alerts about some answers in the outbox, and return how many are new."""
        if self.alerts is None:
            return None
        found: dict[str, bytes | OSError] = dict(zip(images["path"], encoded, strict=True))

        def read(path: str) -> bytes:
            content = found[path]
            if isinstance(content, OSError):
                raise content
            return content

        predictor = self._actor.predictor
        origin = describe_origin(predictor, storage.join(self.output, FIRST_PAGE), "watch")
        alerts = find_alerts(self.alerts, answers, images, predictor.manifest.diagnoses, origin, read)
        with Outbox(self.alerts.outbox) as outbox:
            return outbox.record(alerts)

    def _write_dicom(self, answers: pa.Table, overlays: Mapping[str, str]) -> dict[str, int]:
        """Write the answers about DICOM images as DICOM, and return how many have none by the reason."""
        if self.outlet.dicom_results is None:
            return {}
        return write_results(self.outlet.dicom_results, answers, overlays, self._checkpoint).without

    def _try_to_write_pages(self, now: float, num_waiting: int) -> None:
        """Write the pages, or note why they can't be written: answers and alerts mustn't wait for them."""
        started = time.monotonic()
        try:
            self._write_pages(num_waiting)
        except StorageError as error:
            self._trouble = self._trouble_of_output = f"can't write the worklist, and tries again: {error}"
        self._pages_due = now + max(_PAGES_EVERY_S, (time.monotonic() - started) / _LARGEST_SHARE)

    def _write_pages(self, num_waiting: int) -> None:
        """Write predictions.parquet and the pages, if there is news, and in any case the sign of life."""
        if self._has_news:
            asked = self._answered.find_images(self._images)
            table = gather(asked, self._answered.table)
            target = storage.join(self.output, PREDICTIONS)
            write_predictions(target, table, self._actor.predictor.checkpoint_id)
            answers = fold_copies(add_owners(table, asked))
            _, overlays = write_pages(
                self.output, answers, self._actor.predictor, self._pictures.find, explain=self.outlet.explain
            )
            if overlays.by_path:
                explained = table.filter(pc.field("path").isin(list(overlays.by_path)))
                self._write_dicom(explained, overlays.by_path)
            self._has_news = False
            self._trouble_of_output = None
        status = {
            "looked_at": as_iso(time.time()),
            "trouble": self._trouble,
            "num_answered": self.num_answered,
            "num_waiting": num_waiting,
            "num_changing": self._arrivals.num_changing,
            "passed_over": self._arrivals.passed_over,
            "without_report": dict(self._without_report),
            "notes": self._notes,
        }
        storage.write_json(storage.join(self.output, STATUS), status)


@contextmanager
def _sending(settings: AlertSettings) -> Iterator[Future[None]]:
    """Send alerts from a thread while the block runs; yields what tells whether it has ended, and why."""
    Outbox(settings.outbox).close()  # makes the file, and raises here what would end the thread
    is_over = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="alerts") as pool:
        try:
            yield pool.submit(send_forever, settings, is_over)
        finally:
            is_over.set()
