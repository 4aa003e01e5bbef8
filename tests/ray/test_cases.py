"""What preparation makes of imitations of public sets and mistakes (../shared/cases), and of generated folders."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from melanoma_ray.config import ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import DatasetInfo, read_index
from melanoma_ray.errors import DataError, MelanomaRayError
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.sources.listing import MASKS

CASES = Path(__file__).parents[3] / "shared" / "cases" / "data"
CONFIG = PrepareConfig(image=ImageConfig(side=32))
needs_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason="the cases aren't here: ../shared/cases; generated folders are tested"
)
pytestmark = pytest.mark.usefixtures("local_ray")


def prepare_folder(
    folder: Path | list[str], output: Path, config: PrepareConfig = CONFIG
) -> tuple[DatasetInfo, pd.DataFrame]:
    roots = folder if isinstance(folder, list) else [str(folder)]
    info = prepare(read_collection(roots), str(output), config)
    return info, read_index(str(output / info.index))


def sides(index: pd.DataFrame) -> dict[str, int]:
    """Return the number of images by given split and by what became of it."""
    pairs = zip(index["given_split"].fillna("none"), index["split"].fillna("dropped"), strict=True)
    return dict(Counter(f"{given}-{side}" for given, side in pairs))


@needs_cases
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("given_test_smaller_copy", {"test-test": 8, "train-dropped": 4, "train-train": 16, "train-val": 4}),
        ("given_test_equal_copy_case", {"test-test": 2, "train-dropped": 2, "train-train": 9, "train-val": 1}),
        ("nested_test", {"test-test": 4, "train-train": 7, "train-val": 1}),
        ("train_valid_test", {"test-test": 4, "val-val": 4, "train-train": 4}),
    ],
)
def test_a_given_split_stays_and_its_copies_elsewhere_go(name: str, expected: dict[str, int], tmp_path: Path) -> None:
    info, index = prepare_folder(CASES / name, tmp_path / "out")
    assert sides(index) == expected
    assert any(note.startswith("given split: ") for note in info.notes)
    assert "Given split" in (tmp_path / "out" / "audit.html").read_text()


@needs_cases
@pytest.mark.parametrize(
    "name", ["placeholder_patient", "class_beats_patient_subdirs", "kaggle10000", "isic2016", "ages"]
)
def test_each_split_that_is_asked_for_has_images(name: str, tmp_path: Path) -> None:
    info, index = prepare_folder(CASES / name, tmp_path / "out")
    assert all(sum(info.num_images[split].values()) for split in ("train", "val", "test"))
    assert (index.dropna(subset=["split"]).groupby("group_id")["split"].nunique() == 1).all()


@needs_cases
@pytest.mark.parametrize("name", ["nan_labels", "two_tables_contradict", "parquet_dup_ids"])
def test_what_is_doubtful_stands_in_the_audit(name: str, tmp_path: Path) -> None:
    info, _ = prepare_folder(CASES / name, tmp_path / "out")
    page = (tmp_path / "out" / "audit.html").read_text()
    doubts = [note for note in info.notes if not note.startswith(("given split", "no split"))]
    assert doubts
    assert all(note[1:40] in page for note in doubts)


def encode(seed: int, side: int = 48, *, grey: bool = False) -> bytes:
    """Return a JPEG that looks like no other; or a mask: a white disc on black."""
    if grey:
        y, x = np.mgrid[:side, :side] - side / 2
        pixels = np.where((x**2 + y**2 < side**2 / 8)[:, :, None], 255, 0).repeat(3, axis=2)
    else:
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_a_two_valued_picture_next_to_a_photograph_of_its_name_is_a_mask(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "melanoma"
    folder.mkdir(parents=True)
    for number in range(8):
        (folder / f"case{number}.jpg").write_bytes(encode(number))
    (folder / "case0_x.jpg").write_bytes(encode(0, grey=True))
    info, index = prepare_folder(tmp_path / "images", tmp_path / "out")
    assert (len(index), info.passed_over) == (8, {MASKS: 1})


def test_one_patient_for_all_images_is_said_where_a_split_stays_empty(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "melanoma"
    folder.mkdir(parents=True)
    rows = ["image_id,patient_id"]
    for number in range(10):
        (folder / f"a{number}.jpg").write_bytes(encode(number))
        rows.append(f"a{number},P1")
    (tmp_path / "images" / "meta.csv").write_text("\n".join(rows))
    with pytest.raises(
        DataError, match=r"no image is left for the test split: the 10 images form 1 group.*patient_id 'P1'"
    ):
        prepare_folder(tmp_path / "images", tmp_path / "out")


@dataclass(frozen=True)
class Picture:
    """One file of a generated folder."""

    split: str
    folder: str
    name: str
    seed: int
    """Pictures of one seed look alike; of one seed and size they are copies."""
    side: int
    fault: str


DIAGNOSES = st.sampled_from(["melanoma", "1. Nevi (NV) - 12", "BCC", "bkl", "unknown", "blobs", "benign", "labels"])
PICTURES = st.builds(
    Picture,
    split=st.sampled_from(["", "", "training_set", "test", "valid", "zip top/Test images"]),
    folder=DIAGNOSES,
    name=st.sampled_from(
        ["a", "b", "ISIC_0000001", "Copy of ISIC_0000001", "x (1)", "p::1", "é ü", "._a", "m_Segmentation", "a_roi"]
    ),
    seed=st.integers(0, 30),
    side=st.sampled_from([32, 48, 64]),
    fault=st.sampled_from(["", "", "", "", "", "empty", "text", "cut"]),
)
METHODS: st.SearchStrategy[Literal["grouped", "random"]] = st.sampled_from(["grouped", "random"])
TABLES = st.sampled_from(
    [
        "",
        "",
        "image_id,dx,lesion_id\na,nv,L1\nb,mel,L1\n",
        "sep=;\nimage;dx;patient_id;set\nISIC_0000001.JPG;mel;None;test\nx;oddity;P1;holdout\n",
        "x,y\n1,2\n",
    ]
)


def write_folder(root: Path, pictures: list[Picture], table: str) -> int:
    """Write the files and return how many there are."""
    for one in pictures:
        path = root / one.split / one.folder / f"{one.name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = encode(one.seed, one.side)
        damaged = {"": content, "empty": b"", "text": b"no image", "cut": content[: len(content) // 2]}
        path.write_bytes(damaged[one.fault])
    if table:
        (root / "meta.csv").write_text(table)
    return sum(1 for path in root.rglob("*") if path.is_file())


def check_folder(pictures: list[Picture], table: str, *, method: Literal["grouped", "random"]) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory) / "images"
        root.mkdir()
        num_files = write_folder(root, pictures, table)
        config = PrepareConfig(
            image=ImageConfig(side=32), split=SplitConfig(method=method), max_quarantined_fraction=1.0
        )
        try:  # any other error than ours fails the test
            collection = read_collection(str(root))
            info = prepare(collection, f"{directory}/out", config)
        except MelanomaRayError:
            return
        index = read_index(f"{directory}/out/{info.index}")
        used_or_said = len(index) + sum(info.num_quarantined.values()) + sum(info.passed_over.values())
        left_out = sum(info.num_left_out.values()) + collection.num_files_without_row
        assert used_or_said + left_out == num_files
        assert index["split"].isna().equals(index["dropped"].notna())
        kept = index.dropna(subset=["split"])
        assert not (kept.loc[kept["given_split"] == "test", "split"] != "test").any()
        if method == "grouped":
            assert (kept.groupby("group_id")["split"].nunique() == 1).all()
            lost = index[(index["given_split"] == "test") & index["split"].isna()]
            assert set(lost["dropped"]) <= {"conflicting diagnoses"}


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pictures=st.lists(PICTURES, min_size=1, max_size=14), table=TABLES, method=st.sampled_from(["grouped", "random"])
)
def test_generated_folders_are_prepared_or_refused_in_one_line_and_every_file_is_accounted_for(
    pictures: list[Picture], table: str, method: Literal["grouped", "random"]
) -> None:
    check_folder(pictures, table, method=method)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pictures=st.lists(PICTURES, min_size=1, max_size=30), table=TABLES, method=st.sampled_from(["grouped", "random"])
)
def test_five_hundred_generated_folders(
    pictures: list[Picture], table: str, method: Literal["grouped", "random"]
) -> None:
    check_folder(pictures, table, method=method)
