"""Batch triage beside a plain loop, and its memory at ten times the images: make bench-triage, nothing else running.

The loop has two threads that decode the next images while the same network, computed by the same runtime, works on
those before. Both get the same files, and the same number of cores. Triage's time is told twice: as a whole, and
without what it takes to start (Ray's workers, the checkpoint), from its first answers on. Memory is that of the whole
process tree with a small network, since it is what isn't the network's that could grow.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import ray

from benchmarks.measuring import connect, print_table, watch_memory, write_lesions
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.sources.unlabelled import ImageList, list_images
from melanoma_ray.triage.batch import triage
from tests.checkpoints import build_checkpoint

_BATCH = 64
_NUM_THREADS = 2


def run_loop(predictor: Predictor, paths: list[str]) -> float:
    """Return how many images a second a plain loop answers."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        start = time.perf_counter()
        crops = pool.map(lambda path: predictor.decode(Path(path).read_bytes()), paths)
        for first in range(0, len(paths), _BATCH):
            predictor.predict(np.stack([next(crops) for _ in paths[first : first + _BATCH]]))
        return len(paths) / (time.perf_counter() - start)


@contextmanager
def first_answers(output: Path) -> Iterator[list[tuple[float, int]]]:
    """Yield a list that gets the time of the first answers, and their number."""
    found: list[tuple[float, int]] = []
    is_over = threading.Event()

    def watch() -> None:
        while not found and not is_over.wait(0.05):
            number = len(list(output.glob("parts/*/[!.]*.parquet")))
            if number:
                found.append((time.perf_counter(), number * _BATCH))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def run_triage(checkpoint: str, images: ImageList, output: Path) -> tuple[float, float]:
    """Return images a second of triage: of all of its time, and from the first answers on."""
    number = len(images.images)
    with first_answers(output) as found:
        start = time.perf_counter()
        triage(checkpoint, images, str(output))
        end = time.perf_counter()
    begun, answered = found[0]
    return number / (end - start), (number - answered) / (end - begun)


def measure_speed(folder: Path, num_images: int) -> None:
    """Print images/s of triage and of the loop."""
    images = list_images(str(write_lesions(folder / "images", num_images=num_images, width=600, height=450)))
    checkpoint = build_checkpoint(str(folder / "checkpoint"), network="tf_efficientnet_lite0", side=224)
    predictor = Predictor.load(checkpoint, "cpu")
    loop = run_loop(predictor, [str(path) for path in images.images["path"]])
    connect()
    whole, steady = run_triage(checkpoint, images, folder / "output")
    ray.shutdown()
    rows = [
        ["plain loop", f"{loop:.1f}", "1"],
        ["triage, from its first answers", f"{steady:.1f}", f"{steady / loop:.2f}"],
        ["triage, with its start and the page", f"{whole:.1f}", f"{whole / loop:.2f}"],
    ]
    title = f"{num_images:,} images of 600×450, EfficientNet-Lite0, {predictor.scorer.runtime.name}"
    print_table(title, ["", "images/s", "÷ loop"], rows)


def measure_memory(folder: Path, num_images: int) -> None:
    """Print the peak memory at a number of images, and at ten times as many."""
    checkpoint = build_checkpoint(str(folder / "small"), side=64)
    rows = []
    for number in (num_images, 10 * num_images):
        images = list_images(str(write_lesions(folder / str(number), num_images=number, width=160, height=120)))
        connect()
        with watch_memory() as memory:
            triage(checkpoint, images, str(folder / f"output-{number}"))
        ray.shutdown()
        rows.append([f"{number:,}", f"{memory.peak_gib:.2f}"])
    print_table("Peak memory of all processes, the seed's network", ["images", "GiB"], rows)


def main() -> None:
    """Measure in a folder that is deleted afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--images-for-memory", type=int, default=2500)
    arguments = parser.parse_args()
    logging.getLogger("melanoma_ray").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="bench-triage-") as name:
        if arguments.images:
            measure_speed(Path(name), arguments.images)
        if arguments.images_for_memory:
            measure_memory(Path(name), arguments.images_for_memory)


if __name__ == "__main__":
    main()
