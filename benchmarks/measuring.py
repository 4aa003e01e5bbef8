"""What the benchmarks share: peak memory of a process tree, medians, test images, and the printed table."""

from __future__ import annotations

import logging
import statistics
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
import ray
from ray.data import DataContext

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.synthetic.plan import draw_lesion

_EVERY_S = 0.5
_NUM_DRAWN = 24


@dataclass
class Memory:
    """Peak memory of a process and all of its descendants."""

    peak_gib: float = 0.0
    """Largest sum of proportional set sizes, GiB, in which memory that processes share counts once."""


@contextmanager
def watch_memory() -> Iterator[Memory]:
    """Measure the memory of this process and its descendants twice a second while the block runs."""
    memory, is_over = Memory(), threading.Event()

    def sample() -> None:
        root = psutil.Process()
        while not is_over.wait(_EVERY_S):
            total = 0
            for process in [root, *root.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            memory.peak_gib = max(memory.peak_gib, total / 2**30)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        is_over.set()
        thread.join()


def connect() -> None:
    """Start Ray on this machine, and let it log only errors."""
    ray.init(address="local", logging_level="error", log_to_driver=False)
    DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def write_lesions(folder: Path, *, num_images: int, width: int, height: int) -> Path:
    """Write distinct JPEG files of drawn lesions into folders by diagnosis, and return the folder.

    A few lesions are drawn and enlarged to the size. Noise like that of a camera is added, because a smooth drawing
    would be decoded faster than a photograph.
    """
    drawn = [
        draw_lesion(diagnosis=DIAGNOSES[i % len(DIAGNOSES)], lesion_seed=i, view_seed=i) for i in range(_NUM_DRAWN)
    ]
    random = np.random.default_rng(0)
    noise = random.normal(0, 6, (height, width, 3)).astype(np.int16)
    bases = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16) for picture in drawn]
    for i in range(num_images):
        target = folder / DIAGNOSES[i % len(DIAGNOSES)] / f"image{i:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shifted = np.roll(noise, (i * 7 % height, i * 13 % width), axis=(0, 1))
        pixels = (bases[i % _NUM_DRAWN] + shifted + i // _NUM_DRAWN % 9).clip(0, 255).astype(np.uint8)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        target.write_bytes(encoded.tobytes())
    return folder


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, aligned so that it is also readable in a terminal."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    print(f"\n{title}\n")
    for row in [columns, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
