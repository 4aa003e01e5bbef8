"""Training compared with the best hand-written loop and with torchvision's documented way: make bench-train.

The network is ``baseline`` at 180×180, with batches of 32, flips, rotation and zoom. Rates are training images per
second of training time in the epochs after the first (which warms up), with waiting for data, without validation.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.train import ScalingConfig
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.measuring import Memory, connect, median, print_table, watch_memory, write_lesions
from melanoma_ray.cluster.process import keep_freed_memory
from melanoma_ray.config import ImageConfig, ModelConfig, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.model.precision import autocast_dtype
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.recipes import baseline
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.training.trainer import build_run_config, train

_ROUNDS = 3
_EPOCHS = 3
_SIDE = 180
_BATCH = 32
_NUM_SYNTHETIC = 2_241


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", help="folders by diagnosis; by default as many drawn ones as the nine-class set has"
    )
    parser.add_argument("--scale", action="store_true", help="compare 5,000 with 50,000 images instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        if arguments.scale:
            compare_scale(folder)
            return
        images = Path(arguments.images) if arguments.images else _draw(folder / "images", _NUM_SYNTHETIC)
        compare_speed(images, folder, "real" if arguments.images else "synthetic")


def _draw(folder: Path, num_images: int) -> Path:
    return write_lesions(folder, num_images=num_images, width=_SIDE, height=_SIDE)


def _apart(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
    """Return the result of a function that is called in a new process, so that no round affects the next."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compare_speed(images: Path, folder: Path, kind: str) -> None:
    """Train on the same images in each way, alternately."""
    data = str(folder / "data")
    _apart(_prepare, str(images), data)
    rates: dict[str, list[float]] = {}
    waiting, first_batch = [], []
    for turn in range(_ROUNDS):
        one = _apart(_train_ours, _Ours(data=data, folder=str(folder), name=f"one-{turn}"))
        two = _apart(_train_ours, _Ours(data=data, folder=str(folder), name=f"two-{turn}", num_workers=2))
        for name, rate in (
            ("ours, 1 worker of 2 threads", one["rate"]),
            ("ours, 2 workers of 1 thread", two["rate"]),
            ("hand-written loop", _apart(_train_by_hand, data)),
            ("hand-written loop, in a process that keeps freed memory", _apart(_train_by_hand_and_keep, data)),
            ("ImageFolder, DataLoader(2), transforms.v2", _apart(_train_by_torchvision, str(images))),
        ):
            rates.setdefault(name, []).append(rate)
        waiting.append(one["waiting"])
        first_batch.append(one["first_batch_s"])
    ours = rates["ours, 1 worker of 2 threads"]
    rows = [
        [name, f"{median(values):.0f}", f"{median([a / b for a, b in zip(ours, values, strict=True)]):.2f}"]
        for name, values in rates.items()
    ]
    print_table(
        f"Images/s, median of {_ROUNDS} ({kind} images, {os.cpu_count()} cores)",
        ["how", "images/s", "ours (1 worker) ÷ this"],
        rows,
    )
    print(
        f"\nwaiting for data: {median(waiting):.1%} of a step; first batch {median(first_batch):.1f} s after the start"
    )


def _prepare(images: str, data: str) -> None:
    connect()
    config = PrepareConfig(
        image=ImageConfig(side=_SIDE),
        split=SplitConfig(method="random", val_fraction=0.2, test_fraction=0.0),
        duplicates="keep",
        near_duplicates="ignore",
    )
    prepare(read_collection(images), data, config)


@dataclass(frozen=True, kw_only=True)
class _Ours:
    """One of our own trainings to measure."""

    data: str
    """Directory of the prepared dataset."""
    folder: str
    """Directory for runs."""
    name: str
    """Name of the run."""
    num_workers: int = 1
    side: int = _SIDE
    """Width and height of the network's input, pixels."""
    num_epochs: int = _EPOCHS
    is_memory_watched: bool = False
    """Measure memory, which takes a tenth of a core."""


def _train_ours(way: _Ours) -> dict[str, float]:
    """Return images/s, share of waiting, seconds to the first batch and, if watched, GiB of the process tree."""
    connect()
    experiment = replace(baseline(), num_epochs=way.num_epochs, model=ModelConfig(image_side=way.side, dropout=0.2))
    scaling = ScalingConfig(num_workers=way.num_workers, resources_per_worker={"CPU": 1.0 / way.num_workers})
    with watch_memory() if way.is_memory_watched else nullcontext(Memory()) as memory:
        run = train(
            experiment,
            open_dataset(way.data),
            scaling=scaling,
            run_config=build_run_config(way.folder, way.name, max_failures=0),
        )
    history = run.history()
    measured = history[1:] or history
    return {
        "rate": median([record.images_per_s for record in measured]),
        "waiting": median([record.waiting_fraction for record in measured]),
        "first_batch_s": history[0].first_batch_s,
        "peak_gib": memory.peak_gib,
    }


def _train_by_hand_and_keep(data: str) -> float:
    """Return images/s of the same loop in a process that keeps freed memory, as ours does and any loop could."""
    keep_freed_memory()
    return _train_by_hand(data)


def _train_by_hand(data: str) -> float:
    """Return images/s of a loop over crops in memory: an affine warp a batch, channels_last, fused Adam, auto bf16."""
    dataset = open_dataset(data)
    images = dataset.split("train")
    pixels = torch.from_numpy(dataset.load_pixels(list(images["path"])))
    target = torch.from_numpy(dataset.target(images).copy())

    def batches() -> Any:  # noqa: ANN401
        order = torch.randperm(len(pixels))
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            chosen = order[start : start + _BATCH]
            yield _warp(pixels[chosen].permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1), target[chosen]

    return _time_epochs(batches, len(dataset.info.diagnoses), autocast_dtype("auto", torch.device("cpu")))


def _warp(images: torch.Tensor) -> torch.Tensor:
    """Return the images flipped, rotated by up to 36° and zoomed by up to a tenth, in a single resampling."""
    number = len(images)
    angle = (torch.rand(number) * 2 - 1) * np.deg2rad(36)
    zoom = 1 + (torch.rand(number) * 2 - 1) * 0.1
    flip = torch.where(torch.rand(number) < 0.5, -1.0, 1.0)
    zero = torch.zeros(number)
    rows = [zoom * flip * angle.cos(), -zoom * angle.sin(), zero, zoom * flip * angle.sin(), zoom * angle.cos(), zero]
    grid = nn.functional.affine_grid(
        torch.stack(rows, dim=1).view(number, 2, 3), list(images.shape), align_corners=False
    )
    return nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _train_by_torchvision(images: str) -> float:
    """Return images/s with files decoded and changed one by one by two processes, as in torchvision's documentation."""
    changes = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((_SIDE, _SIDE), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(degrees=36, scale=(0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR),
            v2.ToDtype(torch.float32),
        ]
    )
    folder = ImageFolder(images, transform=changes)
    loader = DataLoader(folder, batch_size=_BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)

    def batches() -> Any:  # noqa: ANN401
        for pixels, target in loader:
            yield pixels.permute(0, 2, 3, 1), target

    return _time_epochs(batches, len(folder.classes), torch.float32)


def _time_epochs(batches: Callable[[], Any], num_diagnoses: int, dtype: torch.dtype) -> float:
    """Return the median images/s of the epochs after the first."""
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    classifier = build_classifier(baseline().model, num_diagnoses).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, fused=True)
    rates = []
    for _ in range(_EPOCHS):
        number, started = 0, time.perf_counter()
        for pixels, target in batches():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = nn.functional.cross_entropy(classifier(pixels), target)
            torch.autograd.backward(loss)
            optimizer.step()
            number += len(target)
        rates.append(number / (time.perf_counter() - started))
    return median(rates[1:])


def compare_scale(folder: Path) -> None:
    """Train on five thousand images for ten epochs and on fifty thousand for two; the first epoch isn't counted."""
    side, rows = 96, []
    for num_images, num_epochs in ((5_000, 10), (50_000, 2)):
        images, data = _draw(folder / f"{num_images}", num_images), str(folder / f"data-{num_images}")
        _apart(_prepare, str(images), data)
        way = _Ours(
            data=data,
            folder=str(folder),
            name=f"scale-{num_images}",
            side=side,
            num_epochs=num_epochs,
            is_memory_watched=True,
        )
        found = _apart(_train_ours, way)
        where = "memory" if num_images == 5_000 else "disk"
        rows.append(
            [f"{num_images:,}", where, f"{found['rate']:.0f}", f"{found['waiting']:.1%}", f"{found['peak_gib']:.2f}"]
        )
    print_table(
        f"Ten times the images ({_SIDE}×{_SIDE}, synthetic; network at {side}×{side})",
        ["images", "read from", "images/s", "waiting", "peak of all processes, GiB"],
        rows,
    )


if __name__ == "__main__":
    main()
