"""What the HTTP interface needs of a replica, so that it can be tested without Ray and without a model."""

from __future__ import annotations

from typing import Annotated, Protocol, cast

from fastapi import Depends
from ray import serve

from melanoma_ray.access.keys import KeyStore
from melanoma_ray.access.tokens import TokenVerifier
from melanoma_ray.api import Explanation, ModelCard, Prediction
from melanoma_ray.serving.limiting import Limiter
from melanoma_ray.serving.upload import Patient, Upload


class Assessor(Protocol):
    """What the HTTP interface needs from the model."""

    card: ModelCard
    keys: KeyStore | None
    """Keys of who may ask; none: there are none."""
    tokens: TokenVerifier | None
    """Whose tokens are taken; none: nobody's. Without keys, tokens and certificates everybody may ask."""
    takes_certificates: bool
    """Whether HAProxy in front has asked each caller for a certificate: who has no key or token is known by it."""
    limiter: Limiter | None
    """How much each caller may ask; none: without limits."""

    def check_ready(self) -> None:
        """Return if an image could be answered now; raises ProblemError."""

    async def assess(self, upload: Upload, patient: Patient) -> Prediction:
        """Return the prediction for one image; raises DecodeError."""

    async def explain(self, upload: Upload, diagnosis: str) -> bytes:
        """Return the explanation of one image for a diagnosis of the card, as PNG; raises DecodeError."""

    async def explain_in_full(self, upload: Upload, patient: Patient, diagnosis: str) -> Explanation:
        """Return the same as pictures that can be laid over each other, with the prediction; raises DecodeError."""


async def current_assessor() -> Assessor:
    """Return this replica's own model."""
    return cast("Assessor", serve.get_replica_context().servable_object)


CurrentAssessor = Annotated[Assessor, Depends(current_assessor)]
