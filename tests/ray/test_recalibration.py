"""A model recalibrated on a part of a clinic's images is evaluated on the rest alone, and its weights are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from melanoma_ray.config import PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.documents.report import Options, evaluate
from melanoma_ray.errors import ConfigError
from melanoma_ray.evaluation.recalibration import recalibrate
from melanoma_ray.evaluation.subject import open_subject
from melanoma_ray.model.checkpoint import read_known, read_manifest, read_weights
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.sources.layouts import read_collection
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE


@pytest.fixture(scope="module")
def local(collection: str, prepared: str, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    config = PrepareConfig(image=open_dataset(prepared).info.config.image, split=SplitConfig(method="all-test"))
    output = str(tmp_path_factory.mktemp("local") / "data")
    prepare(read_collection(collection), output, config)
    return open_dataset(output)


def test_all_images_are_the_test_split(local: PreparedDataset) -> None:
    assert set(local.index["split"]) == {"test"}


def test_a_part_of_whole_groups_is_fitted_on_and_the_rest_is_evaluated(local: PreparedDataset, tmp_path: Path) -> None:
    parent = build_checkpoint(str(tmp_path / "parent"), side=SIDE)
    subject = open_subject(parent, local, split="test", known_images="leave-out")
    fitted = recalibrate(subject, str(tmp_path / "new"), fraction=0.4)
    manifest = read_manifest(str(tmp_path / "new"))
    assert manifest.parent == subject.predictor.checkpoint_id
    assert manifest.calibration == fitted
    assert fitted.temperature != read_manifest(parent).calibration.temperature
    for before, after in zip(
        read_weights(parent, read_manifest(parent)), read_weights(str(tmp_path / "new"), manifest), strict=True
    ):
        assert all(bool((before[name] == after[name]).all()) for name in before)
    known = read_known(str(tmp_path / "new"), manifest)
    assert known is not None
    assert set(known.column("use").to_pylist()) == {"calibrated"}
    assert 0.25 < known.num_rows / len(local.index) < 0.55
    with pytest.raises(ConfigError, match=f"was calibrated on {known.num_rows} "):
        evaluate(str(tmp_path / "new"), local.uri, str(tmp_path / "refused"), split="test")
    options = Options(known_images="leave-out", compare=parent)
    report = evaluate(str(tmp_path / "new"), local.uri, str(tmp_path / "report"), split="test", options=options)
    assert report["figures"]["num_images"] == len(local.index) - known.num_rows
    assert report["comparison"]["num_images"] == report["figures"]["num_images"]
    assert report["comparison"]["other"]["checkpoint_id"] == manifest.parent
    assert np.isclose(report["comparison"]["auroc"]["second"], report["figures"]["melanoma_auroc"]["value"])
    assert f"{manifest.parent} recalibrated" in (tmp_path / "report" / "report.html").read_text()
    card = (tmp_path / "report" / "model_card.md").read_text()
    (updated,) = (line for line in card.splitlines() if line.startswith("| 24 |"))
    assert updated.count("difference") == updated.count("(") == 2
    assert "Images of one source; no reader study" in card
