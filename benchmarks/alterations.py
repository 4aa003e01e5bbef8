"""How often hair and lesions are found in images of a folder: python -m benchmarks.alterations --images FOLDER."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import tyro

from melanoma_ray.config import ImageConfig
from melanoma_ray.imaging.alteration import mask_lesion, remove_hair
from melanoma_ray.imaging.decoding import decode_image


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Count the images of a folder to which a change applies."""

    images: Path
    """Folder of .jpg files; subfolders are searched too."""
    number: int = 300
    """Number of images, drawn at random, always the same."""
    side: int = 180
    """Side of the crops, pixels."""


def main(arguments: Arguments) -> None:
    """Draw, decode, change and count."""
    files = sorted(arguments.images.rglob("*.jpg"))
    drawn = random.Random(0).sample(files, min(arguments.number, len(files)))  # noqa: S311 - no secret
    image = ImageConfig(side=arguments.side)
    crops = [decode_image(file.read_bytes(), image).pixels for file in drawn]
    for name, change in (("dark hair", remove_hair), ("a lesion", mask_lesion)):
        found = sum(change(crop) is not None for crop in crops)
        print(f"{name} was found in {found} of {len(crops)} images ({100 * found / len(crops):.0f} %)")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
