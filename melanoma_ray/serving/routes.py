"""The HTTP interface: its operations and their descriptions at /docs; it reaches the model through ``Assessor``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response

from melanoma_ray import __version__
from melanoma_ray.api import (
    NOTICE,
    PROBLEM_JSON,
    BatchItem,
    BatchPrediction,
    Explanation,
    ModelCard,
    Prediction,
    Problem,
    Status,
)
from melanoma_ray.diagnoses import MELANOMA, normalize_word, parse_diagnosis
from melanoma_ray.errors import DataError, DecodeError
from melanoma_ray.schema import Sex, Site
from melanoma_ray.serving.assessor import Assessor, CurrentAssessor
from melanoma_ray.serving.boundary import RequestBoundary
from melanoma_ray.serving.facts import current_facts
from melanoma_ray.serving.gate import add_login, require
from melanoma_ray.serving.metrics import meter
from melanoma_ray.serving.negotiation import prefers_json
from melanoma_ray.serving.pages import add_pages
from melanoma_ray.serving.problems import ProblemError, add_problem_handlers, describe_error
from melanoma_ray.serving.upload import FIELD, MAX_BATCH_IMAGES, Patient, Upload, check_size, read_upload, read_uploads

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


_BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"A form with at most {MAX_BATCH_IMAGES} images, each a file in a field {FIELD!r} of its own.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "array", "items": _BINARY}},
                }
            }
        },
    }
}
_IMAGES_AT_A_TIME = 4
"""Images of a batch that are assessed at a time: enough for all threads, and few enough for others to have a turn."""


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    described = {
        400: "No image, or a form that can't be read",
        413: "Too many bytes or pixels",
        415: "Not an image",
        422: "An image, a form or a parameter that can't be used",
        408: "A body that comes too slowly, or an answer that took too long",
        401: "No key, or one that isn't valid, where the service asks for keys",
        403: "A key that isn't for this",
        503: "No replica is there, or the keys can't be read, or the answer can't be kept in the audit log or as an "
        "alert: send the request again",
    }
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": described[status], "content": {PROBLEM_JSON: {"schema": schema}}} for status in statuses
    }
    found[429] = {
        "description": "Too many requests of this key, or the service is full: try again after Retry-After seconds",
        "content": {PROBLEM_JSON: {"schema": schema}},
    }
    return found


async def _read_patient(
    age: Annotated[float | None, Query(ge=0, le=130, description="Age of the patient, years.")] = None,
    sex: Annotated[Sex | None, Query(description="Sex of the patient.")] = None,
    site: Annotated[Site | None, Query(description="Site of the lesion on the body.")] = None,
) -> Patient:
    return Patient(age=age, sex=sex, site=site)


def _only(*names: str) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that refuses a misspelt parameter, or one given twice: else nobody would hear of it."""

    async def check(request: Request) -> None:
        for name, _ in request.query_params.multi_items():
            if name not in names:
                msg = f"{name[:40]!r} is no parameter of {request.url.path}: expected {', '.join(names)}"
                raise ProblemError("invalid-request", msg)
            if len(given := request.query_params.getlist(name)) > 1:
                raise ProblemError("invalid-request", f"{name} is given {len(given)} times: give it once")

    return check


OfPatient = Annotated[Patient, Depends(_read_patient)]


async def predict(request: Request, assessor: CurrentAssessor, patient: OfPatient) -> Prediction:
    """Return calibrated probabilities and the decision for one image.

    No image is stored; where alerts are set up, an answer that makes one is.

    Age, sex and site may be left out; they are used only by a model whose card has uses_metadata.
    """
    with meter().time("receive"):
        upload = await read_upload(request, max_bytes=assessor.card.max_image_bytes)
    return await _assess(assessor, upload, patient)


async def predict_batch(request: Request, assessor: CurrentAssessor, patient: OfPatient) -> BatchPrediction:
    """Return the prediction, or the problem, of each image of a form.

    One image that can't be used changes nothing for the others: its item has a problem, as POST /v1/predict would
    answer it. Age, sex and site are those of all images. No image is stored.
    """
    card = assessor.card
    most_bytes = card.max_batch_bytes or card.max_image_bytes
    with meter().time("receive"):
        uploads = await read_uploads(request, max_images=card.max_batch_images, max_bytes=most_bytes)
    facts = current_facts()
    if assessor.limiter is not None and facts.caller is not None:
        assessor.limiter.charge(facts.caller, len(uploads) - 1)
    places = asyncio.Semaphore(_IMAGES_AT_A_TIME)

    async def answer(upload: Upload) -> BatchItem:
        async with places:
            try:
                check_size(upload, card.max_image_bytes)
                prediction = await _assess(assessor, upload, patient)
            except (DecodeError, ProblemError) as error:
                return BatchItem(image_id=upload.image_id, problem=describe_error(error, request.url.path))
            return BatchItem(image_id=upload.image_id, prediction=prediction)

    items = await asyncio.gather(*map(answer, uploads))
    return BatchPrediction(items=list(items), request_id=facts.request_id)


async def _assess(assessor: Assessor, upload: Upload, patient: Patient) -> Prediction:
    prediction = await assessor.assess(upload, patient)
    return prediction.model_copy(update={"request_id": current_facts().request_id})


async def explain(
    request: Request,
    assessor: CurrentAssessor,
    patient: OfPatient,
    diagnosis: Annotated[
        str | None,
        Query(
            description="Which of the model's diagnoses, as GET /v1/model lists them; by default what it refers for."
        ),
    ] = None,
) -> Response:
    """Return the image as PNG, with the evidence for a diagnosis laid over it (Grad-CAM). Nothing is stored.

    A request that accepts application/json rather than image/png gets the map and the overlay as pictures of their own,
    and the prediction with them.
    """
    name = _known_diagnosis(diagnosis, assessor.card)
    with meter().time("receive"):
        upload = await read_upload(request, max_bytes=assessor.card.max_image_bytes)
    if not prefers_json(request.headers.get("accept", "")):
        return Response(await assessor.explain(upload, name), media_type="image/png")
    found = await assessor.explain_in_full(upload, patient, name)
    prediction = found.prediction.model_copy(update={"request_id": current_facts().request_id})
    answer = found.model_copy(update={"prediction": prediction})
    return Response(answer.model_dump_json(), media_type="application/json")


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


async def check_readiness(assessor: CurrentAssessor) -> Status:
    """Answer ready where an image would be answered; before the model is loaded, 503 or, of Serve's own proxy, 404."""
    assessor.check_ready()
    return Status(status="ready")


class _App(FastAPI):
    """FastAPI whose OpenAPI description also has ``Problem`` and ``Explanation``, which no handler returns as such."""

    def openapi(self) -> dict[str, Any]:
        """Return the description; FastAPI itself would describe a Problem as plain application/json."""
        description = super().openapi()
        schemas = description["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        explanation = Explanation.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= explanation.pop("$defs") | {"Explanation": explanation}
        return description


def build_http() -> FastAPI:
    """Build the FastAPI application; the replica calls this when its model is loaded."""
    app = _App(
        title="melanoma_ray",
        version=__version__,
        description=NOTICE,
        docs_url=None,  # FastAPI's own page loads its scripts from a CDN; the one of pages.py works offline
        redoc_url=None,
        redirect_slashes=False,  # it would lead to the Host of the request, which anybody may have named, by HTTP
    )
    of_patient = ("age", "sex", "site")
    may_ask: dict[str, Any] = {"dependencies": [Depends(require("predict"))]}
    may_predict: dict[str, Any] = {"dependencies": [Depends(require("predict")), Depends(_only(*of_patient))]}
    may_explain: dict[str, Any] = {
        "dependencies": [Depends(require("explain")), Depends(_only(*of_patient, "diagnosis"))]
    }
    failures = _failures(400, 401, 403, 408, 413, 415, 422, 503)
    asks_image: dict[str, Any] = {"openapi_extra": _IMAGE_BODY, "responses": failures}
    asks_images: dict[str, Any] = {"openapi_extra": _BATCH_BODY, "responses": failures} | may_predict
    app.post(
        "/v1/predict", summary="Assess an image", response_description="The prediction", **asks_image | may_predict
    )(predict)
    app.post("/v1/predict/batch", summary="Assess several images", response_description="Each answer", **asks_images)(
        predict_batch
    )
    explained = {
        200: {
            "description": "The picture; or where the request asks for JSON, an Explanation",
            "content": {
                "image/png": {"schema": _BINARY},
                "application/json": {"schema": {"$ref": "#/components/schemas/Explanation"}},
            },
        }
    }
    asks_image |= may_explain | {"responses": failures | explained}
    app.post("/v1/explain", summary="Show what the network looked at", response_class=Response, **asks_image)(explain)
    asks_model = may_ask | {"responses": _failures(401, 403, 503)}
    app.get("/v1/model", summary="Describe the model", response_description="Its description", **asks_model)(
        describe_model
    )
    app.get("/healthz", summary="Is the process running?", response_description="Yes")(check_health)
    app.get("/readyz", summary="Would an image be answered?", response_description="Yes", responses=_failures(503))(
        check_readiness
    )
    app.head("/healthz", include_in_schema=False)(check_health)  # as some load balancers ask
    app.head("/readyz", include_in_schema=False)(check_readiness)
    add_login(app)
    add_pages(app)
    add_problem_handlers(app)
    app.add_middleware(RequestBoundary)
    return app
