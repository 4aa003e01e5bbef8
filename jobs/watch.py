"""Watch a folder: python -m jobs.watch --checkpoint DIR --images DIR --output DIR --alerts alerts.toml."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import torch

from melanoma_ray import storage
from melanoma_ray.alerts.sinks import read_checked_settings
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.triage.pages import FIRST_PAGE
from melanoma_ray.triage.watching import Inbox, Outlet, Watch
from melanoma_ray.triage.work import check_apart
from melanoma_ray.wording import count

from . import console, formatting


@dataclass(frozen=True, kw_only=True)
class WatchArguments:
    """Predict each image that arrives in a folder, within seconds, until Ctrl-C; the same command goes on."""

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json."""
    images: str
    """Folder in which images arrive, local or s3://; its subfolders are watched, too."""
    output: str
    """Directory for predictions.parquet, worklist.html and watch.json, the sign of life; not inside of --images."""
    metadata: tuple[str, ...] = ()
    """CSV tables with age, sex, site, patient and lesion by image; they are read again when they change."""
    columns: tuple[str, ...] = ()
    """Columns of the tables that can't be recognised by their names, such as image=derm age=years site=place."""
    alerts: str | None = None
    """File with the settings of alerts, .toml or .json, as in docs/alerts.md; by default nobody is alerted."""
    dicom_results: str | None = None
    """Directory for the answers about DICOM images as DICOM: reports and, of explained ones, images of the map."""
    explain: Annotated[int, Range(0)] = 0
    """For how many images, the most urgent, the worklist shows what the network went by; 0: none."""
    every_seconds: Annotated[float, Range(above=0)] = 1.0
    """Time between two looks at the folder, seconds, more than 0."""
    settle_seconds: Annotated[float, Range(0)] = 2.0
    """Time for which a file must not have changed before it is read, seconds, 0 or more."""
    use_gpu: bool = False
    """Predict on the GPU instead of the CPUs."""

    def __post_init__(self) -> None:
        """Check ranges, and that nothing is written among the images, where it would be read as one of them.

        Raises:
            ConfigError: Something would be.
        """
        check_ranges(self)
        check_apart(self.output, self.images, "--output")
        if self.dicom_results is not None:
            check_apart(self.dicom_results, self.images, "--dicom-results")


def main(arguments: WatchArguments) -> None:
    """Watch, and print a line for each round that has answered something."""
    if arguments.use_gpu and not torch.cuda.is_available():
        msg = "--use-gpu: this machine has no GPU that PyTorch can use; leave it out"
        raise ConfigError(msg)
    alerts = None if arguments.alerts is None else read_checked_settings(arguments.alerts)
    for directory in filter(None, (arguments.output, arguments.dicom_results)):
        storage.check_writable(directory)
    inbox = Inbox(
        images=arguments.images,
        metadata=arguments.metadata,
        columns=arguments.columns,
        settle_s=arguments.settle_seconds,
    )
    outlet = Outlet(
        output=arguments.output,
        alerts=alerts,
        dicom_results=arguments.dicom_results,
        explain=arguments.explain,
    )
    with Watch(arguments.checkpoint, inbox, outlet, "cuda" if arguments.use_gpu else "cpu") as watch:
        worklist = storage.join(arguments.output, FIRST_PAGE)
        before = f"{count(watch.num_answered, 'image')} answered before"
        print(f"watching {arguments.images} ({before}); Ctrl-C ends it\nworklist: {worklist}", flush=True)
        for found in watch.run(arguments.every_seconds):
            print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {formatting.describe_round(found)}", flush=True)


if __name__ == "__main__":
    console.run_job(main, WatchArguments)
