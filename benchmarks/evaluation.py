"""Evaluation beside a plain loop, and the figures of a large set: make bench-eval, with nothing else running.

The network is ``lite0`` with random weights at 224 pixels, one view. The plain loop reads the same crops and scores
them by the same code, once in one process with a thread a core and once in a process a core with a thread each.
Images/s are of the whole time, with the start of actors and processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.measuring import connect, median, print_table, write_lesions
from melanoma_ray.config import ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.evaluation.figures import measure
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subgroups import measure_subgroups
from melanoma_ray.inference.predictor import Predictions, Predictor
from melanoma_ray.inference.scorer import Scorer
from melanoma_ray.inference.scoring import score_split
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.sources.layouts import read_collection
from tests.checkpoints import build_checkpoint

_ROUNDS, _SIDE = 3, 224
_NUM_IMAGES, _NUM_PREDICTIONS = 3_000, 100_000
_AT_ONCE = 32


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=_NUM_IMAGES, help="number of drawn lesions to score")
    arguments = parser.parse_args()
    measure_figures()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        compare_scoring(Path(name), arguments.images)


def measure_figures() -> None:
    """Print time and memory of the figures of many predictions, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, gib = pool.submit(compute_figures, _NUM_PREDICTIONS).result()
    print_table(
        "All figures and subgroups of simulated predictions",
        ["predictions", "seconds", "peak memory, GiB"],
        [[f"{_NUM_PREDICTIONS:,}", f"{seconds:.1f}", f"{gib:.2f}"]],
    )


def compute_figures(number: int) -> tuple[float, float]:
    """Return seconds and the process's peak memory in GiB."""
    random = np.random.default_rng(0)
    truth = random.choice(len(DIAGNOSES), number, p=[0.02, 0.1, 0.02, 0.08, 0.6, 0.08, 0.05, 0.03, 0.02])
    logits = random.normal(size=(number, len(DIAGNOSES)))
    logits[np.arange(number), truth] += 2
    probability = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    melanoma = probability[:, DIAGNOSES.index("melanoma")]
    scored = Scored(
        predictions=Predictions(
            probability=probability,
            melanoma_probability=melanoma,
            diagnosis=probability.argmax(axis=1),
            decision=tuple("refer" if one > 0.1 else "routine" for one in melanoma),
        ),
        truth=np.array(DIAGNOSES, object)[truth],
        group=np.arange(number) // 2,
        diagnoses=DIAGNOSES,
        malignant=("basal cell carcinoma", "melanoma", "squamous cell carcinoma"),
    )
    images = pd.DataFrame(
        {
            "sex": random.choice(["female", "male"], number),
            "age": random.integers(5, 95, number).astype(float),
            "site": random.choice(["torso", "head/neck", "lower extremity"], number),
            "source": random.choice(["/one", "/two"], number),
            "attribution": None,
            "image_type": None,
            "ita_degrees": random.normal(35, 20, number),
        }
    )
    started = time.perf_counter()
    measure(scored)
    measure_subgroups(scored, images)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def compare_scoring(folder: Path, num_images: int) -> None:
    """Print images/s through Ray Data beside the plain loops, in rounds that alternate."""
    connect()
    images = write_lesions(folder / "images", num_images=num_images, width=300, height=225)
    config = PrepareConfig(
        image=ImageConfig(side=256),
        split=SplitConfig(method="all-test"),
        duplicates="keep",
        near_duplicates="ignore",
    )
    prepare(read_collection(str(images)), str(folder / "data"), config)
    dataset = open_dataset(str(folder / "data"))
    checkpoint = build_checkpoint(str(folder / "model"), network="tf_efficientnet_lite0", side=_SIDE)
    num_cores = len(os.sched_getaffinity(0))
    ways: dict[str, Callable[[], None]] = {
        "Ray Data": lambda: score_by_ray(dataset, checkpoint),
        f"one process, {num_cores} threads": lambda: score_part(dataset.uri, checkpoint, 0, 1, num_cores),
        f"{num_cores} processes, one thread each": lambda: score_by_processes(dataset.uri, checkpoint, num_cores),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            rates[name].append(len(dataset.index) / (time.perf_counter() - started))
    ours = rates["Ray Data"]
    rows = [
        [name, f"{median(found):.1f}", f"{median([a / b for a, b in zip(ours, found, strict=True)]):.2f}"]
        for name, found in rates.items()
    ]
    print_table(f"Scoring {len(dataset.index):,} crops, {num_cores} cores", ["way", "images/s", "Ray Data ÷ it"], rows)


def score_by_ray(dataset: PreparedDataset, checkpoint: str) -> None:
    """Score the test split through the pool of actors."""
    score_split(dataset, "test", partial(_load, checkpoint))


def score_by_processes(data: str, checkpoint: str, number: int) -> None:
    """Score the test split in processes of one thread."""
    with ProcessPoolExecutor(number, mp_context=get_context("spawn")) as pool:
        for part in [pool.submit(score_part, data, checkpoint, i, number, 1) for i in range(number)]:
            part.result()


def score_part(data: str, checkpoint: str, part: int, num_parts: int, num_threads: int) -> None:
    """Score one of several parts of the test split in a loop."""
    torch.set_num_threads(num_threads)
    dataset, scorer = open_dataset(data), _load(checkpoint)
    paths = list(dataset.split("test")["path"])[part::num_parts]
    for start in range(0, len(paths), _AT_ONCE):
        scorer.score(dataset.load_pixels(paths[start : start + _AT_ONCE]))


def _load(checkpoint: str) -> Scorer:
    return Predictor.load(checkpoint, "cpu").scorer


if __name__ == "__main__":
    main()
