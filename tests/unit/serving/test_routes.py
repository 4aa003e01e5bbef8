"""What a caller sees of a fault of ours."""

from __future__ import annotations

from fastapi.testclient import TestClient

from melanoma_ray.serving.routes import build_http

PROBLEM_JSON = "application/problem+json"


def test_a_fault_of_ours_is_a_problem_without_internals() -> None:
    """Outside a replica there is no model: as unexpected an error as any."""
    response = TestClient(build_http()).get("/v1/model")
    assert response.status_code == 500
    assert response.headers["content-type"] == PROBLEM_JSON
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "replica" not in response.text.lower()
