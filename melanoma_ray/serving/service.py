"""One replica: threads that each take a request from bytes to its answer, or on a GPU requests in batches.

On a CPU a pass of one image on one thread is the cheapest, so there are as many such threads as the replica may use:
one decodes while another computes, and nothing waits for a batch. An image that is alone gets all threads for its pass.
A GPU computes the more images a second the more a pass has, so it takes what is decoded meanwhile.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from typing import TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from melanoma_ray.access.keys import KeyStore
from melanoma_ray.alerts.settings import read_settings
from melanoma_ray.api import ModelCard, Prediction
from melanoma_ray.inference.explanation import explain
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.patients import encode_patient
from melanoma_ray.serving.alerting import Alarm
from melanoma_ray.serving.upload import Patient, Upload

Crop = UInt8[np.ndarray, "side side 3"]
Features = Float32[np.ndarray, " feature"]
ResultT = TypeVar("ResultT")
MAX_ONGOING_REQUESTS = 16
"""Most requests that one replica has at a time: one batch in the network and one being decoded. With bodies of at
most 32 MiB they take half a gigabyte at worst."""


class ServiceArguments(BaseModel):
    """The ``args`` of deploy/serve.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    """Checkpoint directory, run directory or a sweep's best.json, on a disk that all nodes can read, or s3://."""
    num_replicas: int = Field(default=1, ge=1)
    """Number of service processes."""
    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs that Ray keeps free for each replica."""
    num_threads: int | None = Field(default=None, ge=1)
    """Number of threads that decode and compute in each replica; none: one for each of its CPUs."""
    num_gpus: float = Field(default=0.0, ge=0)
    """Number of GPUs for each replica; 0: it runs on CPUs."""
    alerts: str | None = None
    """File with the settings of alerts (docs/alerts.md), on a disk that all nodes can read; none: nobody is alerted."""
    keys: str | None = None
    """File of the keys that are asked for (``jobs.keys`` writes it), on a disk that all nodes can read; none: nobody
    needs one."""
    max_image_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    """Largest encoded image that is accepted, bytes; the checkpoint's own limit applies too."""
    max_batch_size: int = Field(default=MAX_ONGOING_REQUESTS, ge=1, le=MAX_ONGOING_REQUESTS)
    """Most images of a pass on a GPU; a CPU takes one at a time on each thread."""
    batch_wait_timeout_s: float = Field(default=0.002, ge=0)
    """Longest time that the first image of a batch on a GPU waits for others, seconds; a decoder needs about as long
    for one."""


def build_card(predictor: Predictor, max_image_bytes: int) -> ModelCard:
    """Return the description of a model, from its manifest.

    Args:
        predictor: The model.
        max_image_bytes: Largest encoded image that the service accepts, bytes.
    """
    manifest = predictor.manifest
    calibration = manifest.calibration
    return ModelCard(
        checkpoint_id=predictor.checkpoint_id,
        network=manifest.experiment.model.network,
        diagnoses=list(manifest.diagnoses),
        referred=list(manifest.referred),
        image_side_px=manifest.experiment.model.image_side,
        temperature=calibration.temperature,
        bias=list(calibration.bias),
        diagnosis_by=manifest.experiment.decision.diagnosis_by,
        decision_threshold=calibration.decision_threshold,
        target_sensitivity=manifest.experiment.decision.target_sensitivity,
        out_of_distribution_threshold=calibration.out_of_distribution_threshold,
        out_of_distribution_score=calibration.out_of_distribution_score,
        set_coverage=calibration.set_coverage,
        always_in_set=list(manifest.always_in_set),
        data_fingerprint=manifest.data_fingerprint,
        is_synthetic=manifest.is_synthetic,
        uses_metadata=manifest.experiment.model.uses_metadata,
        max_image_bytes=min(max_image_bytes, manifest.image.max_bytes),
        versions=manifest.versions,
        runtime=predictor.scorer.runtime.name,
    )


class Service:
    """A replica's predictor, its threads and its batching."""

    def __init__(self, arguments: ServiceArguments) -> None:
        """Load the model: a replica counts as ready when this returns.

        Raises:
            CheckpointError: The checkpoint can't be used.
            ConfigError: The settings of alerts, or the file of keys, can't be used.
        """
        num_threads = arguments.num_threads or max(1, int(arguments.num_cpus))
        torch.set_num_threads(num_threads)  # by default torch uses all CPUs of the machine, whatever Ray assigned
        self._predictor = Predictor.load(arguments.checkpoint)
        torch.set_num_threads(1)  # each request has a thread of its own, and the networks are compiled for more
        cv2.setNumThreads(1)
        self.card = build_card(self._predictor, arguments.max_image_bytes)
        self.keys = None if arguments.keys is None else KeyStore(arguments.keys)
        self._alarm = None if arguments.alerts is None else Alarm(read_settings(arguments.alerts))
        self._workers = ThreadPoolExecutor(num_threads, thread_name_prefix="assess")
        self._num_waiting = 0
        # A single thread on a GPU: two passes at a time are slower.
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._predict_in_batch: Callable[[Crop, Features], Awaitable[Prediction]] = serve.batch(
            max_batch_size=arguments.max_batch_size, batch_wait_timeout_s=arguments.batch_wait_timeout_s
        )(self._predict_all)

    async def assess(self, upload: Upload, patient: Patient) -> Prediction:
        """Return the prediction for an image.

        Args:
            upload: The encoded image.
            patient: What the request has about the patient.

        Raises:
            DecodeError: The bytes aren't a usable image.
            ProblemError: The answer makes an alert that can't be kept.
        """
        metadata = encode_patient(patient.age, patient.sex, patient.site)
        self._num_waiting += 1
        try:
            if self._predictor.scorer.device.type == "cuda":
                prediction = await self._predict_in_batch(await self._decode(upload), metadata)
            else:
                prediction = await _run(self._workers, lambda: self._assess_now(upload.encoded, metadata))
        finally:
            self._num_waiting -= 1
        if self._alarm is not None:
            await self._alarm.hear(prediction, upload, patient)
        return prediction.model_copy(update={"image_id": upload.image_id})

    async def explain(self, upload: Upload, diagnosis: str) -> bytes:
        """Return the explanation of an image as PNG.

        Args:
            upload: The encoded image.
            diagnosis: One of the card's diagnoses.

        Raises:
            DecodeError: The bytes aren't a usable image.
        """
        pixels = await self._decode(upload)
        overlay = await _run(self._network, lambda: explain(self._predictor, pixels, diagnosis))
        return await _run(self._workers, lambda: _encode_png(overlay))

    async def _decode(self, upload: Upload) -> Crop:
        return await _run(self._workers, lambda: self._predictor.decode(upload.encoded))

    def _assess_now(self, encoded: bytes, metadata: Features) -> Prediction:
        """Return the prediction for an image, computed by the calling thread."""
        pixels = self._predictor.decode(encoded)
        return self._predict_batch(pixels[None], metadata[None], is_alone=self._num_waiting == 1)[0]

    async def _predict_all(self, pixels: list[Crop], metadata: list[Features]) -> list[Prediction]:
        return await _run(self._network, lambda: self._predict_batch(np.stack(pixels), np.stack(metadata)))

    def _predict_batch(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"],
        *,
        is_alone: bool = True,
    ) -> list[Prediction]:
        predictions = self._predictor.predict(pixels, metadata, is_alone=is_alone)
        return [
            Prediction(
                image_id=None,
                **asdict(assessment),
                decision_threshold=self.card.decision_threshold,
                referred_for=self._predictor.manifest.referred_for,
                checkpoint_id=self.card.checkpoint_id,
                is_synthetic=self.card.is_synthetic,
                runtime=self.card.runtime,
            )
            for assessment in predictions.assess(self.card.diagnoses)
        ]


async def _run(executor: Executor, work: Callable[[], ResultT]) -> ResultT:
    return await asyncio.get_running_loop().run_in_executor(executor, work)


def _encode_png(pixels: Crop) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
