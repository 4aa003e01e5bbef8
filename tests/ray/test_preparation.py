"""From a collection to a prepared dataset, on a real Ray."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.synthetic.plan import encode_image, plan_collection
from tests.conftest import SIDE

CONFIG = PrepareConfig(image=ImageConfig(side=SIDE))


def test_planted_faults_are_quarantined_with_their_reasons(prepared: str) -> None:
    quarantine = pd.read_parquet(Path(prepared) / "quarantine.parquet")
    assert sorted(quarantine["fault"]) == ["empty", "not_an_image", "truncated"]
    assert quarantine["detail"].str.len().min() > 0


def test_planted_conflicts_are_found_and_dropped(prepared: str) -> None:
    info = open_dataset(prepared).info
    assert info.num_conflicts == {"melanoma | seborrheic keratosis": {"conflicting diagnoses": 4}}
    assert info.num_dropped == {"conflicting diagnoses": 4}
    index = pd.read_parquet(Path(prepared) / info.index)
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
    for path, crop in zip(images["path"], pixels, strict=True):
        np.testing.assert_array_equal(crop, decode_image(storage.read_bytes(path), CONFIG.image).pixels)


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
    assert len(list((tmp_path / "a").glob("index-*"))) == 2  # the one before stays for those who read it still


def test_keeping_duplicates_keeps_all(collection: str, tmp_path: Path) -> None:
    info = prepare(read_collection(collection), str(tmp_path), PrepareConfig(image=CONFIG.image, duplicates="keep"))
    assert info.num_dropped == {}
    assert info.num_conflicts == {"melanoma | seborrheic keratosis": {"kept as they are": 4}}


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
    assert info.num_conflicts["melanoma | seborrheic keratosis"] == {"conflicting diagnoses": 151}
    assert info.num_conflicts["actinic keratosis | nevus"] == {"conflicting diagnoses": 124}
    kept = sum(counts.get("seborrheic keratosis", 0) for counts in info.num_images.values())
    assert kept == 2
    page = (tmp_path / "isic9" / "audit.html").read_text()
    assert "Of 77 images of seborrheic keratosis, 2 remain: 75 of them stand under melanoma too" in page


def test_a_second_run_does_nothing_and_an_added_image_is_the_only_one_decoded(collection: str, tmp_path: Path) -> None:
    images, output = tmp_path / "images", tmp_path / "prepared"
    shutil.copytree(collection, images)
    first = prepare(read_collection(str(images)), str(output), CONFIG)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert prepare(read_collection(str(images)), str(output), CONFIG) == first
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before

    added = images / "nevus" / "added.jpg"
    added.write_bytes(encode_image(plan_collection(num_images=60, seed=9)[0]))
    second = prepare(read_collection(str(images)), str(output), CONFIG)
    shards = set(output.rglob("pixels-*/*.parquet"))
    new = [path for path in shards if path not in before]
    assert [pd.read_parquet(path)["path"].tolist() for path in new] == [[str(added)]]
    old_index, index = (pd.read_parquet(output / name).set_index("path") for name in (first.index, second.index))
    assert index.loc[old_index.index, "split"].equals(old_index["split"])
    assert sum(map(sum, (counts.values() for counts in second.num_images.values()))) == 1 + sum(
        map(sum, (counts.values() for counts in first.num_images.values()))
    )


def test_a_changed_file_is_decoded_again_and_a_deleted_one_is_gone(collection: str, tmp_path: Path) -> None:
    images, output = tmp_path / "images", tmp_path / "prepared"
    shutil.copytree(collection, images)
    prepare(read_collection(str(images)), str(output), CONFIG)
    changed, deleted = sorted((images / "nevus").glob("*.jpg"))[:2]
    changed.write_bytes(encode_image(plan_collection(num_images=60, seed=9)[0]))
    deleted.unlink()
    prepare(read_collection(str(images)), str(output), CONFIG)
    dataset = open_dataset(str(output))
    assert str(deleted) not in set(dataset.index["path"])
    np.testing.assert_array_equal(
        dataset.load_pixels([str(changed)])[0], decode_image(changed.read_bytes(), CONFIG.image).pixels
    )


def test_an_interrupted_run_goes_on_with_what_is_missing(collection: str, tmp_path: Path) -> None:
    """Shards that a run left behind are used; half a dataset is none until dataset.json is there."""
    whole, output = tmp_path / "whole", tmp_path / "prepared"
    expected = prepare(read_collection(collection), str(whole), CONFIG)
    shards = sorted((whole / expected.pixels).iterdir())
    (output / expected.pixels).mkdir(parents=True)
    for shard in shards[: len(shards) // 2]:
        shutil.copy(shard, output / expected.pixels)
    with pytest.raises(DataError, match=r"no dataset\.json"):
        open_dataset(str(output))
    left = {path.name: path.stat().st_mtime_ns for path in (output / expected.pixels).iterdir()}
    assert prepare(read_collection(collection), str(output), CONFIG).fingerprint == expected.fingerprint
    now = {path.name: path.stat().st_mtime_ns for path in (output / expected.pixels).iterdir()}
    assert left.items() <= now.items()
    assert len(now) > len(left)


def test_crops_of_another_version_are_refused_and_preparing_again_decodes_them_anew(
    collection: str, tmp_path: Path
) -> None:
    info = prepare(read_collection(collection), str(tmp_path), CONFIG)
    (tmp_path / info.pixels).rename(tmp_path / "pixels-000000000000")
    older = json.loads((tmp_path / "dataset.json").read_text()) | {"pixels": "pixels-000000000000"}
    (tmp_path / "dataset.json").write_text(json.dumps(older))
    with pytest.raises(DataError, match=r"crops are of another version; run the same jobs\.prepare again"):
        open_dataset(str(tmp_path))
    assert prepare(read_collection(collection), str(tmp_path), CONFIG) == info
    assert len(open_dataset(str(tmp_path)).load_pixels([open_dataset(str(tmp_path)).index["path"].iloc[0]])) == 1


def test_folds_are_written_and_each_can_be_the_val_split(collection: str, tmp_path: Path) -> None:
    split = SplitConfig(num_folds=3, test_fraction=0.2)
    prepare(read_collection(collection), str(tmp_path), PrepareConfig(image=CONFIG.image, split=split))
    dataset = open_dataset(str(tmp_path))
    seen = pd.concat([dataset.with_fold(fold).split("val") for fold in range(3)])
    assert sorted(seen["path"]) == sorted(dataset.index.loc[dataset.index["split"] != "test", "path"])
    assert dataset.with_fold(0).split("val").equals(dataset.split("val"))
    with pytest.raises(ConfigError, match="has 3 folds"):
        dataset.with_fold(3)


def test_images_in_containers_are_prepared_like_files(collection: str, local_ray: None, tmp_path: Path) -> None:
    files = sorted(path for path in Path(collection).glob("*/*.jpg") if path.stat().st_size > 4000)[:40]
    with h5py.File(tmp_path / "images.hdf5", "w") as container:
        for path in files:
            container[path.stem] = np.void(path.read_bytes())
    lines = [f"{path.stem},{path.parent.name}" for path in files]
    (tmp_path / "table.csv").write_text("\n".join(["isic_id,diagnosis", *lines]) + "\n")
    found = read_collection(str(tmp_path / "images.hdf5"), str(tmp_path / "table.csv"))
    config = PrepareConfig(image=CONFIG.image, duplicates="keep", split=SplitConfig(method="random"))
    prepare(found, str(tmp_path / "prepared"), config)
    dataset = open_dataset(str(tmp_path / "prepared"))
    for row, crop in zip(dataset.index.itertuples(), dataset.load_pixels(list(dataset.index["path"])), strict=True):
        original = next(path for path in files if path.stem == row.image_id)
        np.testing.assert_array_equal(crop, decode_image(original.read_bytes(), CONFIG.image).pixels)


def test_the_audit_s_figures_are_json_and_the_same_as_the_page_s(prepared: str) -> None:
    figures = json.loads((Path(prepared) / "audit.json").read_text())
    page = (Path(prepared) / "audit.html").read_text()
    assert figures["is_synthetic"]
    assert figures["num_conflicts"] == {"melanoma | seborrheic keratosis": {"conflicting diagnoses": 4}}
    estimate = figures["shortcut_baseline"]["figures"]["balanced_accuracy"]
    assert f"{estimate['value']:.3f} ({estimate['low']:.3f}–{estimate['high']:.3f})" in page
    for table in figures["tables"]:
        assert table["title"] in page


def test_two_real_collections_overlap_by_id_and_a_table_resolves_their_conflicts(
    local_ray: None, real_images: Path, tmp_path: Path
) -> None:
    ham = real_images.parents[1] / "ham10000"
    found = read_collection([str(real_images), str(ham / "images")], str(ham / "HAM10000_metadata.csv"))
    info = prepare(found, str(tmp_path / "both"), CONFIG)
    index = pd.read_parquet(tmp_path / "both" / info.index)
    by_id = index.groupby(index["image_id"].str.extract(r"(ISIC_\d{7})", expand=False))
    assert (by_id["source"].nunique() == 2).sum() > 700
    assert (by_id["split"].count() <= 1).all()
    ends = info.num_conflicts["actinic keratosis | nevus"]
    assert ends.get("by the table", 0) >= 124
    assert "conflicting diagnoses" not in ends
    assert info.num_conflicts["actinic keratosis | squamous cell carcinoma"].keys() == {"by the folder's finer word"}
    kept = index[index["split"].notna()]
    assert (kept.groupby("lesion_id")["split"].nunique() == 1).all()
    figures = json.loads((tmp_path / "both" / "audit.json").read_text())
    lost, remain, *drawn = figures["warnings"]
    assert lost.startswith("Of 77 images of seborrheic keratosis,")
    assert remain.startswith("Of the given train split 1,")  # thousand and some of 2,241 remain
    of_train = r"\d+ images of the given train split were drawn for (val|test)\."
    assert len(drawn) == 2
    assert all(re.fullmatch(of_train, told) for told in drawn)
    groups = re.findall(r'<div class="group">(.*?)</div>', (tmp_path / "both" / "audit.html").read_text(), re.DOTALL)
    assert groups
    assert all(group.count("<figure>") > 1 for group in groups)  # a finding shows what belongs together
