"""How often an image gets each warning about its quality: real images, and the same ones damaged.

python -m benchmarks.quality DIR...
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from benchmarks.measuring import print_table
from benchmarks.pictures import DAMAGES, OTHERS, damage, draw_others
from melanoma_ray.config import ImageConfig
from melanoma_ray.imaging.decoding import READABLE_ENDINGS, decode_image
from melanoma_ray.imaging.quality import QualityWarning, measure_quality

_MOST_IMAGES = 1_000
_SIDE = 224
_NUM_DAMAGED = 200
_NAMES = get_args(QualityWarning)


def main() -> None:
    """Print a row for each folder, and for each kind of damage and of other pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of images")
    folders = parser.parse_args().folders
    cv2.setNumThreads(1)
    crops = {folder.name: read(folder) for folder in folders}
    first = next(iter(crops.values()))[:_NUM_DAMAGED]
    sets = crops | {kind: damage(kind, first) for kind in DAMAGES}
    sets |= {kind: draw_others(kind, 60, _SIDE) for kind in OTHERS}
    print_table(
        "Share of images with each warning", ["images", "number", *_NAMES], [tell(*one) for one in sets.items()]
    )
    started = time.perf_counter()
    for crop in first:
        measure_quality(crop)
    print(f"\n{(time.perf_counter() - started) / len(first) * 1e3:.2f} ms an image")


def read(folder: Path) -> np.ndarray:
    """Return crops of a folder's images, chosen at random if there are many."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in READABLE_ENDINGS)
    chosen = np.random.default_rng(0).permutation(len(files))[:_MOST_IMAGES]
    return np.stack([decode_image(files[place].read_bytes(), ImageConfig(side=_SIDE)).pixels for place in chosen])


def tell(name: str, crops: np.ndarray) -> list[str]:
    """Return a row of the table."""
    counts = Counter(warning for crop in crops for warning in measure_quality(crop).warnings)
    return [name, f"{len(crops)}", *(f"{counts[warning] / len(crops):.1%}" for warning in _NAMES)]


if __name__ == "__main__":
    main()
