"""Recalibrate: python -m jobs.recalibrate --checkpoint DIR --images DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from melanoma_ray import storage
from melanoma_ray.cluster.resources import check_room
from melanoma_ray.documents.output import check_output
from melanoma_ray.documents.report import Options, evaluate
from melanoma_ray.evaluation.external import prepare_images, read_images
from melanoma_ray.evaluation.recalibration import recalibrate
from melanoma_ray.evaluation.subject import open_subject
from melanoma_ray.model.checkpoint import find_checkpoint, read_manifest
from melanoma_ray.ranges import Range, check_ranges

from . import command_line, console, formatting, interruption
from .progress import show_progress


@dataclass(frozen=True, kw_only=True)
class RecalibrateArguments:
    """Fit a checkpoint's probabilities and threshold on a part of a clinic's images, and evaluate it on the rest."""

    INTERRUPTED: ClassVar[str] = interruption.BEGINS_ANEW

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json; its weights stay as they are."""
    images: tuple[str, ...]
    """Folders, HDF5 or Parquet files of a labelled collection of the clinic."""
    output: str
    """Directory for the new checkpoint (in checkpoint/), the report (in report/) and the prepared images."""
    fraction: Annotated[float, Range(above=0, below=1)] = 0.3
    """Share of the images to fit on, in (0, 1), by whole lesions or patients; the others are for the report."""
    metadata: tuple[str, ...] = ()
    """CSV tables with metadata of images; by default those in or next to each folder."""
    taxonomy: str | None = None
    """As for jobs.prepare; by default the words mean what they mean to the checkpoint."""
    columns: tuple[str, ...] = ()
    """Columns of the tables that can't be recognised by their names, as for jobs.prepare."""
    ids_are_shared: bool = True
    """Take an equal id of a lesion or patient for the same one as in training, as for jobs.evaluate."""
    seed: Annotated[int, Range(0)] = 0
    """Seed of the choice of the part, 0 or more."""
    use_gpu: bool = False
    """Score on GPUs instead of CPUs."""
    wait_minutes: command_line.WaitMinutes = command_line.WAIT_MINUTES
    """Minutes to wait for free CPUs and GPUs on a cluster before the job gives up, more than 0."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)


def main(arguments: RecalibrateArguments) -> dict[str, Any]:
    """Recalibrate, evaluate before and after on the rest, and print the figures."""
    check_room(gpus=1 if arguments.use_gpu else 0, flags="--use-gpu")
    parent = find_checkpoint(storage.absolute(arguments.checkpoint))
    manifest = read_manifest(parent)
    collection = read_images(manifest, arguments.images, arguments.metadata, arguments.taxonomy, arguments.columns)
    storage.check_writable(arguments.output)
    data, checkpoint, report = (
        storage.absolute(storage.join(arguments.output, name)) for name in ("prepared", "checkpoint", "report")
    )
    replaced = check_output(report)
    console.connect(wait_minutes=arguments.wait_minutes)
    dataset = prepare_images(collection, data, manifest, show_progress=show_progress)
    subject = open_subject(
        parent, dataset, split="test", known_images="leave-out", ids_are_shared=arguments.ids_are_shared
    )
    recalibrate(subject, checkpoint, fraction=arguments.fraction, seed=arguments.seed, use_gpu=arguments.use_gpu)
    options = Options(
        known_images="leave-out",
        ids_are_shared=arguments.ids_are_shared,
        compare=parent,
        use_gpu=arguments.use_gpu,
    )
    found = evaluate(checkpoint, data, report, split="test", options=options)
    print(formatting.describe_report(found, report, replaced))
    print(f"recalibrated checkpoint: {checkpoint}")
    return found


if __name__ == "__main__":
    console.run_job(main, RecalibrateArguments)
