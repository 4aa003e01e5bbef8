"""Export a checkpoint for other programs: python -m jobs.export --checkpoint DIR --output DIR [--data DIR]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from melanoma_ray import storage
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.inference.export import EXPORT, check_packages, export_checkpoint
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.patients import encode_metadata

from . import console, interruption


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """Write a checkpoint's networks as ONNX files, with what another program needs to know in export.json."""

    INTERRUPTED: ClassVar[str] = interruption.BEGINS_ANEW

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json."""
    output: str
    """Directory for network-0.onnx … and export.json."""
    data: str | None = None
    """Prepared dataset on whose validation split the answers are compared, beside drawn lesions; by default these."""


def main(arguments: ExportArguments) -> None:
    """Export, and print how far other runtimes' answers are from PyTorch's."""
    check_packages()
    checkpoint = find_checkpoint(storage.absolute(arguments.checkpoint))
    storage.check_writable(arguments.output)
    crops = metadata = None
    if arguments.data is not None:
        dataset = open_dataset(arguments.data)
        images = dataset.split("val")
        crops, metadata = dataset.load_pixels(list(images["path"])), encode_metadata(images)
    exported = export_checkpoint(checkpoint, arguments.output, crops, metadata)
    for images_of, found in exported.agreements:
        print(
            f"{found.runtime} on {found.num_images} images ({images_of}): probabilities within "
            f"{found.largest_difference:.2g} of PyTorch's, {found.num_decisions_changed} decisions changed"
        )
    print(f"networks: {', '.join(storage.join(arguments.output, name) for name in exported.files)}")
    print(f"what they need: {storage.join(arguments.output, EXPORT)}")


if __name__ == "__main__":
    console.run_job(main, ExportArguments)
