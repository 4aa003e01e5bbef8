"""A synthetic collection is written through Ray Data: whole, the same each time, and never over other files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.synthetic.collection import ATTRIBUTION, SyntheticSummary, write_synthetic_collection
from melanoma_ray.synthetic.plan import encode_image, plan_collection

Written = tuple[Path, SyntheticSummary]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Written:
    root = tmp_path_factory.mktemp("collections") / "synthetic"
    return root, write_synthetic_collection(str(root), num_images=60, seed=5)


def digest_of_all_files(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_row_of_the_plan_is_a_file_with_the_bytes_it_says(collection: Written) -> None:
    root, summary = collection
    plan = plan_collection(num_images=60, seed=5)
    assert summary.num_images == len(list(root.rglob("*.jpg"))) == 60
    assert summary.num_lesions == len({image.lesion_id for image in plan})
    assert set(summary.faults) == {"truncated", "empty", "not_an_image", "exif_rotated", "duplicate_conflict"}
    assert all((root / image.relative_path).read_bytes() == encode_image(image) for image in plan)


def test_metadata_says_of_every_image_that_it_is_synthetic(collection: Written) -> None:
    root, _ = collection
    table = pd.read_csv(root / "metadata.csv")
    assert list(table.columns) == ["image_id", "diagnosis", "lesion_id", "age", "sex", "site", "attribution"]
    assert len(table) == 60
    assert (table["attribution"] == ATTRIBUTION).all()


def test_the_reader_of_real_layouts_reads_it(collection: Written) -> None:
    root, _ = collection
    found = read_collection(str(root))
    assert found.table.num_rows == 60
    assert (found.num_rows_without_file, found.num_files_without_row) == (0, 0)
    assert set(found.table["attribution"].to_pylist()) == {ATTRIBUTION}


def test_writing_again_replaces_the_collection_and_the_same_seed_restores_its_bytes(collection: Written) -> None:
    root, _ = collection
    before = digest_of_all_files(root)
    write_synthetic_collection(str(root), num_images=61, seed=6)
    assert len(list(root.rglob("*.jpg"))) == 61
    write_synthetic_collection(str(root), num_images=60, seed=5)
    assert digest_of_all_files(root) == before


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "melanoma" / "ISIC_0000139.jpg"
    precious.parent.mkdir()
    precious.write_bytes(b"a real photograph")
    with pytest.raises(DataError, match=r"ISIC_0000139\.jpg"):
        write_synthetic_collection(str(tmp_path), num_images=60, seed=0)
    assert precious.read_bytes() == b"a real photograph"


def test_a_synthetic_collection_to_which_someone_added_a_file_is_refused(collection: Written) -> None:
    root, _ = collection
    note = root / "notes.txt"
    note.write_text("mine")
    with pytest.raises(DataError, match=r"notes\.txt"):
        write_synthetic_collection(str(root), num_images=60, seed=5)
    assert note.read_text() == "mine"
    note.unlink()


def test_a_real_collection_s_table_does_not_make_it_ours(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("image_id,diagnosis\nISIC_0000139,melanoma\n")
    with pytest.raises(DataError, match=r"metadata\.csv"):
        write_synthetic_collection(str(tmp_path), num_images=60, seed=0)
