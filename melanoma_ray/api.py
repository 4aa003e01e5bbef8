"""What the service and its clients share: the HTTP messages, the decisions in words, and the notice.

The service builds its answers from these classes and the client parses them, so the two can't drift apart.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from melanoma_ray.config import Aspect

Decision = Literal["refer", "routine", "unassessable"]
DECISIONS: tuple[Decision, ...] = ("refer", "routine", "unassessable")
"""refer: show it to a dermatologist first; routine: in its turn; unassessable: unlike anything the
network was trained on, so a person must look."""
DECISION_WORDS: dict[Decision, str] = {
    "refer": "Refer to a dermatologist",
    "routine": "Routine",
    "unassessable": "Can't be assessed: have a person look",
}
"""Each decision in a few words, as every page and console shows it."""
DECISION_MEANINGS: dict[Decision, str] = {
    "refer": "The melanoma probability reaches the threshold: show this lesion first.",
    "routine": "Below the threshold: this lesion can be seen in its turn. That is not an all-clear.",
    "unassessable": "This image is unlike those the network was trained on, so its figures mean little.",
}
"""What each decision means, in a sentence for a person."""
NOTICE = "Research and triage tool, not a medical device."
SYNTHETIC_NOTICE = "Made from synthetic images: says nothing about real lesions."
PROBLEM_JSON = "application/problem+json"


def describe_share(value: float) -> str:
    """Return a share, such as a probability, as text for pages and consoles.

    Only an exact 0 or 1 is shown as 0 or 100 %, because a melanoma probability of 0.02 % isn't certainty. Halves are
    rounded up, as in JavaScript but not in Python's own formatting; the page's ``static/share.js`` has the same rule.

    Args:
        value: The share, in [0, 1].

    >>> describe_share(0.6321), describe_share(0.0002), describe_share(1 - 2e-7)
    ('63.2 %', '< 0.1 %', '> 99.9 %')
    """
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{math.floor(1000 * value + 0.5) / 10:.1f} %"


class Message(BaseModel):
    """Base of all messages: frozen, and tolerant of fields that a newer service adds."""

    model_config = ConfigDict(frozen=True)


class Problem(Message):
    """Body of every error (RFC 9457), as application/problem+json."""

    type: str = Field(description="Stable name of the problem, such as urn:melanoma-ray:problem:not-an-image.")
    title: str = Field(description="Short description, the same for every error of this type.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What was wrong with this request, and what is allowed.")
    instance: str = Field(description="Path of the request.")


class Prediction(Message):
    """Answer of POST /v1/predict for one image."""

    image_id: str | None = Field(description="File name without its ending, if a form gave one.")
    probabilities: dict[str, float] = Field(
        description="Calibrated probability of each diagnosis; their sum is 1. Empty where error isn't null."
    )
    melanoma_probability: float | None = Field(
        description="Probability that is compared with the threshold, in [0, 1]; null where error isn't null."
    )
    diagnosis: str | None = Field(
        default=None,
        description="Predicted diagnosis. Not always the most probable one: see diagnosis_by in GET /v1/model.",
    )
    prediction_set: list[str] | None = Field(
        default=None,
        description="Diagnoses that the image may have: of the images of each diagnosis, the set of the share "
        "set_coverage in GET /v1/model holds it. Null where error isn't null, and of older models.",
    )
    warnings: list[str] = Field(
        default_factory=list,
        description="What is wrong with the image itself, such as blurred, too dark, lesion cut off or, by a DICOM "
        "header's word, burnt-in text; they change no decision, but a better image gives a better answer.",
    )
    error: str | None = Field(
        default=None, description="Reason why there is no answer, so that the decision is unassessable; null: there is."
    )
    decision: Decision = Field(
        description="refer: show it to a dermatologist first; routine: in its turn; "
        "unassessable: unlike the training images, so a person must look."
    )
    decision_threshold: float = Field(description="Melanoma probability from which an image is referred.")
    referred_for: Literal["melanoma", "malignancy"] = Field(
        default="melanoma",
        description="What melanoma_probability is of: melanoma, or any malignant diagnosis.",
    )
    checkpoint_id: str = Field(description="First 12 hexadecimal digits of the manifest's SHA-256.")
    is_synthetic: bool = Field(description="Trained on drawn lesions: its answers say nothing about real lesions.")
    runtime: str | None = Field(
        default=None, description="Program and number format that computed the networks; null: an older service."
    )
    target_sensitivity: float | None = Field(
        default=None,
        description="Operating point: smallest share of the validation melanomas that decision_threshold was chosen to "
        "refer, in (0, 1]; null: an older service.",
    )
    out_of_distribution_score: float | None = Field(
        default=None,
        description="How unlike the training images this image is; above out_of_distribution_threshold in GET "
        "/v1/model it is unassessable unless it is referred. Null: not finite, or an older service.",
    )
    request_id: str | None = Field(
        default=None, description="Id of the request, as in the header X-Request-Id and the service's log."
    )
    notice: str = NOTICE


class BatchItem(Message):
    """Answer for one image of POST /v1/predict/batch: either a prediction or a problem."""

    image_id: str | None = Field(description="File name without its ending, if the form gave one.")
    prediction: Prediction | None = Field(default=None, description="The answer; null: there is a problem.")
    problem: Problem | None = Field(default=None, description="Why this image has no answer; null: it has one.")


class BatchPrediction(Message):
    """Answer of POST /v1/predict/batch."""

    items: list[BatchItem] = Field(description="One for each image, in the order in which the form has them.")
    request_id: str | None = Field(default=None, description="Id of the request, as in the header X-Request-Id.")
    notice: str = NOTICE


class Explanation(Message):
    """Answer of POST /v1/explain where the request accepts application/json; pictures are PNG files in base64."""

    diagnosis: str = Field(description="Diagnosis whose evidence is shown.")
    method: str = Field(
        description="How the map was made: Grad-CAM, or attention rollout (the same for all diagnoses)."
    )
    image_side_px: int = Field(
        description="Width and height of both pictures, and of the crop that they lie on, pixels."
    )
    heat_map: str = Field(
        description="Grey PNG of 8 bits in base64: strength of the evidence at each pixel, from 0 to 255."
    )
    overlay: str = Field(
        description="RGBA PNG in base64, to be laid over the crop: transparent where there is no evidence."
    )
    crop: str = Field(description="RGB PNG in base64: the part of the image that the network saw.")
    prediction: Prediction = Field(description="The same answer as that of POST /v1/predict.")
    notice: str = NOTICE


class ModelCard(Message):
    """Answer of GET /v1/model: the model that is being served."""

    checkpoint_id: str = Field(description="First 12 hexadecimal digits of the manifest's SHA-256.")
    network: str = Field(description="Name of the network, such as tf_efficientnet_lite2.")
    diagnoses: list[str] = Field(description="Diagnoses that it can answer, in the order of the network's outputs.")
    referred: list[str] = Field(
        default=[], description="Those of them whose probability is compared with the threshold."
    )
    image_side_px: int = Field(description="Width and height of the network's input, pixels.")
    image_aspect: Aspect | None = Field(
        default=None,
        description="How an oblong image is made square: its centre is cut out (crop), black bars are added (pad), or "
        "it is stretched (squash); null: an older service.",
    )
    cuts_border: bool = Field(
        default=False, description="Whether the dark surroundings of a round field of view are cut off before that."
    )
    temperature: float = Field(description="Number that logits are divided by; fitted on the validation split.")
    bias: list[float] = Field(
        default_factory=list,
        description="Number that is then added to each diagnosis's logit; fitted on the validation split.",
    )
    diagnosis_by: Literal["balanced", "calibrated"] = Field(
        default="balanced",
        description="How the predicted diagnosis is chosen: balanced, as if all diagnoses were equally frequent; "
        "or calibrated, the most probable one.",
    )
    decision_threshold: float = Field(description="Melanoma probability from which an image is referred.")
    target_sensitivity: float = Field(
        description="Smallest share of the validation melanomas that the threshold was chosen to refer."
    )
    out_of_distribution_threshold: float = Field(
        description="Value of out_of_distribution_score above which an image is unassessable, unless it is referred; "
        "its mere appearance may make it so, too."
    )
    out_of_distribution_score: Literal["energy", "distance"] = Field(
        default="energy",
        description="What tells images that are unlike those of training: distance, to the nearest of them in the "
        "network's features; or in older models energy, of the logits.",
    )
    set_coverage: float | None = Field(
        default=None, description="Coverage of prediction_set for each diagnosis; null: an older model without sets."
    )
    always_in_set: list[str] = Field(
        default_factory=list,
        description="Diagnoses with too few validation images for that coverage, which are in every prediction_set.",
    )
    data_fingerprint: str = Field(description="Fingerprint of the prepared dataset of its training, a SHA-256.")
    is_synthetic: bool = Field(description="Trained on drawn lesions: its answers say nothing about real lesions.")
    uses_metadata: bool = Field(description="Whether it also uses age, sex and site, where they are given.")
    max_image_bytes: int = Field(description="Largest encoded image that the service accepts, bytes.")
    max_batch_images: int = Field(
        default=1, description="Most images of one POST /v1/predict/batch; 1: an older service, which has none."
    )
    max_batch_bytes: int | None = Field(
        default=None, description="Most bytes of all images of one batch; null: an older service."
    )
    versions: dict[str, str] = Field(description="Versions of the libraries that it was trained with.")
    runtime: str | None = Field(
        default=None,
        description="Program and number format that compute the networks, such as OpenVINO fp32; null: an older "
        "service. Probabilities of all runtimes are the same to within 0.001.",
    )
    canary: ModelCard | None = Field(
        default=None,
        description="A second model, which answers canary_fraction of the images by its own thresholds; null: none.",
    )
    canary_fraction: float | None = Field(
        default=None,
        description="Share of the images that the second model answers, in (0, 1); checkpoint_id in an answer says "
        "whose it is. Null: there is none.",
    )
    notice: str = NOTICE


class Status(Message):
    """Answer of GET /healthz and GET /readyz."""

    status: Literal["ok", "ready"]
