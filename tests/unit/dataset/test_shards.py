"""Crops on disk: any one is read alone, and what can't be read is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from melanoma_ray.dataset.shards import files_of, read_crops, write_crops

SIDE = 24
SHARDS = ("a.parquet", "b.parquet")


@pytest.fixture
def crops(tmp_path: Path) -> dict[str, np.ndarray]:
    """Return what was written of two shards; the second row of each is a file that couldn't be decoded."""
    random = np.random.default_rng(5)
    written = {}
    for shard in SHARDS:
        written[shard] = random.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
        rows = [None if i == 1 else crop.tobytes() for i, crop in enumerate(written[shard])]
        write_crops(str(tmp_path / files_of(shard)[1]), rows)
    return written


def test_crops_come_in_the_order_asked_for_and_as_often(tmp_path: Path, crops: dict[str, np.ndarray]) -> None:
    shard, row = ["b.parquet", "a.parquet", "b.parquet", "b.parquet", "a.parquet"], [4, 0, 0, 4, 3]
    found = read_crops(str(tmp_path), shard, row, SIDE)
    assert_array_equal(found, [crops[name][place] for name, place in zip(shard, row, strict=True)])
    assert read_crops(str(tmp_path), [], [], SIDE).shape == (0, SIDE, SIDE, 3)


def test_a_remote_shard_of_which_much_is_wanted_is_read_whole(tmp_path: Path, crops: dict[str, np.ndarray]) -> None:
    row = [0, 2, 3, 4] * 5
    found = read_crops(f"file://{tmp_path}", ["a.parquet"] * len(row), row, SIDE)
    assert_array_equal(found, crops["a.parquet"][row])


@pytest.mark.usefixtures("crops")
def test_a_shard_that_is_gone_or_cut_off_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / files_of("a.parquet")[1]
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(pa.ArrowInvalid):
        read_crops(str(tmp_path), ["a.parquet"], [0], SIDE)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        read_crops(str(tmp_path), ["a.parquet"], [0], SIDE)
