"""From a collection to a prepared dataset, on a real Ray."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.data.dataset import open_dataset
from melanoma_ray.data.layouts import read_collection
from melanoma_ray.data.preparation import prepare
from melanoma_ray.errors import DataError
from melanoma_ray.imaging.decoding import decode_image
from tests.conftest import SIDE

CONFIG = PrepareConfig(image=ImageConfig(side=SIDE))


def test_planted_faults_are_quarantined_with_their_reasons(prepared: str) -> None:
    quarantine = pd.read_parquet(Path(prepared) / "quarantine.parquet")
    assert sorted(quarantine["fault"]) == ["empty", "not_an_image", "truncated"]
    assert quarantine["detail"].str.len().min() > 0


def test_planted_conflicts_are_found_and_dropped(prepared: str) -> None:
    info = open_dataset(prepared).info
    assert info.num_conflicts == {"melanoma | seborrheic keratosis": 2}
    assert info.num_dropped == {"conflicting diagnoses": 4}
    index = pd.read_parquet(Path(prepared) / "index.parquet")
    assert index.loc[index["dropped"].notna(), "split"].isna().all()


def test_views_of_one_lesion_stay_on_one_side(prepared: str) -> None:
    index = open_dataset(prepared).index
    sizes = index.groupby("lesion_id")["split"].agg(["size", "nunique"])
    assert (sizes["size"] > 1).any()
    assert (sizes["nunique"] == 1).all()


def test_stored_pixels_are_the_decoder_s_to_the_bit(prepared: str) -> None:
    dataset = open_dataset(prepared)
    images = dataset.split("test")
    pixels = dataset.load_pixels(list(images["path"]))
    for path, square in zip(images["path"], pixels, strict=True):
        np.testing.assert_array_equal(square, decode_image(storage.read_bytes(path), CONFIG.image).pixels)


def test_the_audit_shows_the_conflicts_and_the_unreadable_files(prepared: str) -> None:
    page = (Path(prepared) / "audit.html").read_text()
    assert "Conflicting diagnoses" in page
    assert page.count("data:image/jpeg") == 4
    assert all(fault in page for fault in ("truncated", "empty"))


def test_synthetic_images_are_called_synthetic(prepared: str) -> None:
    assert open_dataset(prepared).info.is_synthetic


def test_preparing_again_elsewhere_gives_the_same_fingerprint_and_another_seed_another(
    collection: str, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(collection, moved)
    first = prepare(read_collection(collection), str(tmp_path / "a"), CONFIG)
    second = prepare(read_collection(str(moved)), str(tmp_path / "b"), CONFIG)
    assert first.fingerprint == second.fingerprint
    other = prepare(
        read_collection(collection), str(tmp_path / "a"), PrepareConfig(image=CONFIG.image, split=SplitConfig(seed=1))
    )
    assert other.fingerprint != first.fingerprint
    assert open_dataset(str(tmp_path / "a")).info == other
    assert len(list((tmp_path / "a").glob("pixels-*"))) == 1


def test_keeping_duplicates_keeps_all(collection: str, tmp_path: Path) -> None:
    info = prepare(read_collection(collection), str(tmp_path), PrepareConfig(image=CONFIG.image, duplicates="keep"))
    assert info.num_dropped == {}
    assert info.num_conflicts == {"melanoma | seborrheic keratosis": 2}


def test_too_many_unreadable_images_end_the_job_and_say_so(collection: str, tmp_path: Path) -> None:
    config = PrepareConfig(image=CONFIG.image, max_quarantined_fraction=0.01)
    with pytest.raises(DataError, match=r"3 of 150 images are unusable .*max_quarantined_fraction=0\.01"):
        prepare(read_collection(collection), str(tmp_path / "out"), config)
    with pytest.raises(DataError, match=r"no dataset\.json"):
        open_dataset(str(tmp_path / "out"))


def test_a_directory_with_other_files_is_left_alone(collection: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        prepare(read_collection(collection), str(tmp_path), CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_conflicts_of_the_real_set_are_found(local_ray: None, real_images: Path, tmp_path: Path) -> None:
    info = prepare(read_collection(str(real_images)), str(tmp_path / "isic9"), CONFIG)
    assert info.num_conflicts["melanoma | seborrheic keratosis"] == 75
    assert info.num_conflicts["actinic keratosis | nevus"] == 62
    kept = sum(counts.get("seborrheic keratosis", 0) for counts in info.num_images.values())
    assert kept == 2
