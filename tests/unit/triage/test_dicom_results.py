"""Answers about DICOM images become DICOM objects of the same study, which other programs read."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pydicom
import pytest
from highdicom.sr import ComprehensiveSR, MeasurementReport
from PIL import Image
from pydicom.uid import UID

from jobs.formatting import describe_dicom
from melanoma_ray import storage
from melanoma_ray.api import NOTICE
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.inference.predictions import tabulate_predictions
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.triage import dicom_results
from melanoma_ray.triage.dicom_results import DicomResults, write_results
from tests.checkpoints import build_checkpoint
from tests.unit.imaging.dicom_files import (
    INSTANCE,
    NAME,
    SERIES,
    STUDY,
    build_header,
    wrap_jpeg,
    write_dicom,
    write_header_only,
)
from tests.unit.imaging.files import difference, draw_picture, encode

SIDE = 64
PICTURE = draw_picture(96, 96)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE)


@pytest.fixture(scope="module")
def predictor(checkpoint: str) -> Predictor:
    return Predictor.load(checkpoint, "cpu", runtime="reference")


def answer(predictor: Predictor, folder: Path, files: dict[str, bytes]) -> tuple[str, pd.DataFrame]:
    """Write files, answer those that can be read, and return predictions.parquet and its rows."""
    crops: list[np.ndarray] = []
    errors: list[str | None] = []
    for name, encoded in files.items():
        (folder / name).write_bytes(encoded)
        try:
            crops.append(predictor.decode(encoded))
            errors.append(None)
        except DecodeError as error:
            errors.append(str(error))
    predictions = predictor.predict(np.stack(crops))
    paths = [str(folder / name) for name in files]
    table = tabulate_predictions(list(files), paths, predictions, predictor.manifest.diagnoses, errors)
    table = table.append_column("copy_of", pa.array([None] * len(files), pa.string()))
    storage.write_table(str(folder / "predictions.parquet"), table)
    return str(folder / "predictions.parquet"), table.to_pandas()


@pytest.fixture
def written(checkpoint: str, predictor: Predictor, tmp_path: Path) -> tuple[Path, pd.Series]:
    """A report and an overlay of one image, and its row of predictions.parquet."""
    file, rows = answer(predictor, tmp_path, {"a.dcm": wrap_jpeg(encode(PICTURE, quality=95), BurnedInAnnotation="NO")})
    overlays = {str(tmp_path / "a.dcm"): thumbnail_data_uri(PICTURE, SIDE)}
    results = write_results(str(tmp_path / "results"), storage.read_table(file), overlays, checkpoint)
    assert results == DicomResults(directory=str(tmp_path / "results"), num_reports=1, num_overlays=1)
    return tmp_path / "results", rows.iloc[0]


def read_results(folder: Path) -> dict[str, pydicom.Dataset]:
    found = [pydicom.dcmread(file) for file in folder.iterdir()]
    return {str(one.Modality): one for one in found}


def values_of(report: pydicom.Dataset) -> dict[str, Any]:
    """What the items of a report say, by their concepts' meanings."""
    told: dict[str, Any] = {}

    def visit(item: pydicom.Dataset) -> None:
        name = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
        if item.ValueType == "NUM":
            measured = item.MeasuredValueSequence[0]
            told[name] = (float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue)
        elif item.ValueType == "CODE":
            told[name] = item.ConceptCodeSequence[0].CodeMeaning
        elif item.ValueType in {"TEXT", "UIDREF"}:
            told.setdefault(name, item.get("TextValue") or item.get("UID"))
        for child in item.get("ContentSequence", []):
            visit(child)

    visit(report)
    return told


def test_a_report_has_probability_threshold_decision_algorithm_and_notice(
    written: tuple[Path, pd.Series], predictor: Predictor
) -> None:
    folder, row = written
    report = read_results(folder)["SR"]
    told = values_of(report)
    threshold = predictor.manifest.calibration.decision_threshold
    assert told["Probability of melanoma, calibrated"] == (pytest.approx(row["melanoma_probability"], abs=1e-6), "1")
    assert told["Decision threshold"] == (pytest.approx(threshold, abs=1e-6), "1")
    assert told["Decision"].startswith(
        {"refer": "Refer", "routine": "Routine", "unassessable": "Can't"}[row["decision"]]
    )
    assert told["Algorithm Name"] == "melanoma_ray"
    assert predictor.checkpoint_id in told["Algorithm Version"]
    assert told["Device Observer Serial Number"] == predictor.checkpoint_id
    assert told["Comment"].startswith(NOTICE)
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )


def test_a_report_belongs_to_its_image_s_study_and_patient_and_refers_to_it(written: tuple[Path, pd.Series]) -> None:
    report = read_results(written[0])["SR"]
    assert (report.StudyInstanceUID, report.PatientID, report.PatientName) == (STUDY, "P-17", NAME)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (series.SeriesInstanceUID, series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == (SERIES, INSTANCE)
    assert report.SeriesInstanceUID != SERIES


def test_highdicom_reads_the_report_as_a_measurement_report(written: tuple[Path, pd.Series]) -> None:
    report = ComprehensiveSR.from_dataset(read_results(written[0])["SR"])
    assert isinstance(report.content, MeasurementReport)
    (group,) = report.content.get_image_measurement_groups()
    assert len(group.get_measurements()) == 2
    assert len(group.get_qualitative_evaluations()) == 1


def test_an_overlay_is_a_derived_image_of_the_same_study(written: tuple[Path, pd.Series]) -> None:
    overlay = read_results(written[0])["OT"]
    assert (overlay.StudyInstanceUID, overlay.PatientID, list(overlay.ImageType)[:2]) == (
        STUDY,
        "P-17",
        ["DERIVED", "SECONDARY"],
    )
    assert overlay.SourceImageSequence[0].ReferencedSOPInstanceUID == INSTANCE
    assert overlay.ImageComments.startswith(NOTICE)
    small = cv2.resize(PICTURE, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert difference(overlay.pixel_array, small) < 4


def test_an_overlay_is_read_again_as_an_image(written: tuple[Path, pd.Series], predictor: Predictor) -> None:
    file = next(file for file in written[0].iterdir() if pydicom.dcmread(file).Modality == "OT")
    assert decode_image(file.read_bytes(), predictor.image).width == SIDE


def test_a_second_run_has_the_same_objects_and_leaves_them(
    written: tuple[Path, pd.Series], checkpoint: str, tmp_path: Path
) -> None:
    folder, _ = written
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    overlays = {str(tmp_path / "a.dcm"): thumbnail_data_uri(PICTURE, SIDE)}
    write_results(str(folder), storage.read_table(str(tmp_path / "predictions.parquet")), overlays, checkpoint)
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before
    write_results(
        str(tmp_path / "elsewhere"), storage.read_table(str(tmp_path / "predictions.parquet")), overlays, checkpoint
    )
    assert {file.name for file in (tmp_path / "elsewhere").iterdir()} == set(before)


def test_another_checkpoint_s_answer_is_another_object_of_another_series(
    written: tuple[Path, pd.Series], tmp_path: Path
) -> None:
    other = build_checkpoint(str(tmp_path / "other"), side=SIDE, temperature=2.5)
    write_results(str(tmp_path / "theirs"), storage.read_table(str(tmp_path / "predictions.parquet")), {}, other)
    ours, theirs = read_results(written[0])["SR"], read_results(tmp_path / "theirs")["SR"]
    assert ours.SOPInstanceUID != theirs.SOPInstanceUID
    assert ours.SeriesInstanceUID != theirs.SeriesInstanceUID


def test_only_dicom_images_with_an_answer_and_a_study_have_a_report(
    checkpoint: str, predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        "a.jpg": encode(PICTURE),
        "b": write_dicom(PICTURE, SOPInstanceUID="1.2.3.4"),
        "c.dcm": write_header_only(SOPInstanceUID="1.2.3.5"),
        "d.dcm": write_dicom(PICTURE, StudyInstanceUID="", SOPInstanceUID="1.2.3.6"),
        "e.dcm": write_dicom(PICTURE, SOPInstanceUID="1.2.3.7", PatientSex="UNKNOWN", StudyDate="Mustermann"),
        "g.dcm": write_dicom(PICTURE, SOPInstanceUID="1.2.3.9", StudyTime="14:04:38", Modality=None),
        "f.dcm": write_dicom(PICTURE, syntax="1.2.840.10008.1.2", SOPInstanceUID="1.2.3.8", AccessionNumber=None),
    }
    file, _ = answer(predictor, tmp_path, files)
    found = write_results(str(tmp_path / "results"), storage.read_table(file), {}, checkpoint)
    assert (found.num_reports, found.num_overlays, found.num_without) == (4, 0, 2)
    assert found.without == {"no answer": 1, "no Study Instance UID": 1}
    assert describe_dicom(found).endswith("2 DICOM images have no report: 1 no answer, 1 no Study Instance UID")
    assert not caplog.text  # neither a value of a header, nor that one couldn't be made sense of


def write_all(
    checkpoint: str, predictor: Predictor, folder: Path, files: dict[str, bytes]
) -> tuple[DicomResults, list[pydicom.Dataset]]:
    """Write report and overlay of each file, and return them."""
    file, _ = answer(predictor, folder, files)
    overlays = {str(folder / name): thumbnail_data_uri(PICTURE, SIDE) for name in files}
    found = write_results(str(folder / "results"), storage.read_table(file), overlays, checkpoint)
    return found, [pydicom.dcmread(one) for one in (folder / "results").glob("*.dcm")]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("character_set", "name", "stored"),
    [
        ("ISO_IR 192", "王^小东", None),
        ("GB18030", "王^小东", None),
        ("ISO_IR 144", "Люкceмбypг", None),
        ("ISO_IR 101", "Wałęsa", None),
        ("ISO_IR 100", "Änne", None),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", None),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", None),
        (["ISO_IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", None),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", None),
        (["", "ISO 2022 IR 58"], "Zhang=张", b"Zhang=\x1b$)A\xd5\xc5"),
        ("ISO-IR 100", "Müller", None),
        ("ISO_IR_192", "Müller", None),
        ("ISO_IR 999", "Müller", b"M\xfcller"),
        (None, "Smith^John", None),
    ],
)
def test_report_and_overlay_have_the_image_s_name_whatever_its_character_set(
    character_set: str | list[str] | None,
    name: str,
    stored: bytes | None,
    checkpoint: str,
    predictor: Predictor,
    tmp_path: Path,
) -> None:
    attributes: dict[str, Any] = {} if character_set is None else {"SpecificCharacterSet": character_set}
    image = write_dicom(PICTURE, **attributes, PatientName=stored or name)
    _, objects = write_all(checkpoint, predictor, tmp_path, {"a.dcm": image})
    assert {(one.Modality, str(one.PatientName), one.SpecificCharacterSet) for one in objects} == {
        ("SR", name, "ISO_IR 192"),
        ("OT", name, "ISO_IR 192"),
    }


def test_texts_within_sequences_are_decoded_too(checkpoint: str, predictor: Predictor, tmp_path: Path) -> None:
    other = pydicom.Dataset()
    other.PatientID, other.IssuerOfPatientID = "P-18", "Łódź"
    image = write_dicom(PICTURE, SpecificCharacterSet="ISO_IR 101", OtherPatientIDsSequence=[other])
    _, objects = write_all(checkpoint, predictor, tmp_path, {"a.dcm": image})
    assert [one.OtherPatientIDsSequence[0].IssuerOfPatientID for one in objects] == ["Łódź", "Łódź"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"StudyInstanceUID": ["1.2.3", "1.2.4"]}, "a Study Instance UID of 2 values, where 1 is allowed"),
        ({"SOPInstanceUID": "1.2.3 bad uid!"}, "an SOP Instance UID of 14 letters that is none"),
        ({"SeriesInstanceUID": "1." * 33 + "1"}, "a Series Instance UID of 67 letters that is none"),
        ({"SOPClassUID": None}, "no SOP Class UID"),
    ],
)
def test_an_image_that_nothing_can_refer_to_has_no_report_and_the_reason_names_no_identifier(
    attributes: dict[str, Any], reason: str, checkpoint: str, predictor: Predictor, tmp_path: Path
) -> None:
    header = pydicom.dcmread(io.BytesIO(write_dicom(PICTURE)))
    for name, value in attributes.items():
        header[name].value = value
    encoded = io.BytesIO()
    header.save_as(encoded)
    found, objects = write_all(checkpoint, predictor, tmp_path, {"a.dcm": encoded.getvalue()})
    ((told, number),) = found.without.items()
    assert (told.startswith(reason), number, objects) == (True, 1, [])
    assert "bad uid" not in told


def test_values_that_break_the_standard_stay_away(checkpoint: str, predictor: Predictor, tmp_path: Path) -> None:
    image = write_dicom(
        PICTURE,
        PatientID=["P-17", "P-18"],
        PatientAge="64",
        PatientWeight="65",
        ReferencedStudySequence=[build_header(ReferencedSOPInstanceUID="1.2.3 bad uid!")],
    ).replace(b"DS\x02\x0065", b"DS\x02\x00xx")
    _, objects = write_all(checkpoint, predictor, tmp_path, {"a.dcm": image})
    assert len(objects) == 2
    for one in objects:
        assert (one.PatientID, one.PatientName) == ("", NAME)
        assert not [name for name in ("PatientAge", "PatientWeight", "ReferencedStudySequence") if name in one]


def test_a_class_that_no_report_can_refer_to_is_told(checkpoint: str, predictor: Predictor, tmp_path: Path) -> None:
    retired = UID("1.2.840.10008.5.1.4.1.1.6")
    assert retired.is_retired
    files = {"a.dcm": write_dicom(PICTURE, SOPClassUID="1.2.3.4"), "b.dcm": write_dicom(PICTURE, SOPClassUID=retired)}
    found, objects = write_all(checkpoint, predictor, tmp_path, files)
    assert found.without == {
        "an SOP Class UID that the standard doesn't have": 1,
        "an SOP Class UID that is of no image of today's standard": 1,
    }
    assert not objects


def test_an_unforeseen_error_is_told_without_what_the_header_has(
    checkpoint: str, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: pydicom.Dataset, *_: object) -> None:
        msg = f"can't take {source.PatientName!s} where it may not be"
        raise ValueError(msg)

    monkeypatch.setattr(dicom_results, "build_report", fail)
    image = write_dicom(PICTURE, SeriesNumber="65").replace(b"IS\x02\x0065", b"IS\x02\x00xx")  # it can't be read
    found, _ = write_all(checkpoint, predictor, tmp_path, {"a.dcm": image})
    assert found.without == {"a header that can't be taken over (ValueError: can't take …^… where it may not be)": 1}


def test_a_long_header_and_another_format_s_ending_lose_no_report(
    checkpoint: str, predictor: Predictor, tmp_path: Path
) -> None:
    header = pydicom.dcmread(io.BytesIO(write_dicom(PICTURE)))
    header.private_block(0x0009, "MAKER", create=True).add_new(1, "OB", bytes(400_000))
    encoded = io.BytesIO()
    header.save_as(encoded)
    other = write_dicom(PICTURE, SOPInstanceUID="1.2.3.5")
    found, objects = write_all(checkpoint, predictor, tmp_path, {"a.dcm": encoded.getvalue(), "b.jpg": other})
    assert (found.num_reports, found.num_overlays, found.without) == (2, 2, {})
    assert {str(one.PatientName) for one in objects} == {NAME}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_of_an_image_is_logged_when_its_objects_are_written(
    checkpoint: str, predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write_all(checkpoint, predictor, tmp_path, {"a.dcm": write_dicom(PICTURE, PatientName="Mustermann Erika, Dr.")})
    assert INSTANCE not in caplog.text
    assert "Mustermann" not in caplog.text


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk isn't installed: apt-get install dcmtk")
def test_dcmtk_reads_what_is_written(written: tuple[Path, pd.Series], tmp_path: Path) -> None:
    for file in written[0].iterdir():
        if pydicom.dcmread(file).Modality == "SR":
            shown = subprocess.run(["dsrdump", str(file)], capture_output=True, text=True, check=True)
            assert "Probability of melanoma" in shown.stdout
            assert "Comprehensive SR" in shown.stdout
            assert not [line for line in shown.stderr.splitlines() if line.startswith(("E:", "F:"))]
        else:
            command = shutil.which("dcm2img") or shutil.which("dcmj2pnm") or ""
            image = tmp_path / "shown.ppm"
            subprocess.run([command, "+op", str(file), str(image)], capture_output=True, check=True)
            assert Image.open(image).size == (SIDE, SIDE)
