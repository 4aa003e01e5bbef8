"""Everything in s3://: a real S3 server on loopback holds the images, the dataset and what is read of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import DataError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.inference.predictor import Predictor
from tests.conftest import SIDE
from tests.s3 import running_bucket

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with running_bucket() as bucket:
        yield bucket


def run_prepare(images: str, output: str) -> str:
    command = [sys.executable, "-m", "jobs.prepare", "--images", images, "--output", output, "--image.side", str(SIDE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_bucket_s_images_become_a_dataset_in_the_bucket(bucket: str, collection: str) -> None:
    images, output = f"{bucket}/images", f"{bucket}/prepared"
    pafs.copy_files(collection, storage.resolve(images)[1], destination_filesystem=storage.resolve(images)[0])
    with pytest.raises(DataError, match=r"no dataset\.json"):
        open_dataset(output)
    assert "150 images; 150 of them to be decoded" in run_prepare(images, output)

    dataset = open_dataset(output)
    rows = dataset.split("test")
    for path, crop in zip(rows["path"], dataset.load_pixels(list(rows["path"])), strict=True):
        assert path.startswith(images)
        np.testing.assert_array_equal(crop, decode_image(storage.read_bytes(path), ImageConfig(side=SIDE)).pixels)
    assert b"synthetic" in storage.read_bytes(f"{output}/audit.html")

    assert "nothing has changed" in run_prepare(images, output)
    storage.write_bytes(f"{images}/nevus/added.jpg", storage.read_bytes(rows["path"].iloc[0])[:-2] + b"\xff\xd9")
    assert "151 images; 1 of them to be decoded" in run_prepare(images, output)


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sweep_in_a_bucket_ends_with_a_checkpoint_in_the_bucket(bucket: str, prepared: str, num_workers: int) -> None:
    """Beside the tests' own Ray, which a trial with workers must not take for its own."""
    data, sweeps = f"{bucket}/tuned/prepared", f"{bucket}/tuned/sweeps"
    pafs.copy_files(prepared, storage.resolve(data)[1], destination_filesystem=storage.resolve(data)[0])
    command = [sys.executable, "-m", "jobs.tune", "baseline", "--data", data, "--storage", sweeps]
    command += ["--name", f"of-{num_workers}", "--num-trials", "3", "--num-workers", str(num_workers)]
    command += ["--num-epochs", "2", "--model.image-side", str(SIDE), "--global-batch-size", "16"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    best = f"{sweeps}/of-{num_workers}/best.json"
    assert storage.read_json(best)["checkpoint"] == f"{sweeps}/of-{num_workers}/best"
    assert Predictor.load(best, "cpu").manifest.is_synthetic
