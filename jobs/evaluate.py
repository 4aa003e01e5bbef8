"""Evaluate: ray job submit --working-dir . -- python -m jobs.evaluate --checkpoint DIR --data DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from melanoma_ray import storage
from melanoma_ray.cluster.resources import check_room
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.evaluation.report import evaluate
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.ranges import check_ranges
from melanoma_ray.schema import Scope

from . import command_line, console, formatting


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Evaluate a checkpoint on images that it wasn't trained on."""

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json."""
    data: str
    """Directory of the prepared dataset."""
    output: str
    """Directory for report.json, report.html and predictions.parquet."""
    split: Scope = "test"
    """Images to score. Thresholds were chosen on val, so figures on val are optimistic.
    folds: all images of cross-validation, each scored by the network that was trained without it."""
    use_gpu: bool = False
    """Score on GPUs instead of CPUs."""
    wait_minutes: command_line.WaitMinutes = command_line.WAIT_MINUTES
    """Minutes to wait for free CPUs and GPUs on a cluster before the job gives up, more than 0."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)


def main(arguments: EvaluateArguments) -> dict[str, Any]:
    """Evaluate and print the figures."""
    check_room(gpus=1 if arguments.use_gpu else 0, flags="--use-gpu")
    find_checkpoint(arguments.checkpoint)
    dataset = open_dataset(arguments.data)
    if arguments.split != "folds":
        dataset.split(arguments.split)
    storage.check_writable(arguments.output)
    console.connect(wait_minutes=arguments.wait_minutes)
    report = evaluate(
        arguments.checkpoint, arguments.data, arguments.output, split=arguments.split, use_gpu=arguments.use_gpu
    )
    print(formatting.describe_report(report, arguments.output))
    return report


if __name__ == "__main__":
    console.run_job(main, EvaluateArguments)
