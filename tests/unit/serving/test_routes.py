"""What a caller sees of a fault of ours."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from melanoma_ray.access.keys import KeyStore
from melanoma_ray.api import ModelCard, Prediction
from melanoma_ray.serving.assessor import current_assessor
from melanoma_ray.serving.routes import build_http
from melanoma_ray.serving.upload import Patient, Upload

PROBLEM_JSON = "application/problem+json"


def test_a_fault_of_ours_is_a_problem_without_internals() -> None:
    """Outside a replica there is no model: as unexpected an error as any."""
    response = TestClient(build_http()).get("/v1/model")
    assert response.status_code == 500
    assert response.headers["content-type"] == PROBLEM_JSON
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "replica" not in response.text.lower()


class EchoAssessor:
    """A model whose explanation is the diagnosis that it was asked for."""

    def __init__(self, diagnoses: list[str], referred: list[str], keys: KeyStore | None = None) -> None:
        self.keys = keys
        self.card = ModelCard(
            checkpoint_id="0",
            network="none",
            diagnoses=diagnoses,
            referred=referred,
            image_side_px=32,
            temperature=1.0,
            decision_threshold=0.5,
            target_sensitivity=0.9,
            out_of_distribution_threshold=0.0,
            data_fingerprint="0",
            is_synthetic=True,
            uses_metadata=False,
            max_image_bytes=100,
            versions={},
        )

    async def assess(self, upload: Upload, patient: Patient) -> Prediction:
        raise NotImplementedError

    async def explain(self, upload: Upload, diagnosis: str) -> bytes:
        return diagnosis.encode() if upload.encoded else b""


def explain(diagnoses: list[str], referred: list[str], asked: str | None) -> tuple[int, str]:
    app = build_http()
    app.dependency_overrides[current_assessor] = lambda: EchoAssessor(diagnoses, referred)
    params = {} if asked is None else {"diagnosis": asked}
    response = TestClient(app).post("/v1/explain", content=b"x", params=params)
    return response.status_code, response.text


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(None, "malignant"), ("benign", "benign"), ("Malignant", "malignant")],
)
def test_a_model_of_two_classes_explains_these(asked: str | None, meant: str) -> None:
    assert explain(["benign", "malignant"], ["malignant"], asked) == (200, meant)


@pytest.mark.parametrize("asked", ["Mole of_mine", "mole-of-mine"])
def test_a_diagnosis_of_a_taxonomy_of_one_s_own_is_explained_in_any_spelling(asked: str) -> None:
    assert explain(["mm", "Mole of mine"], ["mm"], asked) == (200, "Mole of mine")
    assert explain(["mm", "Mole of mine"], ["mm"], None) == (200, "mm")


@pytest.mark.parametrize(("asked", "meant"), [("mel", "melanoma"), ("Melanocytic nevi", "nevus"), (None, "melanoma")])
def test_other_words_for_a_diagnosis_of_the_nine_are_known(asked: str | None, meant: str) -> None:
    assert explain(["melanoma", "nevus"], [], asked) == (200, meant)


@pytest.mark.parametrize("asked", ["melanoma", "wart", None])
def test_a_diagnosis_that_the_model_doesn_t_have_is_refused_with_those_that_it_has(asked: str | None) -> None:
    status, text = explain(["basalioma", "mole"], [], asked)
    assert status in {400, 404, 422}
    assert "expected one of basalioma, mole" in text
