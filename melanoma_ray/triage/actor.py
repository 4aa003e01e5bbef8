"""The actor of batch triage: reads, decodes and predicts a block of images, and writes the answers itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pyarrow as pa

from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.dicom import file_warnings
from melanoma_ray.inference.predictions import tabulate_predictions
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.patients import encode_metadata
from melanoma_ray.reports.thumbnails import encode_thumbnail
from melanoma_ray.sources.containers import read_encoded
from melanoma_ray.triage.parts import Parts

_NUM_READERS = 4
"""Files that are read ahead while another one is decoded."""


class PredictingActor:
    """Has a predictor that it loads once, and returns of each block only the number of its images."""

    def __init__(self, checkpoint: str, side: int, output: str, device: str | None = None) -> None:
        """Load the predictor.

        Args:
            checkpoint: Checkpoint directory.
            side: Largest side of the small copies, pixels.
            output: Directory of predictions.parquet.
            device: Device to score on; by default the one that Ray assigned.
        """
        self.predictor = Predictor.load(checkpoint, device)
        cv2.setNumThreads(1)  # by default OpenCV uses all CPUs of the machine, whatever Ray assigned
        self.side = side
        self.parts = Parts(output, self.predictor.checkpoint_id, self.predictor.manifest.diagnoses)
        self.readers = ThreadPoolExecutor(_NUM_READERS)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Write the answers for a block of images, with key, path, image_id, age, sex and site."""
        answers, pictures = self.answer(batch, self.read(batch.column("path").to_pylist()))
        self.parts.write(batch.column("key").to_pylist(), answers, pictures)
        return pa.table({"num_images": [batch.num_rows]})

    def read(self, paths: Sequence[str]) -> Iterator[bytes | OSError]:
        """Yield each file's bytes, or why it can't be read; some are read ahead."""
        return self.readers.map(_read, paths)

    def answer(self, batch: pa.Table, encoded: Iterable[bytes | OSError]) -> tuple[pa.Table, list[bytes | None]]:
        """Return the columns of predictions.parquet for a block of images, and a small copy of each as JPEG.

        An image that can't be used has the reason in the column ``error``, and no copy.

        Args:
            batch: path, image_id, age, sex and site.
            encoded: Bytes of each image, or why it can't be read.
        """
        crops, errors, told = zip(*(self._decode(one) for one in encoded), strict=True)
        good = [crop for crop in crops if crop is not None]
        side = self.predictor.image.side
        metadata = encode_metadata(batch.select(["age", "sex", "site"]).to_pandas())
        predictions = self.predictor.predict(
            np.stack(good) if good else np.zeros((0, side, side, 3), np.uint8),
            metadata[[crop is not None for crop in crops]],
        ).with_warnings([found for crop, found in zip(crops, told, strict=True) if crop is not None])
        ids, paths = batch.column("image_id").to_pylist(), batch.column("path").to_pylist()
        answers = tabulate_predictions(ids, paths, predictions, self.predictor.manifest.diagnoses, errors)
        return answers, [None if crop is None else encode_thumbnail(crop, self.side) for crop in crops]

    def _decode(self, encoded: bytes | OSError) -> tuple[np.ndarray | None, str | None, tuple[str, ...]]:
        """Return the crop, or why there is none, and what the file says is wrong with it."""
        if isinstance(encoded, OSError):
            return None, str(encoded), ()
        try:
            return self.predictor.decode(encoded), None, file_warnings(encoded)
        except DecodeError as error:
            return None, str(error), ()


def _read(path: str) -> bytes | OSError:
    """Return a file's bytes, or why it can't be read."""
    try:
        return read_encoded(path)
    except OSError as error:
        return error
