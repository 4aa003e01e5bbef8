"""Preparation compared with the same work in plain processes and with Ray Data's own reader: make bench-data.

Rates are those of decoding and writing (read, decode, hash, measure, resize, encode, write), after a small first run
has started the workers; that start is listed separately. Images are drawn (synthetic), with noise.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import ray

from benchmarks.measuring import connect, median, print_table, watch_memory, write_lesions
from melanoma_ray.config import ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.preparation.decoding import decode_shards, images_per_shard, write_shard
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.sources.layouts import read_collection

_ROUNDS = 3
_SIDE = 180
_SIZES = {"600×450": (600, 450, 4800), "3072×2048": (3072, 2048, 640)}


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        compare_speed(Path(folder))
        compare_scale(Path(folder))


def compare_speed(folder: Path) -> None:
    """Decode the same files alternately as preparation does, with plain processes, and with Ray Data's read_images."""
    started = time.perf_counter()
    connect()
    warm = read_collection(str(write_lesions(folder / "warm", num_images=32, width=600, height=450))).table
    list(decode_shards(warm, str(folder / "out-warm"), ImageConfig(side=_SIDE)))
    start_up_s = time.perf_counter() - started
    rows = []
    for name, (width, height, num_images) in _SIZES.items():
        images = write_lesions(folder / name, num_images=num_images, width=width, height=height)
        table = read_collection(str(images)).table
        rates: dict[str, list[float]] = {"prepare": [], "processes": [], "read_images": []}
        for turn in range(_ROUNDS):
            out = folder / f"out-{name}-{turn}"
            rates["prepare"].append(num_images / _time_prepare(table, str(out / "prepare")))
            rates["processes"].append(num_images / _time_processes(table, str(out / "processes")))
            rates["read_images"].append(num_images / _time_read_images(images))
        ratios = {
            peer: median([a / b for a, b in zip(rates["prepare"], rates[peer], strict=True)])
            for peer in ("processes", "read_images")
        }
        rows.append(
            [
                name,
                *(f"{median(values):.0f}" for values in rates.values()),
                f"{ratios['processes']:.2f}",
                f"{ratios['read_images']:.1f}",
            ]
        )
    ray.shutdown()
    columns = ["image", "prepare", "plain processes", "read_images + resize", "÷ processes", "÷ read_images"]
    print_table(
        f"Images/s, median of {_ROUNDS} (start of Ray and its workers, not included: {start_up_s:.1f} s)", columns, rows
    )


def _time_prepare(table: pa.Table, output: str) -> float:
    started = time.perf_counter()
    list(decode_shards(table, output, ImageConfig(side=_SIDE)))
    return time.perf_counter() - started


def _time_processes(table: pa.Table, output: str) -> float:
    """Return the seconds for the same function on the same pieces, in as many processes as there are cores."""
    size = images_per_shard(table.num_rows, _SIDE, os.cpu_count() or 1)
    pieces = [table.slice(start, size) for start in range(0, table.num_rows, size)]
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        pool.starmap(write_shard, [(pieces[0].slice(0, 1), output + "-warm", ImageConfig(side=_SIDE))] * 4)
        started = time.perf_counter()
        pool.starmap(write_shard, [(piece, output, ImageConfig(side=_SIDE)) for piece in pieces], chunksize=1)
        return time.perf_counter() - started


def _time_read_images(images: Path) -> float:
    started = time.perf_counter()
    dataset = ray.data.read_images(str(images), mode="RGB")
    dataset.context.enable_progress_bars = False
    for _ in dataset.map(_resize).iter_batches(batch_size=None):
        pass
    return time.perf_counter() - started


def _resize(row: dict[str, np.ndarray]) -> dict[str, object]:
    cv2.setNumThreads(1)
    return {"image": cv2.resize(row["image"], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)}


def compare_scale(folder: Path) -> None:
    """Prepare ten thousand and a hundred thousand small images completely, each collection in a new process."""
    rows = []
    for num_images in (10_000, 100_000):
        images = write_lesions(folder / f"{num_images}", num_images=num_images, width=96, height=72)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            rate, whole_s, peak = pool.apply(_prepare_small, (str(images), str(folder / f"out-{num_images}")))
        rows.append([f"{num_images:,}", f"{rate:.0f}", f"{whole_s:.0f}", f"{peak:.2f}"])
    columns = ["images", "decoded/s", "whole preparation, s", "peak of all processes, GiB"]
    print_table("Ten times the images (96×72 JPEG, stored at 64×64)", columns, rows)


def _prepare_small(images: str, output: str) -> tuple[float, float, float]:
    config = PrepareConfig(image=ImageConfig(side=64), duplicates="keep", split=SplitConfig(method="grouped"))
    connect()
    decoding: list[float] = []

    def show_progress(counts: Iterator[int], total: int, what: str) -> Iterator[int]:  # noqa: ARG001
        done, begun = 0, 0.0
        for count in counts:  # from the first shard on: workers start before it
            done, begun = (done + count, begun) if begun else (0, time.perf_counter())
            yield count
        decoding.append(done / (time.perf_counter() - begun))

    with watch_memory() as memory:
        started = time.perf_counter()
        prepare(read_collection(images), output, config, show_progress=show_progress)
        whole_s = time.perf_counter() - started
    ray.shutdown()
    return decoding[0], whole_s, memory.peak_gib


if __name__ == "__main__":
    main()
