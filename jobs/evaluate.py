"""Evaluate: ray job submit --working-dir . -- python -m jobs.evaluate --checkpoint DIR --data DIR --output DIR."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from melanoma_ray import storage
from melanoma_ray.cluster.resources import check_room
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.documents.model_card import check_statements
from melanoma_ray.documents.output import check_output
from melanoma_ray.documents.report import Options, evaluate
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.evaluation.comparison import check_comparable
from melanoma_ray.evaluation.external import find_words, prepare_images, read_images
from melanoma_ray.evaluation.subject import KnownImages
from melanoma_ray.model.checkpoint import Manifest, find_checkpoint, read_manifest
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.schema import Scope
from melanoma_ray.sources.readings import Reading, read_readings

from . import command_line, console, formatting, interruption
from .progress import show_progress


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Evaluate a checkpoint on images that it wasn't trained on: a prepared dataset's, or any labelled collection's."""

    INTERRUPTED: ClassVar[str] = interruption.BEGINS_ANEW

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json."""
    output: str
    """Directory for report.json, report.html, model_card.md and predictions.parquet."""
    data: str | None = None
    """Directory of a prepared dataset; or give images."""
    split: Scope = "test"
    """Images of data to score. Thresholds were chosen on val, so figures on val are optimistic.
    folds: all images of cross-validation, each scored by the network that was trained without it."""
    images: tuple[str, ...] = ()
    """Folders, HDF5 or Parquet files of any labelled collection, in place of data; every image whose diagnosis is
    known is scored; they are prepared into output/prepared."""
    metadata: tuple[str, ...] = ()
    """CSV tables, or FHIR Bundles, with metadata of images; by default those in or next to each folder."""
    taxonomy: str | None = None
    """For images and reference: as for jobs.prepare; by default the words mean what they mean to the checkpoint."""
    columns: tuple[str, ...] = ()
    """For images: columns of the tables that can't be recognised by their names, as for jobs.prepare."""
    known_images: KnownImages | None = None
    """What is done with images that the model learnt from or was calibrated on, recognised one by one.
    refuse: the job ends with their number (the default for data); leave-out: only the others are scored (the default
    for images); count: all are scored, and the report says that its figures praise the model."""
    ids_are_shared: bool = True
    """Take an equal id of a lesion or patient for the same one as in training. Turn it off for a clinic that numbers
    its patients by itself; ids of public archives count in either case."""
    prevalence: Annotated[float | None, Range(above=0, below=1)] = None
    """Share of melanomas, in (0, 1), where the model shall be used, for PPV, NPV and referrals; by default that of the
    images."""
    compare: str | None = None
    """Another checkpoint, to be compared on the same images: differences with intervals, and who changes sides."""
    beside: str | None = None
    """report.json of the same checkpoint on other images, such as its own test split: the drop to here is told."""
    shortcuts: bool = False
    """Also ask whether the model looks at the lesion: each image is scored four times more, with its border cut off,
    hair removed, in grey and with its lesion masked out; beside it what age, sex and site alone tell."""
    explain: bool = False
    """Also show what the network looked at in its surest errors and in some hits, how far that can be believed, and
    the most similar training cases."""
    reference: str | None = None
    """CSV table of people's readings of the images (docs/evaluation.md), such as a reviewed worklist: how the model and
    each reader agree."""
    statements: str | None = None
    """TOML file with your own words for items of the model card by number, such as 18a = "Funded by …" or
    "STARD-AI 5" = "Retrospective."."""
    use_gpu: bool = False
    """Score on GPUs instead of CPUs."""
    wait_minutes: command_line.WaitMinutes = command_line.WAIT_MINUTES
    """Minutes to wait for free CPUs and GPUs on a cluster before the job gives up, more than 0."""

    def __post_init__(self) -> None:
        """Check ranges, and that there is one thing to evaluate on."""
        check_ranges(self)
        if (self.data is None) == (not self.images):
            msg = "expected either --data (a prepared dataset) or --images (any labelled collection)"
            raise ConfigError(msg)
        if self.images and self.split != "test":
            msg = f"split={self.split!r}: --images have no splits; leave --split out"
            raise ConfigError(msg)


def main(arguments: EvaluateArguments) -> dict[str, Any]:
    """Evaluate and print the figures."""
    check_room(gpus=1 if arguments.use_gpu else 0, flags="--use-gpu")
    checkpoint = find_checkpoint(storage.absolute(arguments.checkpoint))
    manifest = read_manifest(checkpoint)
    collection = None
    if arguments.images:
        collection = read_images(manifest, arguments.images, arguments.metadata, arguments.taxonomy, arguments.columns)
    if arguments.data is not None:
        dataset = open_dataset(arguments.data)
        if arguments.split != "folds":
            dataset.split(arguments.split)
    if arguments.compare is not None:
        other = find_checkpoint(storage.absolute(arguments.compare))
        check_comparable(manifest, read_manifest(other))
    statements = _read_statements(arguments.statements)
    readings = _read_readings(arguments, manifest)
    storage.check_writable(arguments.output)
    replaced = check_output(arguments.output)
    console.connect(wait_minutes=arguments.wait_minutes)
    data = arguments.data
    if collection is not None:
        data = storage.join(arguments.output, "prepared")
        prepare_images(collection, data, manifest, show_progress=show_progress)
    options = Options(
        known_images=arguments.known_images or ("leave-out" if collection is not None else "refuse"),
        ids_are_shared=arguments.ids_are_shared,
        prevalence=arguments.prevalence,
        compare=arguments.compare,
        beside=arguments.beside,
        shortcuts=arguments.shortcuts,
        explain=arguments.explain,
        readings=readings,
        statements=statements,
        use_gpu=arguments.use_gpu,
    )
    report = evaluate(checkpoint, str(data), arguments.output, split=arguments.split, options=options)
    print(formatting.describe_report(report, arguments.output, replaced))
    return report


def _read_readings(arguments: EvaluateArguments, manifest: Manifest) -> tuple[Reading, ...] | None:
    if arguments.reference is None:
        return None
    return read_readings(arguments.reference, find_words(manifest, arguments.taxonomy) or load_taxonomy())


def _read_statements(name: str | None) -> dict[str, str]:
    if name is None:
        return {}
    try:
        found = tomllib.loads(storage.read_bytes(name).decode())
    except (OSError, ValueError) as error:
        msg = f"{name}: can't be read as TOML ({error})"
        raise DataError(msg) from error
    check_statements(found)
    return found


if __name__ == "__main__":
    console.run_job(main, EvaluateArguments)
