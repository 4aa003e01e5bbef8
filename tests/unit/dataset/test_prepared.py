"""A prepared dataset is opened, also one that an earlier version wrote, or refused with what to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import DATASET, FORMAT_VERSION, DatasetInfo, open_dataset
from melanoma_ray.dataset.shards import files_of, readable_shards_names, shards_name, write_crops
from melanoma_ray.errors import ConfigError, DataError

SIDE = 32
CONFIG = PrepareConfig(image=ImageConfig(side=SIDE), split=SplitConfig(num_folds=2))
CROPS = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
INDEX = pd.DataFrame(
    {
        "path": ["d.jpg", "a.jpg", "b.jpg", "c.jpg"],
        "diagnosis": ["dermatofibroma", "melanoma", "nevus", "nevus"],
        "split": ["test", "train", "val", None],
        "fold": [None, 1, 0, None],
        "resolution": [None, "by table", None, None],
        "shard": "shard.parquet",
        "row": [0, 1, 2, 3],
    }
)
"""The last image was dropped."""


def write_dataset(root: Path, index: pd.DataFrame) -> str:
    """Write what preparation would write of the index."""
    pixels = shards_name(CONFIG.image)
    info = DatasetInfo(
        format_version=FORMAT_VERSION,
        inputs="",
        fingerprint="",
        is_synthetic=True,
        config=CONFIG,
        diagnoses=("melanoma", "nevus"),
        index="index-1.parquet",
        pixels=pixels,
        num_images={"train": {"melanoma": 1}, "val": {"nevus": 1}, "test": {"dermatofibroma": 1}},
        num_dropped={"duplicate": 1},
        num_quarantined={},
        num_conflicts={},
        num_rows_without_file=0,
        num_files_without_row=0,
        num_left_out={},
    )
    write_crops(str(root / pixels / files_of("shard.parquet")[1]), [crop.tobytes() for crop in CROPS])
    storage.write_table(str(root / info.index), pa.Table.from_pandas(index, preserve_index=False))
    storage.write_json(str(root / DATASET), asdict(info))
    return str(root)


@pytest.mark.parametrize(
    "names", [{}, {"shard": "chunk", "resolution": "settled"}], ids=["of today", "until November 2026"]
)
def test_an_index_is_opened_whatever_its_columns_were_called(tmp_path: Path, names: dict[str, str]) -> None:
    dataset = open_dataset(write_dataset(tmp_path, INDEX.rename(columns=names)))
    assert dataset.index["path"].tolist() == ["a.jpg", "b.jpg", "d.jpg"]
    assert dataset.index["resolution"].dropna().tolist() == ["by table"]
    np.testing.assert_array_equal(dataset.load_pixels(["d.jpg", "a.jpg"]), CROPS[[0, 1]])


def test_a_dataset_whose_crops_an_earlier_decoder_made_is_opened(tmp_path: Path) -> None:
    today, before = readable_shards_names(CONFIG.image)
    assert today == shards_name(CONFIG.image)
    name = str(Path(write_dataset(tmp_path, INDEX)) / DATASET)
    (tmp_path / today).rename(tmp_path / before)
    storage.write_json(name, storage.read_json(name) | {"pixels": before})
    dataset = open_dataset(str(tmp_path))
    np.testing.assert_array_equal(dataset.load_pixels(["d.jpg"]), CROPS[[0]])


def test_a_diagnosis_that_training_doesn_t_know_has_no_class_number(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path, INDEX))
    assert dataset.target(dataset.index).tolist() == [0, 1, -1]
    assert dataset.target(dataset.split("val")).tolist() == [1]


def test_another_fold_becomes_the_val_split_and_the_test_split_stays(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path, INDEX))
    assert dataset.with_fold(1).index["split"].tolist() == ["val", "train", "test"]
    with pytest.raises(ConfigError, match=r"fold=2: .* has 2 folds"):
        dataset.with_fold(2)


def test_a_split_without_images_is_named(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path, INDEX.assign(split="train")))
    with pytest.raises(DataError, match="no image in the test split"):
        dataset.split("test")


def test_pixels_that_are_not_there_are_refused_with_what_to_do(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path, INDEX))
    with pytest.raises(DataError, match=r"e\.jpg is no image of this dataset"):
        dataset.load_pixels(["a.jpg", "e.jpg"])
    (tmp_path / shards_name(CONFIG.image) / files_of("shard.parquet")[1]).unlink()
    with pytest.raises(DataError, match=r"its pixels can't be read .*; prepare again"):
        dataset.load_pixels(["a.jpg"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format_version": 1}, "format version 1, expected 4; prepare again"),
        ({"index": None}, "malformed .*; prepare again"),
        ({"pixels": "pixels-of-another-version"}, r"another version.*; run the same jobs\.prepare again"),
    ],
)
def test_another_version_s_dataset_is_refused_with_what_to_do(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    name = str(Path(write_dataset(tmp_path, INDEX)) / DATASET)
    storage.write_json(name, storage.read_json(name) | changed)
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path))


def test_a_directory_without_a_dataset_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset\.json in it; make one with python -m jobs\.prepare"):
        open_dataset(str(tmp_path))
