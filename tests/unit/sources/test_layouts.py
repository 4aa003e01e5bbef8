"""Reading the layouts in which collections come."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.errors import DataError
from melanoma_ray.sources.files import LEFT_CONTAINERS
from melanoma_ray.sources.layouts import Collection, read_collection
from melanoma_ray.sources.taxonomies import open_taxonomy
from melanoma_ray.sources.unlabelled import list_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def column(collection: Collection, name: str) -> list[object]:
    return list(collection.table.column(name).to_pylist())


def test_folders_name_the_diagnosis_in_any_case_with_any_separator(tmp_path: Path) -> None:
    touch(tmp_path, "Actinic_Keratosis/a.jpg", "MEL/b.JPG", "basal cell carcinoma/c.png", "mel/notes.txt")
    found = read_collection(str(tmp_path))
    assert column(found, "image_id") == ["a", "b", "c"]
    assert column(found, "diagnosis") == ["actinic keratosis", "melanoma", "basal cell carcinoma"]


def test_train_and_test_folders_are_remembered(tmp_path: Path) -> None:
    touch(tmp_path, "Train/nevus/a.jpg", "Test/nevus/b.jpg")
    found = read_collection(str(tmp_path))
    assert dict(zip(column(found, "image_id"), column(found, "given_split"), strict=True)) == {
        "a": "train",
        "b": "test",
    }


def test_ham10000_s_table_tells_the_diagnosis_and_both_sides_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "images/ISIC_1.jpg", "images/ISIC_2.jpg", "images/ISIC_9.jpg")
    (tmp_path / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
        "HAM_1,ISIC_1,bkl,histo,80.0,male,scalp\n"
        "HAM_1,ISIC_2,bkl,histo,,female,back\n"
        "HAM_2,ISIC_3,nv,histo,30,male,foot\n"
    )
    found = read_collection(str(tmp_path))
    assert column(found, "diagnosis") == ["pigmented benign keratosis"] * 2
    assert column(found, "lesion_id") == ["HAM_1", "HAM_1"]
    assert column(found, "age") == [80.0, None]
    assert column(found, "site") == ["scalp", "back"]
    assert (found.num_rows_without_file, found.num_files_without_row) == (1, 1)


def test_a_table_beside_folders_adds_lesions_and_leaves_diagnoses(tmp_path: Path) -> None:
    touch(tmp_path / "images", "nevus/ISIC_1.jpg", "nevus/ISIC_1 (1).jpg", "melanoma/ISIC_2.jpg")
    table = tmp_path / "table.csv"
    table.write_text("lesion_id,image_id,dx\nHAM_1,ISIC_1,mel\n")
    found = read_collection(str(tmp_path / "images"), str(table))
    rows = {row["image_id"]: (row["diagnosis"], row["lesion_id"]) for row in found.table.to_pylist()}
    assert rows == {
        "ISIC_1": ("nevus", "HAM_1"),
        "ISIC_1 (1)": ("nevus", "HAM_1"),
        "ISIC_2": ("melanoma", None),
    }


def test_an_unknown_diagnosis_is_refused_and_the_known_ones_listed(tmp_path: Path) -> None:
    touch(tmp_path, "blobs/a.jpg")
    with pytest.raises(
        DataError,
        match=r"no folder named after a diagnosis \(but in blobs\), and no table tells theirs",
    ):
        read_collection(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no image in it"),
        (["melanoma/readme.txt"], "no image in it"),
        (["loose.jpg"], "lie in no folder named after a diagnosis"),
    ],
)
def test_a_folder_without_usable_images_says_what_is_wrong(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        read_collection(str(tmp_path))


def test_a_missing_folder_or_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: not found"):
        read_collection(str(tmp_path / "nowhere"))
    touch(tmp_path, "nevus/a.jpg")
    with pytest.raises(DataError, match=r"none\.csv: not found"):
        read_collection(str(tmp_path), str(tmp_path / "none.csv"))


def test_a_table_of_other_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    (tmp_path / "metadata.csv").write_text("image_id,dx\nb,nv\n")
    with pytest.raises(DataError, match=r"of 1 image 0 were found in metadata.csv; its ids look like 'b'"):
        read_collection(str(tmp_path))


def rows_by_id(found: Collection) -> dict[str, dict[str, object]]:
    return {row["image_id"]: row for row in found.table.to_pylist()}


def test_one_hot_truth_and_its_metadata_are_read_together(tmp_path: Path) -> None:
    """ISIC 2019: two tables beside a flat folder."""
    touch(tmp_path, "ISIC_2019_Training_Input/ISIC_0000001.jpg", "ISIC_2019_Training_Input/ISIC_0000002.jpg")
    (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text(
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
        "ISIC_0000001,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0\n"
        "ISIC_0000002,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0\n"
    )
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(
        "image,age_approx,anatom_site_general,lesion_id,sex\nISIC_0000001,55.0,anterior torso,,female\n"
    )
    found = read_collection(str(tmp_path / "ISIC_2019_Training_Input"))
    row = rows_by_id(found)["ISIC_0000001"]
    assert (row["diagnosis"], row["age"], row["site"], row["sex"]) == (
        "squamous cell carcinoma",
        55.0,
        "anterior torso",
        "female",
    )
    assert found.num_left_out == {"UNK": 1}


def test_a_row_with_two_ones_is_refused_when_its_table_was_given(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    table = tmp_path / "truth.csv"
    table.write_text("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,1.0,1.0,0,0,0,0,0\n")
    with pytest.raises(DataError, match="1 row with more than one 1 in mel/nv"):
        read_collection(str(tmp_path / "images"), str(table))


def test_isic_2020_s_patients_are_known_and_unknown_lesions_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "train/ISIC_0000001.jpg", "train/ISIC_0000002.jpg", "train/ISIC_0000003.jpg")
    (tmp_path / "ISIC_2020_Training_GroundTruth.csv").write_text(
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
        "ISIC_0000001,IP_1,male,45,torso,melanoma,malignant,1\n"
        "ISIC_0000002,IP_1,male,45,torso,unknown,benign,0\n"
        "ISIC_0000003,IP_2,,,,lichenoid keratosis,benign,0\n"
    )
    found = read_collection(str(tmp_path / "train"))
    rows = rows_by_id(found)
    assert {name: (row["diagnosis"], row["patient_id"]) for name, row in rows.items()} == {
        "ISIC_0000001": ("melanoma", "IP_1"),
        "ISIC_0000003": ("pigmented benign keratosis", "IP_2"),
    }
    assert rows["ISIC_0000003"]["sex"] is None
    assert found.num_left_out == {"unknown": 1}


def test_isic_2024_is_an_hdf5_file_and_a_hierarchical_table(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train-image.hdf5", "w") as file:
        for number in (1, 2, 3):
            file[f"ISIC_000000{number}"] = np.void(b"x")
    (tmp_path / "train-metadata.csv").write_text(
        "isic_id,target,patient_id,age_approx,sex,anatom_site_general,attribution,"
        "iddx_full,iddx_1,iddx_2,iddx_3,iddx_4,iddx_5\n"
        "ISIC_0000001,1,IP_1,60.0,male,lower extremity,Somewhere,x,Malignant,"
        "Malignant melanocytic proliferations (Melanoma),Melanoma in situ,,\n"
        "ISIC_0000002,0,IP_2,60.0,male,head/neck,Somewhere,Benign,Benign,,,,\n"
        "ISIC_0000003,0,IP_2,60.0,male,head/neck,Somewhere,x,Benign,Benign epidermal proliferations,"
        "Seborrheic keratosis,,\n"
    )
    found = read_collection(str(tmp_path))
    rows = rows_by_id(found)
    assert {name: row["diagnosis"] for name, row in rows.items()} == {
        "ISIC_0000001": "melanoma",
        "ISIC_0000003": "seborrheic keratosis",
    }
    assert rows["ISIC_0000001"]["path"] == f"{tmp_path}/train-image.hdf5::ISIC_0000001"
    assert rows["ISIC_0000001"]["attribution"] == "Somewhere"
    assert found.num_left_out == {"Benign": 1}


def test_what_the_archive_s_client_downloads_is_read_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "ISIC_0000001.JPG", "ISIC_0000001_segmentation.png")
    (tmp_path / "licenses").mkdir()
    (tmp_path / "metadata.csv").write_text(
        "isic_id,attribution,copyright_license,age_approx,anatom_site_general,diagnosis_1,diagnosis_2,diagnosis_3,"
        "lesion_id,patient_id,sex\n"
        'ISIC_0000001,A,CC-0,40,back,Benign,Benign melanocytic proliferations,"Nevus, Atypical, Dysplastic, or Clark",'
        "IL_1,IP_1,female\n"
    )
    found = read_collection(str(tmp_path))
    [row] = found.table.to_pylist()
    assert (row["diagnosis"], row["lesion_id"], row["patient_id"]) == ("nevus", "IL_1", "IP_1")


def test_a_parquet_of_bytes_carries_its_own_table(tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    images = pa.array([b"x", b"y"], pa.binary())
    pq.write_table(pa.table({"image": images, "isic_id": ["ISIC_1", "ISIC_2"], "dx": ["mel", "nv"]}), path)
    for source in (path, tmp_path):
        rows = rows_by_id(read_collection(str(source)))
        assert {name: (row["diagnosis"], row["path"]) for name, row in rows.items()} == {
            "ISIC_1": ("melanoma", f"{path}::0"),
            "ISIC_2": ("nevus", f"{path}::1"),
        }


def test_several_sources_become_one_table_and_a_table_serves_all(tmp_path: Path) -> None:
    touch(tmp_path, "kaggle/Train/nevus/ISIC_1.jpg", "ham/ISIC_1.jpg", "ham/ISIC_2.jpg")
    table = tmp_path / "HAM10000_metadata.csv"
    table.write_text("lesion_id,image_id,dx\nHAM_1,ISIC_1,akiec\nHAM_2,ISIC_2,df\nHAM_3,ISIC_3,df\n")
    found = read_collection([str(tmp_path / "kaggle"), str(tmp_path / "ham")], str(table))
    assert sorted(
        (row["image_id"], row["diagnosis"], row["table_diagnosis"], row["source"]) for row in found.table.to_pylist()
    ) == [
        ("ISIC_1", "actinic keratosis", "actinic keratosis", str(tmp_path / "ham")),
        ("ISIC_1", "nevus", "actinic keratosis", str(tmp_path / "kaggle")),
        ("ISIC_2", "dermatofibroma", "dermatofibroma", str(tmp_path / "ham")),
    ]
    assert {tuple(row["table_covers"]) for row in found.table.to_pylist()} == {
        ("actinic keratosis", "squamous cell carcinoma"),
        ("dermatofibroma",),
    }
    assert found.num_rows_without_file == 1


def test_ones_own_taxonomy_adds_words_and_changes_them(tmp_path: Path) -> None:
    touch(tmp_path, "warts/a.jpg", "unknown/b.jpg", "nevus/c.jpg")
    taxonomy = load_taxonomy("name,diagnosis\nwarts,\nunknown,nevus\n")
    found = read_collection(str(tmp_path), taxonomy=taxonomy)
    assert column(found, "diagnosis") == ["nevus", "nevus"]
    assert found.num_left_out == {"warts": 1}


def test_containers_in_folders_of_a_split_have_it(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        (tmp_path / split).mkdir()
        content = {"image": pa.array([b"x", b"y"], pa.binary()), "dx": ["mel", "nv"]}
        pq.write_table(pa.table(content), tmp_path / split / f"{number}.parquet")
    assert column(read_collection(str(tmp_path)), "given_split") == ["test", "test", "train", "train"]


def test_a_parquet_without_a_known_column_beside_images_is_left_alone_and_alone_it_is_one_line(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/a.jpg")
    features = tmp_path / "features.parquet"
    pq.write_table(pa.table({"f0": [1.0], "f1": [2.0]}), features)
    found = read_collection(str(tmp_path))
    assert column(found, "image_id") == ["a"]
    assert found.passed_over == {LEFT_CONTAINERS: 1}
    assert any("has columns f0, f1: neither encoded images nor images' ids" in note for note in found.notes)
    with pytest.raises(DataError, match="neither encoded images nor images' ids"):
        read_collection(str(features))


def notes_of(found: Collection, *, about: str) -> list[str]:
    return [note for note in found.notes if about in note]


@pytest.mark.parametrize(
    "names", [("training_set", "test_set"), ("TrainSet", "Test images"), ("train_data", "testing")]
)
def test_folders_of_a_split_may_be_called_sets(tmp_path: Path, names: tuple[str, str]) -> None:
    touch(tmp_path, f"{names[0]}/nevus/a.jpg", f"{names[1]}/nevus/b.jpg")
    found = read_collection(str(tmp_path))
    assert {row["image_id"]: row["given_split"] for row in found.table.to_pylist()} == {"a": "train", "b": "test"}
    assert "given split: train 1, test 1" in found.notes


def test_images_of_a_given_split_are_counted_before_any_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "Train/nevus/a.jpg", "Test/nevus/b.jpg", "Test/unknown/c.jpg", "Test/blobs/d.jpg")
    found = read_collection(str(tmp_path))
    assert found.num_given == {"test": 3, "train": 1}
    assert len(found.table) == 2


def test_a_column_s_split_against_its_folder_s_is_said_and_words_that_are_none_too(tmp_path: Path) -> None:
    touch(tmp_path, "Train/nevus/a.jpg", "Train/nevus/b.jpg", "Test/nevus/c.jpg")
    (tmp_path / "meta.csv").write_text("image_id,split\na,test\nb,holdout\nc,test set\n")
    found = read_collection(str(tmp_path))
    assert column(found, "given_split") == ["test", "train", "train"]
    assert notes_of(found, about="the folder counts") == [
        "1 image is in one split by the folder and in another by the table (folder train, table test (1)): "
        "the folder counts"
    ]
    assert notes_of(found, about="'holdout' (1)") != []


def test_containers_called_after_a_split_give_it(tmp_path: Path) -> None:
    for name in ("isic_train.parquet", "isic_test.parquet"):
        pq.write_table(pa.table({"image": pa.array([b"x"], pa.binary()), "dx": ["nv"]}), tmp_path / name)
    assert column(read_collection(str(tmp_path)), "given_split") == ["test", "train"]
    roots = [str(tmp_path / "isic_test.parquet"), str(tmp_path / "isic_train.parquet")]
    assert column(read_collection(roots), "given_split") == ["test", "train"]


def test_a_folder_that_says_benign_where_the_table_says_melanoma_is_a_contradiction(tmp_path: Path) -> None:
    touch(tmp_path, "benign/a.jpg", "benign/b.jpg", "malignant/c.jpg", "other/d.jpg", "malignant/e.jpg")
    (tmp_path / "meta.csv").write_text("image_id,dx\na,mel\nb,nv\nc,bcc\nd,mel\ne,akiec\n")
    found = rows_by_id(read_collection(str(tmp_path)))
    claims = {name: (row["diagnosis"], row["folder_claim"]) for name, row in found.items()}
    assert claims == {
        "a": ("melanoma", "benign"),
        "b": ("nevus", None),
        "c": ("basal cell carcinoma", None),
        "d": ("melanoma", "other"),
        "e": ("actinic keratosis", None),
    }


def test_with_two_classes_a_folder_against_a_table_is_a_claim_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "benign/a.jpg", "benign/b.jpg", "malignant/c.jpg")
    (tmp_path / "meta.csv").write_text("image_id,dx\na,mel\nb,nv\nc,mel\n")
    found = rows_by_id(read_collection(str(tmp_path), taxonomy=open_taxonomy("benign-malignant")))
    assert (found["a"]["diagnosis"], found["a"]["table_covers"], found["a"]["is_by_table"]) == (
        "benign",
        ["malignant"],
        False,
    )
    assert found["b"]["diagnosis"] == "benign"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,diagnosis,is_melanoma,is_malignant\nmel,mm,yes,no\n", "is_melanoma yes and is_malignant no"),
        ("name,diagnosis,is_malignant\na,x,yes\nb,x,no\n", "rows of 'x' have is_malignant yes and no"),
    ],
)
def test_flags_of_a_taxonomy_that_contradict_each_other_are_one_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_taxonomy(text)


def test_rows_of_one_image_that_tell_different_lesions_or_ages_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "meta.csv").write_text("image_id,dx,lesion_id,age\na,nv,L1,40\na,nv,L2,50\nb,nv,L3,60\nb,nv,L3,60\n")
    found = read_collection(str(tmp_path))
    assert notes_of(found, about="several rows") == [
        "meta.csv has several rows of different lesions for 1 id, the first counts: a (L1, L2)",
        "meta.csv has several rows of different ages for 1 id, the first counts: a (40.0, 50.0)",
    ]
    assert found.num_rows_without_file == 0


def test_patients_of_two_sources_are_tied_by_a_common_table_and_otherwise_not(tmp_path: Path) -> None:
    for source in ("one", "two"):
        touch(tmp_path, f"{source}/nevus/{source}.jpg")
        (tmp_path / source / "meta.csv").write_text(f"image_id,patient_id,lesion_id\n{source},P1,HAM_1\n")
    roots = [str(tmp_path / source) for source in ("one", "two")]
    apart = read_collection(roots)
    assert (len(set(column(apart, "patient_id"))), column(apart, "lesion_id")) == (2, ["HAM_1", "HAM_1"])
    assert len(notes_of(apart, about="several sources that no table ties")) == 1
    (tmp_path / "all.csv").write_text("image_id,patient_id\none,P1\ntwo,p1\n")
    assert column(read_collection(roots, str(tmp_path / "all.csv")), "patient_id") == ["P1", "P1"]


@pytest.mark.parametrize(
    ("folders", "is_patient"),
    [(("patient 7", "PAT_12"), True), (("P001", "p002"), True), (("P1", "P2"), False)],
)
def test_folders_of_patients_are_groups(tmp_path: Path, folders: tuple[str, str], *, is_patient: bool) -> None:
    touch(tmp_path, *(f"{folder}/nevus/{number}.jpg" for number, folder in enumerate(folders)))
    expected = list(folders) if is_patient else [None, None]
    assert sorted(map(str, column(read_collection(str(tmp_path)), "patient_id"))) == sorted(map(str, expected))


def test_a_column_of_diagnoses_counts_before_flags_of_the_history(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    rows = "a,nevus,1,0\nb,melanoma,0,0\nc,nevus,0,1\n"
    (tmp_path / "meta.csv").write_text(f"image,diagnosis,melanoma,bcc\n{rows}")
    found = read_collection(str(tmp_path))
    assert column(found, "diagnosis") == ["nevus", "melanoma", "nevus"]
    told = "the columns melanoma, bcc of yes and no aren't read as diagnoses, since a column of its own tells them"
    assert notes_of(found, about="of yes and no") == [f"meta.csv: {told}"]


def test_flags_of_the_history_beside_folders_tell_no_diagnosis(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/a.jpg", "nevus/b.jpg", "melanoma/c.jpg", "melanoma/d.jpg")
    (tmp_path / "meta.csv").write_text("image,age,melanoma,scc\na,40,1,0\nb,50,0,0\nc,60,0,0\nd,70,0,0\n")
    found = read_collection(str(tmp_path))
    assert column(found, "table_diagnosis") == [None] * 4
    assert len(notes_of(found, about="3 of 4 rows have a 1 in none of them")) == 1


def test_sizes_and_initials_below_a_diagnosis_are_no_codes(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/5 mm/a.jpg", "nevus/10mm/b.jpg", "nevus/AK/c.jpg", "nevus/KL/d.jpg", "nevus/SK/e.jpg")
    found = read_collection(str(tmp_path))
    assert set(column(found, "diagnosis")) == {"nevus"}
    assert len(notes_of(found, about="aren't taken for codes: AK, SK")) == 1


def test_codes_that_all_folders_below_a_name_have_are_diagnoses(tmp_path: Path) -> None:
    touch(tmp_path, "melanoma/nv/a.jpg", "melanoma/mel/b.jpg", "melanoma/bcc/c.jpg")
    found = read_collection(str(tmp_path))
    assert sorted(map(str, column(found, "diagnosis"))) == ["basal cell carcinoma", "melanoma", "nevus"]


def test_of_several_given_splits_of_one_image_test_counts(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    (tmp_path / "train_labels.csv").write_text("image,dx\na,nv\nb,mel\nc,nv\n")
    (tmp_path / "test_labels.csv").write_text("image,dx\nc,nv\nd,mel\n")
    found = read_collection(str(tmp_path))
    assert column(found, "given_split") == ["train", "train", "test", "test"]
    assert len(notes_of(found, about="tables tell different splits of 1 image: test counts before val")) == 1
    (tmp_path / "train_labels.csv").unlink()
    (tmp_path / "test_labels.csv").unlink()
    rows = "a,nv,train\na,nv,test\nb,mel,train\nc,nv,val\nc,nv,train\nd,nv,test\n"
    (tmp_path / "all.csv").write_text(f"image,dx,split\n{rows}")
    assert column(read_collection(str(tmp_path)), "given_split") == ["test", "train", "val", "test"]


def test_images_of_one_row_are_one_lesion(tmp_path: Path) -> None:
    touch(tmp_path, "P0 (1).jpg", "P0 (2).jpg", "P1 (1).jpg", "P2.jpg")
    (tmp_path / "meta.csv").write_text("image,dx\nP0,nv\nP1,mel\nP2,nv\n")
    assert column(read_collection(str(tmp_path)), "lesion_id") == ["P0", "P0", None, None]


def test_a_table_above_the_images_of_its_split_tells_those_of_equal_names_apart(tmp_path: Path) -> None:
    touch(tmp_path, "train/images/0.jpg", "test/images/0.jpg")
    (tmp_path / "test" / "images" / "0.jpg").write_bytes(b"another picture")
    (tmp_path / "train" / "labels.csv").write_text("image,dx\n0.jpg,nv\n")
    (tmp_path / "test" / "labels.csv").write_text("image,dx\n0.jpg,mel\n")
    assert column(read_collection(str(tmp_path)), "diagnosis") == ["melanoma", "nevus"]


def test_what_may_tell_a_split_and_is_not_read_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "holdout/a.jpg", "dev/b.jpg", "unseen/c.jpg", "eval/d.jpg")
    (tmp_path / "meta.csv").write_text("image,dx,fold\na,nv,1\nb,mel,2\nc,nv,1\nd,nv,2\n")
    found = read_collection(str(tmp_path))
    assert len(notes_of(found, about="may mean a split, and isn't taken for one")) == 3
    assert len(notes_of(found, about="1 more folder may mean a split")) == 1
    assert len(notes_of(found, about="the column fold may tell a split")) == 1


def test_a_second_column_of_one_name_and_folders_that_contradict_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "malignant/nevus/a.jpg", "benign/melanoma/b.jpg")
    (tmp_path / "meta.csv").write_text("image,age,age\na,40,50\nb,50,60\n")
    found = read_collection(str(tmp_path))
    assert len(notes_of(found, about="of several columns called age the first is read")) == 1
    assert len(notes_of(found, about="benign/melanoma, malignant/nevus")) == 1


def test_predict_tells_sites_that_have_no_place_and_rows_of_no_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "meta.csv").write_text("image,site\na,wing\nb,back\nc,back\n")
    found = list_images(str(tmp_path), [str(tmp_path / "meta.csv")])
    assert found.notes == (
        "the tables: 1 row has a site that isn't understood, and counts as unknown: 'wing' (1)",
        "1 id of the tables is of no image here",
    )
    assert found.passed_over == {"tables, whose rows were looked up for the images": 1}
    assert list_images(str(tmp_path)).passed_over == {"tables, which are read only if given with --metadata": 1}


def test_each_table_is_counted_once_as_read_or_not(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/a.jpg", "melanoma/b.jpg")
    (tmp_path / "given.csv").write_text("image,age\na,40\nb,50\n")
    pq.write_table(pa.table({"image": ["a", "b"], "sex": ["male", "female"]}), tmp_path / "other.parquet")
    read = "tables, whose rows were looked up for the images"
    assert read_collection(str(tmp_path)).passed_over == {read: 2}
    given = str(tmp_path / "given.csv")
    assert read_collection(str(tmp_path), given).passed_over == {
        read: 1,
        "tables that aren't used, since others were given": 1,
    }
    assert list_images(str(tmp_path), [given]).passed_over == {
        read: 1,
        "tables, which are read only if given with --metadata": 1,
    }


def test_train_and_test_of_one_folder_share_their_patients(tmp_path: Path) -> None:
    for source in ("Train", "Test"):
        touch(tmp_path, f"{source}/nevus/{source}.jpg")
        (tmp_path / source / "meta.csv").write_text(f"image_id,patient_id\n{source},P1\n")
    found = read_collection([str(tmp_path / "Train"), str(tmp_path / "Test")])
    assert column(found, "patient_id") == ["P1", "P1"]


def test_containers_called_after_splits_share_their_patients(tmp_path: Path) -> None:
    for name in ("isic_train.parquet", "isic_test.parquet"):
        content = {"image": pa.array([b"x"], pa.binary()), "dx": ["nv"], "patient_id": ["P1"]}
        pq.write_table(pa.table(content), tmp_path / name)
    roots = [str(tmp_path / name) for name in ("isic_train.parquet", "isic_test.parquet")]
    assert column(read_collection(roots), "patient_id") == ["P1", "P1"]


def test_what_isn_t_understood_of_a_container_s_own_columns_is_told(tmp_path: Path) -> None:
    content = {"image": pa.array([b"x"], pa.binary()), "dx": ["nv"], "sex": ["divers"]}
    pq.write_table(pa.table(content), tmp_path / "images.parquet")
    assert len(notes_of(read_collection(str(tmp_path)), about="'divers' (1)")) == 1


def test_a_taxonomy_that_lies_among_the_images_is_no_table_of_images(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/a.jpg", "warts/b.jpg")
    own = tmp_path / "words.csv"
    own.write_text("name,diagnosis\nwarts,nevus\n")
    found = read_collection(str(tmp_path), taxonomy=open_taxonomy(str(own)))
    assert (len(found.table), found.num_rows_without_file) == (2, 0)
    assert notes_of(found, about="words.csv") == []
    own.write_text("name,diagnosis,is_malignant\nwarts,nevus,no\n")
    other = read_collection(str(tmp_path))
    assert len(notes_of(other, about="looks like a taxonomy")) == 1


def test_a_network_s_weights_and_tables_without_ids_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/a.jpg")
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["dense/kernel"] = np.zeros((3, 3), np.float32)
        file["dense/bias"] = np.zeros(3, np.float32)
        file["optimizer/iteration"] = np.int64(7)
    empty = pa.schema([("image_id", pa.string()), ("path", pa.string()), ("fault", pa.string())]).empty_table()
    pq.write_table(empty, tmp_path / "quarantine.parquet")
    found = read_collection(str(tmp_path))
    assert column(found, "image_id") == ["a"]
    assert found.passed_over == {LEFT_CONTAINERS: 2}
    with pytest.raises(DataError, match=r"no encoded image in it \(arrays of pixels aren't read\)"):
        read_collection(str(tmp_path / "model.h5"))


def test_rows_without_a_file_are_counted_once_an_id_and_blank_ones_not(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "meta.csv").write_text("image_id,dx\na,nv\na,nv\nb,nv\nb.jpg,nv\nb,nv\n,\n,nv\n")
    assert read_collection(str(tmp_path)).num_rows_without_file == 2


def test_files_of_one_name_and_two_endings_have_their_own_rows(tmp_path: Path) -> None:
    touch(tmp_path, "p0.jpg", "p0.png")
    (tmp_path / "meta.csv").write_text("image,dx\np0.png,mel\np0.jpg,nv\n")
    rows = {Path(str(row["path"])).name: row["diagnosis"] for row in read_collection(str(tmp_path)).table.to_pylist()}
    assert rows == {"p0.jpg": "nevus", "p0.png": "melanoma"}


def test_the_column_of_ids_that_fits_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "x1.jpg", "x2.jpg")
    (tmp_path / "meta.csv").write_text("image_id,file_name,dx\n901,x1.jpg,nv\n902,x2.jpg,mel\n")
    assert column(read_collection(str(tmp_path)), "diagnosis") == ["nevus", "melanoma"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image_id,target\na,1\n", "the column target of meta.csv has only yes and no.*--taxonomy benign-malignant"),
        ("image_id,age,befund\na,40,nv\n", r"meta.csv has image_id, age, befund\): name it with --columns diagnosis="),
    ],
)
def test_a_table_without_a_diagnosis_says_what_to_give(tmp_path: Path, content: str, message: str) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "meta.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_collection(str(tmp_path))


def test_a_column_of_yes_and_no_is_read_as_two_classes_where_both_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "meta.csv").write_text("image_id,target\na,1\nb,0\n")
    found = read_collection(str(tmp_path), (), open_taxonomy("benign-malignant"), ["diagnosis=target"])
    assert column(found, "diagnosis") == ["malignant", "benign"]


def test_an_odd_word_in_a_found_table_costs_its_row_alone_and_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "meta.csv").write_text("image_id,dx\na,nv\nb,nevsu\nc,mel\n")
    found = read_collection(str(tmp_path))
    assert (column(found, "image_id"), found.num_files_without_row) == (["a", "c"], 1)
    assert len(notes_of(found, about="'nevsu' (1)")) == 1
    with pytest.raises(DataError, match=r"meta\.csv: diagnosis 'nevsu' is unknown"):
        read_collection(str(tmp_path), str(tmp_path / "meta.csv"))


def test_columns_named_for_a_table_that_was_left_alone_are_refused_with_the_reason(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/a.jpg")
    (tmp_path / "meta.csv").write_text("u,v\n1,2\n")
    with pytest.raises(DataError, match=r"no table has a column 'dx' \(left alone: metadata table .*meta.csv"):
        read_collection(str(tmp_path), columns=["diagnosis=dx"])


def test_numbered_and_decorated_folders_are_diagnoses_and_doubtful_ones_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "2. Melanoma 15.75k/a.jpg", "5. Melanocytic Nevi (NV) - 7970/b.jpg", "melanoma_photos/c.jpg")
    touch(tmp_path, "8. Seborrheic Keratoses and other Benign Tumors - 1.8k/d.jpg")
    found = read_collection(str(tmp_path))
    assert column(found, "diagnosis") == ["melanoma", "nevus", "melanoma"]
    assert len(notes_of(found, about="1 in 8. Seborrheic Keratoses and other")) == 1


def test_a_table_s_diagnoses_hinder_no_prediction(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    table = tmp_path / "meta.csv"
    table.write_text("picture no,MEL,NV,dx,years x\na,1,1,rarissima,45 Jahre\n")
    found = list_images(str(tmp_path / "images"), [str(table)], ["image=picture no", "age=years x"])
    assert found.images["age"].tolist() == [45.0]
    with pytest.raises(DataError, match="no table has a column 'alter'"):
        list_images(str(tmp_path / "images"), [str(table)], ["image=picture no", "age=alter"])
    with pytest.raises(DataError, match=r"1 table in .* would be read only if given with --metadata"):
        list_images(str(tmp_path), (), ["age=years"])


def test_a_table_whose_only_fault_is_its_column_s_name_says_which_columns_it_has(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "meta.csv").write_text("Image Name,Final Diagnosis\na,nv\nb,mel\n")
    with pytest.raises(
        DataError, match=r"no column of theirs is known as the diagnosis \(meta\.csv has image_name, final"
    ):
        read_collection(str(tmp_path))
    assert len(read_collection(str(tmp_path), columns=["diagnosis=Final Diagnosis"]).table) == 2


def test_labels_that_are_numbers_are_told_with_what_to_give(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.jpg", "label": 0}\n{"file_name": "b.jpg", "label": 1}\n')
    with pytest.raises(DataError, match=r"'0' \(1\), '1' \(1\).*--columns diagnosis=label --taxonomy benign-malignant"):
        read_collection(str(tmp_path))


def test_no_diagnosis_at_all_is_told_with_the_reasons(tmp_path: Path) -> None:
    touch(tmp_path, "UNK/a.jpg", "psoriasis/b.jpg")
    (tmp_path / "meta.csv").write_text("image_id,sex\na,divers\n")
    with pytest.raises(DataError, match=r"only 1 UNK, 1 psoriasis\); meta\.csv: 1 row has a sex"):
        read_collection(str(tmp_path))


def test_two_tables_called_after_splits_give_them_and_one_alone_doesn_t(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "train.csv").write_text("image_id,dx\na,nv\n")
    (tmp_path / "test.csv").write_text("image_id,dx\nb,nv\n")
    assert column(read_collection(str(tmp_path)), "given_split") == ["train", "test"]
    (tmp_path / "train.csv").write_text("image_id,dx\na,nv\nb,nv\n")
    (tmp_path / "test.csv").unlink()
    assert column(read_collection(str(tmp_path)), "given_split") == [None, None]


def test_a_container_whose_images_lie_beside_it_makes_claims_about_them(tmp_path: Path) -> None:
    touch(tmp_path, "nevus/a.jpg", "nevus/b.jpg")
    content = {"image": pa.array([b"x", b"y"], pa.binary()), "image_id": ["a", "b"], "dx": ["mel", "nv"]}
    pq.write_table(pa.table(content), tmp_path / "data.parquet")
    found = rows_by_id(read_collection(str(tmp_path)))
    assert {name: (row["diagnosis"], row["table_diagnosis"]) for name, row in found.items()} == {
        "a": ("nevus", "melanoma"),
        "b": ("nevus", "nevus"),
    }


def test_tables_that_tell_different_lesions_or_ages_of_an_image_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "m1.csv").write_text("image_id,dx,lesion_id,age\na,nv,L1,40\nb,mel,L2,50\n")
    (tmp_path / "m2.csv").write_text("image_id,lesion_id,age\na,l1.0,41\nb,L3,\n")
    found = read_collection(str(tmp_path))
    assert notes_of(found, about="tables tell different") == [
        "tables tell different lesions of 1 image: the first table's count",
        "tables tell different ages of 1 image: the first table's count",
    ]
    assert column(found, "lesion_id") == ["L1", "L2"]


def test_a_table_in_each_folder_is_about_the_files_that_lie_there(tmp_path: Path) -> None:
    for patient, word in (("p1", "nv"), ("p2", "mel")):
        touch(tmp_path, f"{patient}/img0.jpg", f"{patient}/img1.jpg")
        (tmp_path / patient / "img0.jpg").write_bytes(patient.encode())
        (tmp_path / patient / "img1.jpg").write_bytes(2 * patient.encode())
        (tmp_path / patient / "labels.csv").write_text(f"image,dx\nimg0,{word}\nimg1,{word}\n")
    found = read_collection(str(tmp_path))
    assert column(found, "diagnosis") == ["nevus", "nevus", "melanoma", "melanoma"]
    assert (found.num_rows_without_file, found.notes) == (0, ("no split was given",))


def test_a_table_in_a_folder_of_its_own_is_about_all_images(tmp_path: Path) -> None:
    touch(tmp_path, "images/x/a.jpg", "images/y/a.jpg", "images/b.jpg")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "m.csv").write_text("image,dx\nimages/x/a.jpg,nv\ny/a.jpg,mel\nb,bcc\n")
    assert column(read_collection(str(tmp_path)), "diagnosis") == ["basal cell carcinoma", "nevus", "melanoma"]


def test_columns_of_lists_and_structs_are_words_that_nobody_knows(tmp_path: Path) -> None:
    content = {
        "image": pa.array([b"x", b"y"], pa.binary()),
        "dx": ["nv", "mel"],
        "split": [["train"], ["test", "x"]],
        "age": [{"years": 1}] * 2,
    }
    pq.write_table(pa.table(content), tmp_path / "d.parquet")
    found = read_collection(str(tmp_path))
    assert (column(found, "diagnosis"), column(found, "age")) == (["nevus", "melanoma"], [None, None])
    assert len(notes_of(found, about="an age that isn't understood")) == 1
    pq.write_table(
        pa.table({"image": pa.array([b"x", b"y"], pa.binary()), "label": [[0], [0, 1]]}), tmp_path / "d.parquet"
    )
    with pytest.raises(DataError, match=r"diagnosis '\[0\]' is unknown"):
        read_collection(str(tmp_path))


def test_the_only_column_of_bytes_is_the_image_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    bytes_ = pa.array([b"x", b"y"], pa.binary())
    pq.write_table(pa.table({"photo": bytes_, "dx": ["nv", "mel"]}), path)
    assert column(read_collection(str(tmp_path)), "diagnosis") == ["nevus", "melanoma"]
    pq.write_table(pa.table({"photo": bytes_, "sketch": bytes_, "dx": ["nv", "mel"]}), path)
    with pytest.raises(DataError, match=r"several columns of bytes \(photo, sketch\)"):
        read_collection(str(tmp_path))
