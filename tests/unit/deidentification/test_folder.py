"""Copies name nobody, show the same pixels, and stand for what they are copies of."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate_extended
from pydicom.pixels.utils import pixel_array

from jobs.deidentify import DeidentifyArguments, main
from melanoma_ray import storage
from melanoma_ray.config import ImageConfig
from melanoma_ray.deidentification.folder import BURNT_IN, NO_DICOM, copy_folder, copy_image, read_secret
from melanoma_ray.deidentification.profile import Profile
from melanoma_ray.errors import ConfigError, DataError, DecodeError, StorageError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.imaging.dicom import read_image
from melanoma_ray.sources.unlabelled import list_images
from tests.unit.imaging.dicom_files import INSTANCE, NAME, STUDY, save, wrap_jpeg, write_dicom, write_header_only
from tests.unit.imaging.files import draw_picture, encode

PICTURE = draw_picture()
CONFIG = ImageConfig(side=2048)
PROFILE = Profile(secret=b"0123456789abcdef")
PYDICOM_FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
TELLING = [*NAME.encode().split(b"^"), b"P-17", b"19610203", b"20260401", STUDY.encode() + b"\0", INSTANCE.encode()]


def show(encoded: bytes) -> np.ndarray:
    return decode_image(encoded, CONFIG).whole


@pytest.mark.parametrize(
    "encoded",
    [
        write_dicom(PICTURE, BurnedInAnnotation="NO"),
        write_dicom(PICTURE, syntax=uid.ImplicitVRLittleEndian),
        write_dicom(PICTURE, syntax=uid.JPEG2000Lossless),
        write_dicom(PICTURE, syntax=uid.RLELossless),
        write_dicom(PICTURE, syntax=uid.JPEGLSLossless),
        wrap_jpeg(encode(PICTURE, quality=90, comment=NAME.encode())),
    ],
    ids=["explicit", "implicit", "jpeg2000", "rle", "jpegls", "jpeg"],
)
def test_a_copy_shows_the_same_pixels_and_names_nobody(encoded: bytes, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    leading = b"Mustermann" + encoded[10:]  # a preamble may have anything
    (tmp_path / "images" / "Mustermann.dcm").write_bytes(leading)
    copied = copy_folder(str(tmp_path / "images"), str(tmp_path / "copies"), PROFILE)
    assert (copied.num_copied, copied.left_out) == (1, {})
    (file,) = (tmp_path / "copies").iterdir()
    content = file.read_bytes()
    assert not [word for word in TELLING if word in content]
    assert b"Mustermann" not in content
    np.testing.assert_array_equal(show(content), show(encoded))
    assert file.stem == pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID


def test_what_can_t_be_copied_safely_is_counted_and_not_copied(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.dcm").write_bytes(write_dicom(PICTURE, BurnedInAnnotation="YES"))
    (images / "b.jpg").write_bytes(encode(PICTURE))
    (images / "c.dcm").write_bytes(write_header_only())
    (images / "d.dcm").write_bytes(write_dicom(PICTURE, RecognizableVisualFeatures="YES"))
    (images / "e.dcm").write_bytes(write_dicom(PICTURE))
    (images / "f.dcm").write_bytes(write_dicom(PICTURE, Rows=[96, 96]))
    (images / "notes.txt").write_text(NAME)
    copied = copy_folder(str(images), str(tmp_path / "copies"), PROFILE)
    assert (copied.num_copied, copied.num_unsure, copied.num_recognizable) == (1, 1, 1)
    assert copied.left_out[BURNT_IN] == copied.left_out[NO_DICOM] == 1
    assert sum(copied.left_out.values()) == 6
    assert any("no whole number as Rows" in reason for reason in copied.left_out)


def test_patients_and_studies_stay_together_in_a_later_run_with_the_same_secret(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / f"images{number}"
        folder.mkdir()
        (folder / "a.dcm").write_bytes(write_dicom(PICTURE, SOPInstanceUID=f"1.2.{number}"))
        copy_folder(str(folder), str(tmp_path / f"copies{number}"), PROFILE)
    found = [list_images(str(tmp_path / f"copies{number}")).images.iloc[0] for number in (1, 2)]
    assert found[0]["patient_id"] == found[1]["patient_id"] != "P-17"
    assert found[0]["image_id"] != found[1]["image_id"]


def test_the_table_leads_back_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").write_bytes(write_dicom(PICTURE))
    table = tmp_path / "table.csv"
    copy_folder(str(tmp_path / "images"), str(tmp_path / "copies"), PROFILE, str(table))
    (row,) = csv.DictReader(table.open())
    assert row["path"].endswith("images/a.dcm")
    assert (tmp_path / "copies" / row["copy"]).exists()
    assert table.stat().st_mode & 0o77 == 0


def test_a_table_elsewhere_than_on_a_disk_has_all_rows_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "images" / f"{number}.dcm").write_bytes(write_dicom(PICTURE, SOPInstanceUID=f"1.2.{number}"))
    copy_folder(str(tmp_path / "images"), str(tmp_path / "copies"), PROFILE, f"file://{tmp_path}/table.csv")
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert {row["copy"] for row in rows} == {file.name for file in (tmp_path / "copies").iterdir()}
    assert len(rows) == 3


def test_nothing_is_copied_where_the_table_can_t_be_written_or_would_replace_another(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").write_bytes(write_dicom(PICTURE))
    (tmp_path / "other.csv").write_text("path,copy\n")
    (tmp_path / "file").write_text("")
    for table in (tmp_path / "images", tmp_path / "other.csv", tmp_path / "file" / "table.csv"):
        with pytest.raises(DataError):
            copy_folder(str(tmp_path / "images"), str(tmp_path / "copies"), PROFILE, str(table))
    assert not (tmp_path / "copies").exists()
    assert (tmp_path / "other.csv").read_text() == "path,copy\n"


def test_a_copy_that_can_t_be_written_is_in_the_table_with_all_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    for number in (1, 2):
        (tmp_path / "images" / f"{number}.dcm").write_bytes(write_dicom(PICTURE, SOPInstanceUID=f"1.2.{number}"))
    write, written = storage.write_bytes, []

    def write_one(uri: str, content: bytes, **options: bool) -> None:
        written.append(uri)
        if len(written) > 2:
            msg = "the disk is full"
            raise StorageError(msg)
        write(uri, content, **options)

    monkeypatch.setattr(storage, "write_bytes", write_one)
    with pytest.raises(StorageError, match="full"):
        copy_folder(str(tmp_path / "images"), str(tmp_path / "copies"), PROFILE, str(tmp_path / "table.csv"))
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert {file.name for file in (tmp_path / "copies").iterdir()} < {row["copy"] for row in rows}


@pytest.mark.parametrize("instance", ["", None])
def test_an_image_without_a_uid_gets_one(instance: str | None, tmp_path: Path) -> None:
    header = pydicom.dcmread(io.BytesIO(write_dicom(PICTURE)))
    header.SOPInstanceUID = instance
    if instance is None:
        del header.SOPInstanceUID, header.SOPClassUID
    (tmp_path / "images").mkdir()
    header.save_as(tmp_path / "images" / "a.dcm")
    for name in ("first", "second"):
        assert copy_folder(str(tmp_path / "images"), str(tmp_path / name), PROFILE).num_copied == 1
    (first,), (second,) = ((tmp_path / name).iterdir() for name in ("first", "second"))
    assert first.name == second.name
    assert pydicom.dcmread(first).SOPInstanceUID == first.stem
    np.testing.assert_array_equal(show(first.read_bytes()), PICTURE)


def copy_one(encoded: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(copy_image(read_image(encoded, CONFIG.max_bytes), PROFILE)))


def test_bytes_behind_uncompressed_samples_and_offsets_of_frames_go() -> None:
    trailing = write_dicom(PICTURE, PixelData=PICTURE.tobytes() + b"MUSTERMANN")
    assert copy_one(trailing).PixelData == PICTURE.tobytes()
    header = pydicom.dcmread(io.BytesIO(wrap_jpeg(encode(PICTURE, quality=90, comment=b"MUSTERMANN"))))
    frame = pydicom.encaps.get_frame(header.PixelData, 0, number_of_frames=1)
    header.PixelData, header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths = encapsulate_extended([frame])
    found = copy_one(save(header))
    assert "ExtendedOffsetTable" not in found
    assert "ExtendedOffsetTableLengths" not in found
    np.testing.assert_array_equal(show(save(found)), show(save(header)))


@pytest.mark.parametrize("file", PYDICOM_FILES, ids=lambda file: file.stem)
def test_copies_of_pydicom_s_own_files_have_the_same_samples(file: Path) -> None:
    encoded = file.read_bytes()
    try:
        shown = show(encoded)
    except DecodeError:
        pytest.skip("it isn't read as an image")
    copied = copy_image(read_image(encoded, CONFIG.max_bytes), PROFILE)
    np.testing.assert_array_equal(show(copied), shown)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = pydicom.dcmread(io.BytesIO(copied)), pydicom.dcmread(file)
        np.testing.assert_array_equal(pixel_array(found, index=0), pixel_array(expected, index=0))


def test_the_age_on_the_day_of_the_study_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").write_bytes(write_dicom(PICTURE))
    profile = Profile(secret=PROFILE.secret, keeps_characteristics=True)
    copy_folder(str(tmp_path / "images"), str(tmp_path / "copies"), profile)
    row = list_images(str(tmp_path / "copies")).images.iloc[0]
    assert (row["age"], row["sex"]) == (65.0, "female")


def test_the_job_refuses_what_would_mix_copies_and_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").write_bytes(write_dicom(PICTURE))
    images, copies = str(tmp_path / "images"), str(tmp_path / "copies")
    with pytest.raises(ConfigError, match="lies in"):
        DeidentifyArguments(images=images, output=f"{images}/copies")
    with pytest.raises(ConfigError, match="lies in"):
        DeidentifyArguments(images=images, output=copies, table=f"{copies}/table.csv")
    (tmp_path / "link").symlink_to(images)
    with pytest.raises(ConfigError, match="lies in"):
        DeidentifyArguments(images=images, output=f"{tmp_path}/link/copies")
    assert main(DeidentifyArguments(images=images, output=copies)).num_copied == 1
    with pytest.raises(DataError, match="has files already"):
        main(DeidentifyArguments(images=images, output=copies))


def test_a_secret_is_long_enough_or_new(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"1234")
    with pytest.raises(ConfigError, match="4 bytes: expected 16 or more"):
        read_secret(str(tmp_path / "short"))
    with pytest.raises(ConfigError, match="can't be read"):
        read_secret(str(tmp_path / "none"))
    assert read_secret(None) != read_secret(None)
