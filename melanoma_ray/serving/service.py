"""One replica: threads that each take a request from bytes to its answer, or on a GPU requests in batches.

On a CPU a pass of one image on one thread is the cheapest, so there are as many such threads as the replica may use:
one decodes while another computes, and nothing waits for a batch. An image that is alone gets all threads for its pass.
A GPU computes the more images a second the more a pass has, so it takes what is decoded meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import io
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from ray import serve

from melanoma_ray.access.audit_log import AuditLog
from melanoma_ray.access.keys import KeyStore
from melanoma_ray.access.limits import Limits
from melanoma_ray.access.tokens import TokenVerifier, read_token_settings
from melanoma_ray.alerts.settings import read_settings
from melanoma_ray.api import Explanation, ModelCard, Prediction
from melanoma_ray.imaging.appearance import describe_appearance
from melanoma_ray.imaging.dicom import file_warnings
from melanoma_ray.inference.explanation import attribute, explain, name_method, paint_overlay
from melanoma_ray.patients import encode_patient
from melanoma_ray.serving import auditing
from melanoma_ray.serving.alerting import Alarm
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.limiting import Limiter, ask_actor
from melanoma_ray.serving.logs import write_json
from melanoma_ray.serving.metrics import meter
from melanoma_ray.serving.model import Crop, ServedModel
from melanoma_ray.serving.second import Shadow, is_of_canary, load_second
from melanoma_ray.serving.upload import Patient, Upload

Features = Float32[np.ndarray, " feature"]
ResultT = TypeVar("ResultT")


class Service:
    """A replica's predictor, its threads and its batching."""

    def __init__(self, arguments: ServiceArguments) -> None:
        """Load the model: a replica counts as ready when this returns.

        Raises:
            CheckpointError: The checkpoint can't be used; without a second one the first answers alone.
            StorageError: The audit log can't be written.
            ConfigError: The settings of alerts, the file of keys, or that of tokens, can't be used.
        """
        write_json(log_requests=arguments.log_requests)
        num_threads = arguments.num_threads or max(1, int(arguments.num_cpus))
        torch.set_num_threads(num_threads)  # by default torch uses all CPUs of the machine, whatever Ray assigned
        self._model = ServedModel(arguments.checkpoint, arguments.max_image_bytes)
        self._canary = load_second("canary", arguments.canary, arguments.max_image_bytes)
        shadow = load_second("shadow", arguments.shadow, arguments.max_image_bytes)
        torch.set_num_threads(1)  # each request has a thread of its own, and the networks are compiled for more
        cv2.setNumThreads(1)
        self._arguments = arguments
        self._shadow = None if shadow is None else Shadow(shadow)
        self.card = _introduce(self._model.card, self._canary, arguments.canary_fraction)
        self.keys = None if arguments.keys is None else KeyStore(arguments.keys)
        self.tokens = None if arguments.oidc is None else TokenVerifier(read_token_settings(arguments.oidc))
        self.takes_certificates = arguments.takes_certificates
        self.limiter = _build_limiter(arguments)
        self._alarm = None if arguments.alerts is None else Alarm(read_settings(arguments.alerts))
        self._audit_log = None if arguments.audit_log is None else AuditLog(arguments.audit_log)
        # One more than compute at a time: while a thread waits for Python's lock, there is still enough to compute.
        self._workers = ThreadPoolExecutor(num_threads + 1, thread_name_prefix="assess")
        self._num_waiting = 0
        self._count_waiting(0)  # or a service that nobody has asked yet would be taken for one that is gone
        # A single thread on a GPU: two passes at a time are slower.
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._predict_in_batch = {
            model: self._gather(model) for model in (self._model, self._canary) if model is not None
        }

    async def assess(self, upload: Upload, patient: Patient) -> Prediction:
        """Return the prediction for an image.

        Args:
            upload: The encoded image.
            patient: What the request has about the patient.

        Raises:
            DecodeError: The bytes aren't a usable image.
            ProblemError: The answer makes an alert that can't be kept.
        """
        prediction = await self._answer(upload, patient, "predict")
        meter().describe(prediction)
        if self._shadow is not None:
            metadata = encode_patient(patient.age, patient.sex, patient.site)
            self._shadow.hear(upload.encoded, metadata, prediction)
        return prediction.model_copy(update={"image_id": upload.image_id})

    async def _answer(self, upload: Upload, patient: Patient, event: auditing.Event) -> Prediction:
        """Return the prediction for an image, once those know of it who must before the caller does."""
        metadata = encode_patient(patient.age, patient.sex, patient.site)
        model = self._choose_model(upload)
        self._count_waiting(1)
        asked_at = perf_counter()
        try:
            if model.predictor.scorer.device.type == "cuda":
                pixels = await self._decode(upload, model)
                prediction, appearance = await self._predict_in_batch[model](pixels, metadata), self._measure(pixels)
            else:
                prediction, appearance = await _run(
                    self._workers, lambda: self._assess_now(model, upload.encoded, metadata, asked_at)
                )
        finally:
            self._count_waiting(-1)
        if told := file_warnings(upload.encoded):
            prediction = prediction.model_copy(update={"warnings": [*prediction.warnings, *told]})
        with meter().time("keep"):
            if self._alarm is not None:
                await self._alarm.hear(prediction, upload, patient)
            if self._audit_log is not None:
                auditing.keep(self._audit_log, event, upload.encoded, prediction, appearance)
        return prediction

    def check_ready(self) -> None:
        """Return if an image could be answered now.

        Raises:
            ProblemError: The audit log has no room, without which nothing is answered.
        """
        if self._audit_log is not None:
            auditing.check_room(self._audit_log)

    async def explain(self, upload: Upload, diagnosis: str) -> bytes:
        """Return the explanation of an image as PNG.

        Args:
            upload: The encoded image.
            diagnosis: One of the card's diagnoses.

        Raises:
            DecodeError: The bytes aren't a usable image.
        """
        model = self._choose_model(upload)
        pixels = await self._decode(upload, model)
        with meter().time("explain"):
            overlay = await _run(self._network, lambda: explain(model.predictor, pixels, diagnosis))
        if self._audit_log is not None:
            auditing.keep(self._audit_log, "explain", upload.encoded, model.card.checkpoint_id)
        return await _run(self._workers, lambda: _encode_png(overlay))

    async def explain_in_full(self, upload: Upload, patient: Patient, diagnosis: str) -> Explanation:
        """Return the explanation of an image as pictures that can be laid over each other, with its prediction.

        It counts as no decision of its own: who asks has most often asked for the prediction before.

        Args:
            upload: The encoded image.
            patient: What the request has about the patient.
            diagnosis: One of the card's diagnoses.

        Raises:
            DecodeError: The bytes aren't a usable image.
            ProblemError: The answer makes an alert that can't be kept.
        """
        model = self._choose_model(upload)
        told, pixels = await asyncio.gather(self._answer(upload, patient, "explain"), self._decode(upload, model))
        prediction = told.model_copy(update={"image_id": upload.image_id})
        with meter().time("explain"):
            strength = await _run(self._network, lambda: attribute(model.predictor, pixels, diagnosis))

        def draw() -> Explanation:
            grey = (255 * strength).round().astype(np.uint8)
            heat_map, overlay, crop = map(_encode_base64, (grey, paint_overlay(strength), pixels))
            return Explanation(
                diagnosis=diagnosis,
                method=name_method(model.predictor),
                image_side_px=pixels.shape[0],
                heat_map=heat_map,
                overlay=overlay,
                crop=crop,
                prediction=prediction,
            )

        return await _run(self._workers, draw)

    def _choose_model(self, upload: Upload) -> ServedModel:
        """Return which of the models answers for an image."""
        if self._canary is not None and is_of_canary(upload.encoded, self._arguments.canary_fraction):
            return self._canary
        return self._model

    def _count_waiting(self, change: int) -> None:
        self._num_waiting += change
        meter().set("melanoma_waiting_images", self._num_waiting)

    async def _decode(self, upload: Upload, model: ServedModel) -> Crop:
        return await _run(self._workers, lambda: _decode_now(model, upload.encoded))

    def _assess_now(
        self, model: ServedModel, encoded: bytes, metadata: Features, asked_at: float
    ) -> tuple[Prediction, list[float] | None]:
        """Return the prediction for an image and how it looks, computed by the calling thread."""
        meter().observe("melanoma_stage_seconds", perf_counter() - asked_at, {"stage": "wait"})
        pixels = _decode_now(model, encoded)
        (prediction,) = _predict_now(model, pixels[None], metadata[None], is_alone=self._num_waiting == 1)
        return prediction, self._measure(pixels)

    def _measure(self, pixels: Crop) -> list[float] | None:
        """Return how a crop looks; none: nobody writes it down."""
        return None if self._audit_log is None else [float(one) for one in describe_appearance(pixels[None])[0]]

    def _gather(self, model: ServedModel) -> Callable[[Crop, Features], Awaitable[Prediction]]:
        """Return what asks a model about a crop together with the others that come at about the same time."""

        async def predict_all(pixels: list[Crop], metadata: list[Features]) -> list[Prediction]:
            return await _run(self._network, lambda: _predict_now(model, np.stack(pixels), np.stack(metadata)))

        batching: Callable[[Crop, Features], Awaitable[Prediction]] = serve.batch(
            max_batch_size=self._arguments.max_batch_size, batch_wait_timeout_s=self._arguments.batch_wait_timeout_s
        )(predict_all)
        return batching


def _introduce(card: ModelCard, canary: ServedModel | None, fraction: float) -> ModelCard:
    """Return the card of the model that is served, with the one that answers beside it."""
    if canary is None:
        return card
    return card.model_copy(update={"canary": canary.card, "canary_fraction": fraction})


def _decode_now(model: ServedModel, encoded: bytes) -> Crop:
    with meter().time("decode"):
        return model.decode(encoded)


def _predict_now(
    model: ServedModel,
    pixels: UInt8[np.ndarray, "image side side 3"],
    metadata: Float32[np.ndarray, "image feature"],
    *,
    is_alone: bool = True,
) -> list[Prediction]:
    with meter().time("network"):
        predictions = model.predict(pixels, metadata, is_alone=is_alone)
    meter().observe("melanoma_batch_images", len(pixels))
    return predictions


def _build_limiter(arguments: ServiceArguments) -> Limiter | None:
    """Return what counts the requests of each caller; none: nobody has to say who it is."""
    if arguments.keys is None and arguments.oidc is None and not arguments.takes_certificates:
        return None
    default = Limits(requests_per_minute=arguments.requests_per_minute, max_concurrent=arguments.max_concurrent)
    return Limiter(ask_actor(serve.get_replica_context().replica_id.unique_id), default)


async def _run(executor: Executor, work: Callable[[], ResultT]) -> ResultT:
    """Have a thread do some work of the request that this task answers."""
    of_request = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, of_request.run, work)


def _encode_base64(pixels: UInt8[np.ndarray, "side side ..."]) -> str:
    return base64.b64encode(_encode_png(pixels)).decode()


def _encode_png(pixels: UInt8[np.ndarray, "side side ..."]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
