"""Evaluate: ray job submit --working-dir . -- python -m jobs.evaluate --checkpoint DIR --data DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.evaluation.report import evaluate
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.schema import Scope

from . import console, formatting


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
    """Images to score. Thresholds were chosen on val, so figures on val are optimistic. folds: all images of
    cross-validation, each scored by the network that was trained without it."""
    use_gpu: bool = False
    """Score on GPUs instead of CPUs."""


def main(arguments: EvaluateArguments) -> dict[str, Any]:
    """Evaluate and print the figures."""
    find_checkpoint(arguments.checkpoint)
    dataset = open_dataset(arguments.data)
    if arguments.split != "folds":
        dataset.split(arguments.split)
    console.connect()
    report = evaluate(
        arguments.checkpoint, arguments.data, arguments.output, split=arguments.split, use_gpu=arguments.use_gpu
    )
    print(formatting.describe_report(report, arguments.output))
    return report


if __name__ == "__main__":
    console.run_job(main, EvaluateArguments)
