"""Squares on disk: any one is read alone, and what can't be read is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from melanoma_ray.data.chunks import files_of, read_squares, write_squares

SIDE = 24
CHUNKS = ("a.parquet", "b.parquet")


@pytest.fixture
def squares(tmp_path: Path) -> dict[str, np.ndarray]:
    """Return what was written of two chunks; the second row of each is a file that couldn't be decoded."""
    random = np.random.default_rng(5)
    written = {}
    for chunk in CHUNKS:
        written[chunk] = random.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
        rows = [None if i == 1 else square.tobytes() for i, square in enumerate(written[chunk])]
        write_squares(str(tmp_path / files_of(chunk)[1]), rows)
    return written


def test_squares_come_in_the_order_asked_for_and_as_often(tmp_path: Path, squares: dict[str, np.ndarray]) -> None:
    chunk, row = ["b.parquet", "a.parquet", "b.parquet", "b.parquet", "a.parquet"], [4, 0, 0, 4, 3]
    found = read_squares(str(tmp_path), chunk, row, SIDE)
    assert_array_equal(found, [squares[name][place] for name, place in zip(chunk, row, strict=True)])
    assert read_squares(str(tmp_path), [], [], SIDE).shape == (0, SIDE, SIDE, 3)


def test_a_remote_chunk_of_which_much_is_wanted_is_read_whole(tmp_path: Path, squares: dict[str, np.ndarray]) -> None:
    row = [0, 2, 3, 4] * 5
    found = read_squares(f"file://{tmp_path}", ["a.parquet"] * len(row), row, SIDE)
    assert_array_equal(found, squares["a.parquet"][row])


@pytest.mark.usefixtures("squares")
def test_a_chunk_that_is_gone_or_cut_off_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / files_of("a.parquet")[1]
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(pa.ArrowInvalid):
        read_squares(str(tmp_path), ["a.parquet"], [0], SIDE)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        read_squares(str(tmp_path), ["a.parquet"], [0], SIDE)
