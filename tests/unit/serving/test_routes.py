"""What a caller sees of a fault of ours."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from melanoma_ray.access.keys import KeyStore
from melanoma_ray.access.tokens import TokenVerifier
from melanoma_ray.api import BatchPrediction, Explanation, ModelCard, Prediction
from melanoma_ray.errors import DecodeError
from melanoma_ray.serving.assessor import current_assessor
from melanoma_ray.serving.limiting import Limiter
from melanoma_ray.serving.negotiation import prefers_json
from melanoma_ray.serving.problems import ProblemError
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
        self.tokens: TokenVerifier | None = None
        self.takes_certificates = False
        self.limiter: Limiter | None = None
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
            max_batch_images=3,
            max_batch_bytes=1000,
            versions={},
        )

    def check_ready(self) -> None:
        """It always is."""

    async def assess(self, upload: Upload, patient: Patient) -> Prediction:
        """Answer as probability the patient's age in centuries; refuse what begins with an x."""
        if upload.encoded.startswith(b"x"):
            raise DecodeError("not_an_image", "it begins with an x")
        if upload.encoded.startswith(b"alert"):
            raise ProblemError("alert-not-kept", "send it again")
        share = (patient.age or 0.0) / 100
        return Prediction(
            image_id=upload.image_id,
            probabilities={"melanoma": share},
            melanoma_probability=share,
            decision="routine",
            decision_threshold=0.5,
            checkpoint_id="0",
            is_synthetic=True,
        )

    async def explain_in_full(self, upload: Upload, patient: Patient, diagnosis: str) -> Explanation:
        return Explanation(
            diagnosis=diagnosis,
            method="Grad-CAM",
            image_side_px=1,
            heat_map="",
            overlay="",
            crop="",
            prediction=await self.assess(upload, patient),
        )

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


def ask_batch(**request: Any) -> Any:  # noqa: ANN401 - what a client takes and gives
    app = build_http()
    app.dependency_overrides[current_assessor] = lambda: EchoAssessor(["melanoma"], ["melanoma"])
    return TestClient(app).post("/v1/predict/batch", **request)


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (f"{number}.jpg", content)) for number, content in enumerate(contents)]


def test_each_image_of_a_batch_is_answered_on_its_own() -> None:
    response = ask_batch(files=files(b"good", b"x", b"alert"), params={"age": 50}, headers={"x-request-id": "abc"})
    assert response.status_code == 200
    answer = BatchPrediction.model_validate_json(response.content)
    good, broken, unkept = answer.items
    assert [item.image_id for item in answer.items] == ["0", "1", "2"]
    assert good.prediction is not None
    assert (good.prediction.melanoma_probability, good.prediction.request_id) == (0.5, "abc")
    assert good.problem is None
    assert broken.prediction is None
    assert broken.problem is not None
    assert (broken.problem.status, broken.problem.type) == (415, "urn:melanoma-ray:problem:not-an-image")
    assert unkept.problem is not None
    assert unkept.problem.status == 503
    assert answer.request_id == "abc"


def test_an_image_of_a_batch_that_is_too_large_costs_the_others_nothing() -> None:
    large, small = ask_batch(files=files(bytes(101), bytes(100))).json()["items"]
    assert large["problem"]["status"] == 413
    assert small["prediction"] is not None


@pytest.mark.parametrize(
    ("request_", "status", "slug"),
    [
        ({"files": files(*[b"a"] * 4)}, 400, "unreadable-form"),
        ({"files": files(bytes(70_000))}, 413, "too-many-bytes"),
        ({"files": [("photo", b"a")]}, 422, "wrong-field"),
        ({"content": b"a"}, 400, "unreadable-form"),
        ({"files": files(b"a"), "params": {"age": "old"}}, 422, "invalid-request"),
    ],
)
def test_a_batch_that_can_t_be_read_is_a_problem(request_: dict[str, Any], status: int, slug: str) -> None:
    response = ask_batch(**request_)
    assert response.status_code == status
    assert response.json()["type"].endswith(f":{slug}")


@pytest.mark.parametrize("given", ["", "a b", "x" * 200, "Z\u00fcrich"])
def test_an_id_that_can_t_stand_in_a_log_is_replaced(given: str) -> None:
    headers = {"x-request-id": given.encode()} if given else {}
    found = ask_batch(files=files(b"a"), headers=headers).json()["request_id"]
    assert found != given
    assert len(found) == 36


def test_a_path_with_a_slash_too_many_leads_to_no_other_host() -> None:
    response = TestClient(build_http()).post("/v1/predict/", content=b"x", headers={"Host": "evil.example"})
    assert response.status_code == 404
    assert "location" not in response.headers


def test_who_accepts_json_gets_the_explanation_and_the_prediction_as_json() -> None:
    app = build_http()
    app.dependency_overrides[current_assessor] = lambda: EchoAssessor(["melanoma"], ["melanoma"])
    headers = {"accept": "application/json", "x-request-id": "abc"}
    response = TestClient(app).post("/v1/explain", content=b"a", headers=headers, params={"age": 20})
    assert response.headers["content-type"] == "application/json"
    answer = Explanation.model_validate_json(response.content)
    assert answer.diagnosis == "melanoma"
    assert (answer.prediction.melanoma_probability, answer.prediction.request_id) == (0.2, "abc")


@pytest.mark.parametrize(
    ("accept", "preferred"),
    [
        ("", "png"),
        ("application/*, image/png;q=0.5", "json"),
        ("image/*;q=0.1, application/json;q=0.2", "json"),
        ("application/json;q=0", "png"),
        ("application/json, image/png", "png"),
        ("application/json;q=high", "png"),
    ],
)
def test_the_kind_of_an_explanation_is_the_one_that_is_wanted_more(accept: str, preferred: str) -> None:
    assert prefers_json(accept) == (preferred == "json")


def test_a_service_that_could_answer_nothing_isn_t_ready() -> None:
    class Full(EchoAssessor):
        def check_ready(self) -> None:
            raise ProblemError("audit-not-kept", "the disk is full")

    app = build_http()
    app.dependency_overrides[current_assessor] = lambda: Full(["melanoma"], ["melanoma"])
    answer = TestClient(app).get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:melanoma-ray:problem:audit-not-kept")
