"""What the networks say about a whole split, computed by a pool of actors that each hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float32, Float64, UInt8

from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.dataset.shards import read_crops
from melanoma_ray.imaging.appearance import describe_appearance
from melanoma_ray.imaging.quality import measure_quality
from melanoma_ray.inference.pool import map_with_actors
from melanoma_ray.inference.scorer import Outputs, Scorer, join_outputs, name_runtimes
from melanoma_ray.patients import encode_metadata
from melanoma_ray.schema import Split

_BATCH_SIZE = 32
"""Number of images that an actor gets at a time; bounds its memory."""
_NUMBERS = pa.list_(pa.float32())
_CUBE = pa.list_(pa.list_(_NUMBERS))
Alter = Callable[[UInt8[np.ndarray, "side side 3"]], UInt8[np.ndarray, "side side 3"] | None]
"""Changes a crop before it is scored; none: the change doesn't apply to it, and it stays as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """What is scored, and what is kept of it."""

    alter: Alter | None = None
    """How each crop is changed before; none: it isn't."""
    keep_parts: bool = False
    """Whether the logits of each network and view are kept."""


DEFAULT = Scoring()
"""The crops as they are, and no parts."""


class _Actor:
    """Has a scorer that it builds once, when it starts, and reads the crops of batches."""

    def __init__(self, build: Callable[[], Scorer], pixels_uri: str, side: int) -> None:
        self.scorer = build()
        cv2.setNumThreads(1)  # by default OpenCV uses all CPUs of the machine, whatever Ray assigned
        self.pixels_uri, self.side = pixels_uri, side

    def read(self, batch: pa.Table) -> UInt8[np.ndarray, "image side side 3"]:
        shard, row = (batch.column(name).to_pylist() for name in ("shard", "row"))
        return read_crops(self.pixels_uri, shard, row, self.side)


class _ScoringActor(_Actor):
    """Scores batches."""

    def __init__(
        self, build: Callable[[], Scorer], pixels_uri: str, side: int, alter: Alter | None, *, keep_parts: bool
    ) -> None:
        super().__init__(build, pixels_uri, side)
        self.alter, self.keep_parts = alter, keep_parts

    def __call__(self, batch: pa.Table) -> pa.Table:
        crops = self.read(batch)
        altered = [None if self.alter is None else self.alter(crop) for crop in crops]
        crops = np.stack([crop if new is None else new for crop, new in zip(crops, altered, strict=True)])
        metadata = np.stack(batch.column("metadata").to_numpy())
        outputs = self.scorer.answer(crops, metadata, keep_parts=self.keep_parts)
        distance, parts, number = outputs.distance, outputs.parts, batch.num_rows
        return pa.table(
            {
                "path": batch.column("path"),
                "logits": pa.array(list(outputs.logits), _NUMBERS),
                "distance": pa.nulls(number, _NUMBERS) if distance is None else pa.array(list(distance), _NUMBERS),
                "parts": pa.nulls(number, _CUBE) if parts is None else pa.array(parts.tolist(), _CUBE),
                "warnings": pa.array([list(measure_quality(crop).warnings) for crop in crops], pa.list_(pa.string())),
                "appearance": pa.array(list(describe_appearance(crops)), pa.list_(pa.float64())),
                "is_altered": [None if self.alter is None else new is not None for new in altered],
                "runtime": pa.repeat(outputs.runtime, number),
            }
        )


class _EmbeddingActor(_Actor):
    """Computes the features of batches."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        crops = self.read(batch)
        features, appearance = self.scorer.embed(crops), describe_appearance(crops)
        nested = pa.array(features.tolist(), pa.list_(pa.list_(pa.float32())))
        measured = pa.array(list(appearance), pa.list_(pa.float64()))
        return pa.table({"path": batch.column("path"), "features": nested, "appearance": measured})


def score_split(
    dataset: PreparedDataset,
    split: Split,
    build: Callable[[], Scorer],
    *,
    how: Scoring = DEFAULT,
    use_gpu: bool = False,
) -> tuple[pd.DataFrame, Outputs]:
    """Return the index rows of a split's images, sorted by path, and what the networks say, in the same order.

    Args:
        dataset: Prepared dataset.
        split: Split to score.
        build: Function that returns the scorer; called once in each actor.
        how: What is scored, and what is kept of it.
        use_gpu: Give each actor a GPU.

    Raises:
        DataError: The split is empty.
    """
    images = dataset.split(split)
    arguments = {"build": build, "alter": how.alter, "keep_parts": how.keep_parts}
    return images, _read_outputs(_map(dataset, images, _ScoringActor, arguments, use_gpu=use_gpu))


def _read_outputs(scored: pa.Table) -> Outputs:
    """Return the rows of the scoring actors as arrays."""
    logits = np.asarray(scored.column("logits").to_pylist(), np.float32)
    found = {
        name: None if scored.column(name).null_count else np.asarray(scored.column(name).to_pylist(), np.float32)
        for name in ("distance", "parts")
    }
    warnings = np.empty(scored.num_rows, object)
    warnings[:] = [tuple(words) for words in scored.column("warnings").to_pylist()]
    altered = scored.column("is_altered")
    return Outputs(
        logits=logits,
        distance=found["distance"],
        parts=found["parts"],
        warnings=warnings,
        appearance=np.asarray(scored.column("appearance").to_pylist(), np.float64),
        is_altered=None if altered.null_count else np.asarray(altered.to_pylist(), bool),
        runtime=name_runtimes(scored.column("runtime").unique().to_pylist()),
    )


def embed_sample(
    dataset: PreparedDataset, build: Callable[[], Scorer], *, most: int, use_gpu: bool = False
) -> tuple[Float32[np.ndarray, "member image feature"], Float64[np.ndarray, "image measurement"]]:
    """Return the features of training images in each network, and how they look; as many of each diagnosis as can be.

    Args:
        dataset: Prepared dataset.
        build: Function that returns the scorer; called once in each actor.
        most: Largest number of images; they are chosen at random, always the same.
        use_gpu: Give each actor a GPU.

    Raises:
        DataError: There are no training images.
    """
    images = draw_sample(dataset, most)
    found = _map(dataset, images, _EmbeddingActor, {"build": build}, use_gpu=use_gpu)
    features, appearance = (found.column(name).to_pylist() for name in ("features", "appearance"))
    return np.asarray(features, np.float32).transpose(1, 0, 2), np.asarray(appearance, np.float64)


def draw_sample(dataset: PreparedDataset, most: int) -> pd.DataFrame:
    """Return the rows of training images, as many of each diagnosis as can be, sorted by path; always the same ones.

    Args:
        dataset: Prepared dataset.
        most: Largest number of images.

    Raises:
        DataError: There are no training images.
    """
    shuffled = dataset.split("train").sample(frac=1, random_state=0)
    evenly = shuffled.groupby("diagnosis").cumcount().argsort(kind="stable")
    return shuffled.iloc[evenly[:most]].sort_values("path").reset_index(drop=True)


def _map(
    dataset: PreparedDataset,
    images: pd.DataFrame,
    actor: type[_ScoringActor | _EmbeddingActor],
    arguments: Mapping[str, object],
    *,
    use_gpu: bool,
) -> pa.Table:
    """Return an actor's rows for some images, in their order."""
    rows = pa.Table.from_pandas(
        images[["path", "shard", "row"]].assign(metadata=list(encode_metadata(images))), preserve_index=False
    ).combine_chunks()
    scored = map_with_actors(
        rows,
        actor,
        {"pixels_uri": dataset.pixels_uri, "side": dataset.info.config.image.side, **arguments},
        batch_size=_BATCH_SIZE,
        use_gpu=use_gpu,
    )
    place = pd.Series(range(scored.num_rows), index=scored.column("path").to_pylist())[images["path"]]
    return scored.take(pa.array(place))


def score_folds(
    dataset: PreparedDataset,
    builds: Sequence[Callable[[], Scorer]],
    *,
    how: Scoring = DEFAULT,
    use_gpu: bool = False,
) -> tuple[pd.DataFrame, Outputs]:
    """Return the index rows of all folds' images and what the network that was trained without its fold says of each.

    Args:
        dataset: Prepared dataset with as many folds as there are networks.
        builds: Functions that return the scorer of each fold's network; either all have a bank, or none.
        how: What is scored, and what is kept of it.
        use_gpu: Give each actor a GPU.
    """
    scored = [
        score_split(dataset.with_fold(fold), "val", build, how=how, use_gpu=use_gpu)
        for fold, build in enumerate(builds)
    ]
    images = pd.concat([images for images, _ in scored], ignore_index=True)
    outputs = join_outputs([outputs for _, outputs in scored])
    order = images["path"].argsort().to_numpy()
    return images.iloc[order].reset_index(drop=True), outputs[order]
