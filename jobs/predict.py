"""Predict: ray job submit --working-dir . -- python -m jobs.predict --checkpoint DIR --images DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass

from jobs import console, formatting
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.sources.layouts import list_images
from melanoma_ray.triage.batch import TriageResult, triage


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """Predict every image of a folder and put the most urgent on top."""

    checkpoint: str
    """A checkpoint directory, a run's directory or a sweep's best.json."""
    images: str
    """Folder, local or s3://; every image below it."""
    output: str
    """Directory of predictions.parquet and worklist.html."""
    metadata: tuple[str, ...] = ()
    """CSV tables with the images' age, sex and site, for a model that uses them; by default nothing is known."""
    use_gpu: bool = False
    """Predict on GPUs."""


def main(arguments: PredictArguments) -> TriageResult:
    """Predict and print how many need eyes."""
    find_checkpoint(arguments.checkpoint)
    list_images(arguments.images)
    console.connect()
    result = triage(
        arguments.checkpoint,
        arguments.images,
        arguments.output,
        metadata=arguments.metadata,
        use_gpu=arguments.use_gpu,
    )
    print(formatting.describe_triage(result))
    return result


if __name__ == "__main__":
    console.run_job(main, PredictArguments)
