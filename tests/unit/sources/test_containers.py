"""Encoded images in files, HDF5 and Parquet."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from melanoma_ray.sources.containers import list_hdf5, read_encoded, read_many


@pytest.fixture
def hdf5(tmp_path: Path) -> str:
    """As ISIC 2024 hands images around: a scalar of bytes under each id."""
    path = tmp_path / "train-image.hdf5"
    with h5py.File(path, "w") as file:
        for name in ("ISIC_0000002", "ISIC_0000001"):
            file[name] = np.void(b"\xff\xd8" + name.encode() + b"\x00\x00")
    return str(path)


@pytest.fixture
def parquet(tmp_path: Path) -> str:
    path = tmp_path / "images.parquet"
    table = pa.table({"image_id": ["a", "b", "c"], "image": pa.array([b"A", None, b"C"], pa.binary())})
    pq.write_table(table, path, row_group_size=2)
    return str(path)


def test_an_hdf5_entry_is_its_bytes_with_the_zeros_at_its_end(hdf5: str) -> None:
    assert list_hdf5(hdf5) == ["ISIC_0000001", "ISIC_0000002"]
    assert read_encoded(f"{hdf5}::ISIC_0000001") == b"\xff\xd8ISIC_0000001\x00\x00"


def test_entries_come_in_the_order_asked_for_and_a_bad_one_ends_nothing(
    hdf5: str, parquet: str, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.jpg"
    plain.write_bytes(b"P")
    asked = [
        f"{parquet}::2",
        f"{parquet}::1",
        f"{parquet}::9",
        f"{hdf5}::nothing",
        str(plain),
        str(tmp_path / "gone.jpg"),
        f"{tmp_path}/gone.parquet::0",
        f"{parquet}::0",
    ]
    found = list(read_many(asked))
    assert [path for path, _ in found] == asked
    images = [content if isinstance(content, bytes) else None for _, content in found]
    assert images == [b"C", None, None, None, b"P", None, None, b"A"]
    assert all(isinstance(content, bytes | OSError) for _, content in found)


def test_a_file_that_is_no_container_is_an_error_of_each_of_its_images(tmp_path: Path) -> None:
    for name in ("broken.hdf5", "broken.parquet"):
        (tmp_path / name).write_bytes(b"not a container")
        [(_, content)] = read_many([f"{tmp_path / name}::0"])
        assert isinstance(content, OSError)
    with pytest.raises(OSError, match="gone"):
        read_encoded(str(tmp_path / "gone.jpg"))


def test_a_struct_of_bytes_and_path_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "hub.parquet"
    images = pa.array([{"bytes": b"A", "path": "a.jpg"}, {"bytes": b"B", "path": "b.jpg"}])
    pq.write_table(pa.table({"image": images, "label": ["mel", "nv"]}), path)
    assert read_encoded(f"{path}::1") == b"B"
