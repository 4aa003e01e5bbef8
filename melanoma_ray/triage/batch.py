"""A collection of images in, predictions.parquet (``inference/predictions.py``) and the worklist out.

Actors write their answers as they go (``parts``), so that the driver holds paths and figures, and never pictures; a job
that was killed goes on, and one that is run again scores only what is new.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from melanoma_ray import storage
from melanoma_ray.alerts.dispatcher import SendingResult
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.api import Decision
from melanoma_ray.inference.pool import map_with_actors
from melanoma_ray.inference.predictions import PREDICTIONS, write_predictions
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.reports.thumbnails import picture_side
from melanoma_ray.runs.lock import hold
from melanoma_ray.sources.unlabelled import ImageList
from melanoma_ray.triage.actor import PredictingActor
from melanoma_ray.triage.alerting import raise_alerts
from melanoma_ray.triage.copies import fold_copies
from melanoma_ray.triage.pages import MAX_ROWS, write_pages
from melanoma_ray.triage.parts import Parts
from melanoma_ray.triage.work import add_owners, find_work, gather, tabulate

_IMAGES_PER_BLOCK = 64
"""Images that an actor gets, and answers, at a time: what a killed actor, or a lost node, costs each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TriageResult:
    """The results for a folder."""

    predictions: str
    """Address of predictions.parquet."""
    worklist: str
    """Address of worklist.html."""
    num_by_decision: dict[Decision, int]
    """Number of images by decision."""
    num_unreadable: int
    num_scored: int
    """Images that were scored by this call."""
    num_kept: int
    """Images that an earlier call has answered, into the same directory and by the same checkpoint."""
    num_copies: int
    """Images that are byte for byte the same file as another one, whose answer is theirs."""
    passed_over: dict[str, int]
    """Number of files of the folder that aren't read as images, by reason."""
    notes: tuple[str, ...]
    """Where the tables don't fit the images, one sentence each."""
    overlays: dict[str, str]
    """The most urgent images under the maps of what the network went by, ``data:`` URIs by path."""
    alerts: SendingResult | None
    """Where all deliveries of the outbox stand; none: no alerts were asked for."""


def triage(
    checkpoint: str,
    images: ImageList,
    output: str,
    *,
    explain: int = 0,
    use_gpu: bool = False,
    alerts: AlertSettings | None = None,
) -> TriageResult:
    """Predict every image that hasn't been; write predictions.parquet and the pages of the worklist.

    Args:
        checkpoint: Checkpoint directory, run directory or a sweep's best.json.
        images: From ``list_images``, with age, sex and site for a model that uses them.
        output: Directory for predictions.parquet and worklist.html, and for the answers of each block in ``parts/``.
        explain: For how many images, the most urgent, the page shows what the network went by.
        use_gpu: Predict on GPUs instead of CPUs.
        alerts: Whom to alert about which answers; none: nobody.

    Raises:
        AlertError: The alerts can't be kept; predictions.parquet and worklist.html are written before.
        CheckpointError: The checkpoint can't be used.
        DataError: An earlier answer is damaged.
        RunHeldError: Another process writes into this output, such as a watch.
    """
    with hold(storage.absolute(output), advice="give another --output"):
        return _triage(checkpoint, images, output, explain=explain, use_gpu=use_gpu, alerts=alerts)


def _triage(
    checkpoint: str, images: ImageList, output: str, *, explain: int, use_gpu: bool, alerts: AlertSettings | None
) -> TriageResult:
    uri = find_checkpoint(storage.absolute(checkpoint))
    predictor = Predictor.load(uri, "cpu", runtime="reference")
    parts = Parts(output, predictor.checkpoint_id, predictor.manifest.diagnoses)
    uses_metadata = predictor.manifest.experiment.model.uses_metadata
    asked = find_work(images.images, parts, uses_metadata=uses_metadata)
    pending = asked[asked["copy_of"].isna() & ~asked["is_kept"]]
    _score(uri, pending, output, picture_side(min(MAX_ROWS, len(asked))), use_gpu=use_gpu)
    table = gather(asked, parts.read_answers())
    target = storage.join(output, PREDICTIONS)
    write_predictions(target, table, predictor.checkpoint_id)
    with parts.open_pictures() as pictures:
        worklist, overlays = write_pages(
            output, fold_copies(add_owners(table, asked)), predictor, pictures.find, explain=explain
        )
    decisions = [decision for decision in table.column("decision").to_pylist() if decision]
    num_copies = int(asked["copy_of"].notna().sum())
    return TriageResult(
        predictions=target,
        worklist=worklist,
        num_by_decision={decision: decisions.count(decision) for decision in sorted(set(decisions))},
        num_unreadable=table.num_rows - len(decisions),
        num_scored=len(pending),
        num_kept=len(asked) - len(pending) - num_copies,
        num_copies=num_copies,
        passed_over=images.passed_over,
        notes=(*images.notes, *overlays.notes),
        overlays=overlays.by_path,
        alerts=None if alerts is None else raise_alerts(alerts, table, images.images, predictor, worklist),
    )


def _score(checkpoint: str, pending: pd.DataFrame, output: str, side: int, *, use_gpu: bool) -> None:
    """Have actors answer the images and write the answers."""
    if pending.empty:
        return
    map_with_actors(
        tabulate(pending),
        PredictingActor,
        {"checkpoint": checkpoint, "side": side, "output": storage.absolute(output)},
        batch_size=_IMAGES_PER_BLOCK,
        use_gpu=use_gpu,
    )
