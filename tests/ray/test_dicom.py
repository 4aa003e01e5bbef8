"""DICOM images through preparation and prediction, on a real Ray, and back as DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pydicom
import pytest

from jobs.predict import PredictArguments
from melanoma_ray.config import ImageConfig, PrepareConfig
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.batch import triage
from melanoma_ray.triage.dicom_results import write_results
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE
from tests.unit.imaging.dicom_files import NAME, wrap_jpeg, write_header_only
from tests.unit.imaging.files import draw_picture, encode

NUM_IMAGES = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same pictures as JPEG and as DICOM, by diagnosis, two of each patient."""
    plain, wrapped = (tmp_path_factory.mktemp(name) for name in ("plain", "wrapped"))
    for number in range(NUM_IMAGES):
        encoded = encode(draw_picture(90, 120, seed=number), quality=90)
        header = {"SOPInstanceUID": f"1.2.826.{number + 1}", "PatientID": f"P-{number // 2}", "PatientAge": "050Y"}
        diagnosis = "melanoma" if number % 2 else "nevus"
        for folder, name, content in (
            (plain, f"{number}.jpg", encoded),
            (wrapped, f"{number}.dcm", wrap_jpeg(encoded, BurnedInAnnotation="YES" if number == 3 else "NO", **header)),
        ):
            (folder / diagnosis).mkdir(exist_ok=True)
            (folder / diagnosis / name).write_bytes(content)
    (wrapped / "nevus" / "report.dcm").write_bytes(write_header_only())
    return plain, wrapped


def test_prepared_dicom_has_the_pixels_of_the_jpegs_and_keeps_patients_together(
    local_ray: None, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    config = PrepareConfig(image=ImageConfig(side=SIDE))
    indexes = []
    for number, folder in enumerate(folders):
        prepare(read_collection(str(folder)), str(tmp_path / str(number)), config)
        dataset = open_dataset(str(tmp_path / str(number)))
        indexes.append(dataset.index.sort_values("image_id").set_index("image_id"))
    plain, wrapped = indexes
    assert dict(plain["content_sha256"]) == dict(wrapped["content_sha256"])
    assert set(wrapped["age"]) == {50.0}
    assert wrapped["patient_id"].nunique() == NUM_IMAGES // 2
    assert (wrapped.groupby("patient_id")["split"].nunique() == 1).all()
    quarantine = pd.read_parquet(tmp_path / "1" / "quarantine.parquet")
    assert list(quarantine["fault"]) == ["not_an_image"]


def test_predicted_dicom_has_the_jpegs_answers_a_warning_and_reports(
    local_ray: None, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "checkpoint"), side=SIDE)
    results = [
        triage(checkpoint, list_images(str(folder)), str(tmp_path / folder.name), explain=2) for folder in folders
    ]
    plain, wrapped = (pd.read_parquet(result.predictions).set_index("image_id").sort_index() for result in results)
    assert str(wrapped.loc["report", "error"]).startswith("not_an_image: ")
    answered = wrapped.drop(index="report")
    np.testing.assert_allclose(answered["melanoma_probability"], plain["melanoma_probability"], atol=1e-6)
    assert [name for name, told in answered["warnings"].items() if "burnt-in text" in told] == ["3"]
    written = write_results(
        str(tmp_path / "results"), pq.read_table(results[1].predictions), results[1].overlays, checkpoint
    )
    assert (written.num_reports, written.num_overlays, written.num_without) == (NUM_IMAGES, 2, 1)
    files = list((tmp_path / "results").iterdir())
    assert len(files) == NUM_IMAGES + 2
    assert {pydicom.dcmread(file).PatientID for file in files} == {f"P-{number // 2}" for number in range(NUM_IMAGES)}
    page = Path(results[1].worklist).read_text()
    assert not any(word in page for word in NAME.split("^"))


def test_results_may_not_lie_among_the_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the folder of the images"):
        PredictArguments(checkpoint="c", images=str(tmp_path), output="o", dicom_results=str(tmp_path / "results"))
