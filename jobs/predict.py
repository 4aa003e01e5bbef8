"""Predict: ray job submit --working-dir . -- python -m jobs.predict --checkpoint DIR --images DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from melanoma_ray import storage
from melanoma_ray.alerts.actor import check_node
from melanoma_ray.alerts.sinks import read_checked_settings
from melanoma_ray.cluster.resources import check_room
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.batch import TriageResult, triage
from melanoma_ray.triage.dicom_results import write_results
from melanoma_ray.triage.work import check_apart

from . import alert_lines, command_line, console, formatting


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """Predict every image of a folder and list the most urgent first."""

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json."""
    images: str
    """Folder with images, local or s3://; its subfolders are searched too."""
    output: str
    """Directory for predictions.parquet and worklist.html, not inside of --images."""
    metadata: tuple[str, ...] = ()
    """CSV tables with age, sex and site by image, for a model that uses them; by default they count as unknown."""
    explain: Annotated[int, Range(0)] = 20
    """For how many images, the most urgent, the worklist shows what the network went by; 0: none."""
    alerts: str | None = None
    """File with the settings of alerts, .toml or .json, as in docs/alerts.md; by default nobody is alerted."""
    dicom_results: str | None = None
    """Directory for the answers about DICOM images as DICOM: reports and, of explained ones, images of the map."""
    columns: tuple[str, ...] = ()
    """Columns of the tables that can't be recognised by their names, such as image=derm age=years site=place."""
    use_gpu: bool = False
    """Predict on GPUs instead of CPUs."""
    wait_minutes: command_line.WaitMinutes = command_line.WAIT_MINUTES
    """Minutes to wait for free CPUs and GPUs on a cluster before the job gives up, more than 0."""

    def __post_init__(self) -> None:
        """Check ranges, and that nothing is written among the images, where the next run would read it.

        Raises:
            ConfigError: Something would be.
        """
        check_ranges(self)
        check_apart(self.output, self.images, "--output")
        if self.dicom_results is not None:
            check_apart(self.dicom_results, self.images, "--dicom-results")


def main(arguments: PredictArguments) -> TriageResult:
    """Predict and print how many images got each decision, and whom that was told.

    Raises:
        AlertError: A sink was given up, so that a person isn't told.
    """
    check_room(gpus=1 if arguments.use_gpu else 0, flags="--use-gpu")
    alerts = None if arguments.alerts is None else read_checked_settings(arguments.alerts)
    find_checkpoint(arguments.checkpoint)
    images = list_images(arguments.images, arguments.metadata, arguments.columns)
    storage.check_writable(arguments.output)
    if arguments.dicom_results is not None:
        storage.check_writable(arguments.dicom_results)
    console.connect(wait_minutes=arguments.wait_minutes)
    if alerts is not None:
        check_node(alerts)
    result = triage(
        arguments.checkpoint,
        images,
        arguments.output,
        explain=arguments.explain,
        use_gpu=arguments.use_gpu,
        alerts=alerts,
    )
    print(formatting.describe_triage(result))
    if arguments.dicom_results is not None:
        answers = storage.read_table(result.predictions)
        written = write_results(arguments.dicom_results, answers, result.overlays, arguments.checkpoint)
        print(formatting.describe_dicom(written))
    if result.alerts is not None:
        print(alert_lines.describe_sending(result.alerts, str(arguments.alerts)))
        alert_lines.refuse_dead(result.alerts, str(arguments.alerts))
    return result


if __name__ == "__main__":
    console.run_job(main, PredictArguments)
