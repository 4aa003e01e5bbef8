"""The pages of a worklist as they are written: pictures, maps, and what an earlier worklist has left."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from melanoma_ray.inference.predictions import tabulate_predictions
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.triage import pages
from melanoma_ray.triage.pages import write_pages
from tests.checkpoints import build_checkpoint

SIDE = 64


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    directory = build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE)
    return Predictor.load(directory, "cpu", runtime="reference")


@pytest.fixture
def answers(predictor: Predictor, tmp_path: Path) -> pd.DataFrame:
    """Answers for five images of noise; the last one can't be read."""
    random = np.random.default_rng(0)
    crops = random.integers(0, 255, (4, SIDE, SIDE, 3), np.uint8)
    paths = [str(tmp_path / f"image{number}.png") for number in range(5)]
    for path, crop in zip(paths, crops, strict=False):
        cv2.imwrite(path, crop)
    names = [Path(path).stem for path in paths]
    errors = [None, None, None, None, "truncated: half of it is missing"]
    table = tabulate_predictions(names, paths, predictor.predict(crops), predictor.manifest.diagnoses, errors)
    unknown = pd.Series([None] * 5, dtype=object)
    frame: pd.DataFrame = table.to_pandas()
    return frame.assign(patient_id=unknown, lesion_id=unknown, copies=unknown, key=names)


def find_pictures(keys: object) -> dict[str, str]:
    return {str(key): thumbnail_data_uri(np.zeros((8, 8, 3), np.uint8)) for key in keys}  # type: ignore[attr-defined]


def decode_jpeg(encoded: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))


def overlays_in(page: str) -> list[str]:
    return re.findall(r'data-overlay="data:image/jpeg;base64,([^"]+)"', page)


def test_the_most_urgent_images_have_their_map_and_the_others_none(
    predictor: Predictor, answers: pd.DataFrame, tmp_path: Path
) -> None:
    address, overlays = write_pages(str(tmp_path), answers, predictor, find_pictures, explain=2)
    page = Path(address).read_text()
    assert overlays.notes == ()
    assert len(overlays.by_path) == 2
    assert page.count('class="thumbnail"') == 4
    shown = [decode_jpeg(base64.b64decode(one)) for one in overlays_in(page)]
    assert [one.shape for one in shown] == [(SIDE, SIDE, 3)] * 2
    assert page.index("data-overlay") < page.index('data-place="3"')
    assert "truncated: half of it is missing" in page
    assert (
        overlays_in(Path(write_pages(str(tmp_path), answers, predictor, find_pictures, explain=0)[0]).read_text()) == []
    )


def test_an_image_that_is_gone_meanwhile_has_no_map_and_ends_nothing(
    predictor: Predictor, answers: pd.DataFrame, tmp_path: Path
) -> None:
    for path in answers["path"][:4]:
        Path(path).unlink()
    address, _ = write_pages(str(tmp_path), answers, predictor, find_pictures, explain=2)
    assert overlays_in(Path(address).read_text()) == []


def test_many_images_fill_several_pages_and_a_shorter_worklist_leaves_none_behind(
    predictor: Predictor, answers: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_ROWS", 2)
    write_pages(str(tmp_path), answers, predictor, find_pictures, explain=0)
    texts = {path.name: path.read_text() for path in tmp_path.glob("worklist*.html")}
    assert sorted(texts) == ["worklist-2.html", "worklist.html"]
    places = [re.findall(r'data-place="(\d)"', texts[name]) for name in ("worklist.html", "worklist-2.html")]
    assert places == [["1", "2"], ["3", "4"]]
    assert len(set(re.findall(r'data-worklist="(\w+)"', "".join(texts.values())))) == 1
    assert ["truncated: half" in texts[name] for name in ("worklist.html", "worklist-2.html")] == [True, False]
    monkeypatch.undo()
    write_pages(str(tmp_path), answers, predictor, find_pictures, explain=0)
    assert [path.name for path in tmp_path.glob("worklist*.html")] == ["worklist.html"]
