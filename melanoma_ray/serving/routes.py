"""The HTTP interface: its operations and their descriptions at /docs; it reaches the model through ``Assessor``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response

from melanoma_ray import __version__
from melanoma_ray.api import NOTICE, PROBLEM_JSON, ModelCard, Prediction, Problem, Status
from melanoma_ray.diagnoses import MELANOMA, normalize_word, parse_diagnosis
from melanoma_ray.errors import DataError
from melanoma_ray.schema import Sex, Site
from melanoma_ray.serving.assessor import CurrentAssessor, current_assessor
from melanoma_ray.serving.boundary import RequestBoundary
from melanoma_ray.serving.gate import add_login, require
from melanoma_ray.serving.pages import add_pages
from melanoma_ray.serving.problems import ProblemError, add_problem_handlers
from melanoma_ray.serving.upload import FIELD, Patient, read_upload

_BINARY = {"type": "string", "format": "binary"}
_IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"The image itself as the body, or a form with the image in the field {FIELD!r}. "
        "JPEG, PNG, WebP, TIFF or BMP.",
        "content": {
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _BINARY}},
            },
        },
    }
}


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    described = {
        400: "No image, or a form that can't be read",
        413: "Too many bytes or pixels",
        415: "Not an image",
        422: "An image, a form or a parameter that can't be used",
        401: "No key, or one that isn't valid, where the service asks for keys",
        403: "A key that isn't for this",
        503: "The answer makes an alert that can't be kept now: send the image again",
    }
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": described[status], "content": {PROBLEM_JSON: {"schema": schema}}} for status in statuses
    }
    found[429] = {"description": "Too many requests: try again after Retry-After seconds; the body is plain text"}
    return found


async def predict(
    request: Request,
    assessor: CurrentAssessor,
    age: Annotated[float | None, Query(ge=0, le=130, description="Age of the patient, years.")] = None,
    sex: Annotated[Sex | None, Query(description="Sex of the patient.")] = None,
    site: Annotated[Site | None, Query(description="Site of the lesion on the body.")] = None,
) -> Prediction:
    """Return calibrated probabilities and the decision for one image.

    No image is stored; where alerts are set up, an answer that makes one is.

    Age, sex and site may be left out; they are used only by a model whose card has uses_metadata.
    """
    upload = await read_upload(request, max_bytes=assessor.card.max_image_bytes)
    return await assessor.assess(upload, Patient(age=age, sex=sex, site=site))


async def explain(
    request: Request,
    assessor: CurrentAssessor,
    diagnosis: Annotated[
        str | None,
        Query(
            description="Which of the model's diagnoses, as GET /v1/model lists them; by default what it refers for."
        ),
    ] = None,
) -> Response:
    """Return the image as PNG, with the evidence for a diagnosis laid over it (Grad-CAM). Nothing is stored."""
    name = _known_diagnosis(diagnosis, assessor.card)
    upload = await read_upload(request, max_bytes=assessor.card.max_image_bytes)
    return Response(await assessor.explain(upload, name), media_type="image/png")


def _known_diagnosis(diagnosis: str | None, card: ModelCard) -> str:
    """Return one of the model's own diagnoses, which need not be the nine; by default the first that is referred."""
    if diagnosis is None and card.referred:
        return card.referred[0]
    asked = MELANOMA if diagnosis is None else diagnosis
    own = {normalize_word(name): name for name in card.diagnoses}
    found = own.get(normalize_word(asked)) or own.get(normalize_word(_synonym(asked)))
    if found is None:
        msg = f"diagnosis={asked!r}: expected one of {', '.join(card.diagnoses)}"
        raise ProblemError("unknown-diagnosis", msg)
    return found


def _synonym(word: str) -> str:
    """Return one of the nine diagnoses for another word for it; else the word itself."""
    try:
        return parse_diagnosis(word)
    except DataError:
        return word


async def describe_model(assessor: CurrentAssessor) -> ModelCard:
    """Return the description of the model: network, diagnoses, thresholds, data fingerprint, versions."""
    return assessor.card


async def check_health() -> Status:
    """Answer ok as long as the process runs."""
    return Status(status="ok")


async def check_readiness() -> Status:
    """Answer ready once the model is loaded; before that Serve's proxy answers 404 or 503."""
    return Status(status="ready")


class _App(FastAPI):
    """FastAPI whose OpenAPI description also has ``Problem``, the one message that no handler returns."""

    def openapi(self) -> dict[str, Any]:
        """Return the description; FastAPI itself would describe a Problem as plain application/json."""
        description = super().openapi()
        description["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return description


def build_http() -> FastAPI:
    """Build the FastAPI application; the replica calls this when its model is loaded."""
    app = _App(
        title="melanoma_ray",
        version=__version__,
        description=NOTICE,
        docs_url=None,  # FastAPI's own page loads its scripts from a CDN; the one of pages.py works offline
        redoc_url=None,
    )
    may_predict: dict[str, Any] = {"dependencies": [Depends(require("predict"))]}
    may_explain: dict[str, Any] = {"dependencies": [Depends(require("explain"))]}
    asks_image: dict[str, Any] = {"openapi_extra": _IMAGE_BODY, "responses": _failures(400, 401, 403, 413, 415, 422)}
    may_alert = asks_image | may_predict | {"responses": _failures(400, 401, 403, 413, 415, 422, 503)}
    app.post("/v1/predict", summary="Assess an image", response_description="The prediction", **may_alert)(predict)
    png = {200: {"content": {"image/png": {"schema": _BINARY}}, "description": "PNG"}}
    asks_image |= may_explain | {"responses": asks_image["responses"] | png}
    app.post("/v1/explain", summary="Show what the network looked at", response_class=Response, **asks_image)(explain)
    app.get("/v1/model", summary="Describe the model", response_description="Its description", **may_predict)(
        describe_model
    )
    app.get("/healthz", summary="Is the process running?", response_description="Yes")(check_health)
    app.get(
        "/readyz", summary="Is the model loaded?", response_description="Yes", dependencies=[Depends(current_assessor)]
    )(check_readiness)
    add_login(app)
    add_pages(app)
    add_problem_handlers(app)
    app.add_middleware(RequestBoundary)
    return app
