"""What the networks say about a whole split, computed by a pool of actors that each hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data
from jaxtyping import Float32, Float64

from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.dataset.shards import read_crops
from melanoma_ray.imaging.appearance import describe_appearance
from melanoma_ray.inference.pool import map_with_actors
from melanoma_ray.inference.scorer import Outputs, Scorer
from melanoma_ray.patients import encode_metadata
from melanoma_ray.schema import Split

_BATCH_SIZE = 32
"""Number of images that an actor gets at a time; bounds its memory."""
_PAIR = pa.list_(pa.float32())


class _ScoringActor:
    """Scores batches with a scorer that it builds once, when it starts."""

    def __init__(self, build: Callable[[], Scorer], pixels_uri: str, side: int) -> None:
        self.scorer = build()
        cv2.setNumThreads(1)  # by default OpenCV uses all CPUs of the machine, whatever Ray assigned
        self.pixels_uri, self.side = pixels_uri, side

    def __call__(self, batch: pa.Table) -> pa.Table:
        shard, row = (batch.column(name).to_pylist() for name in ("shard", "row"))
        metadata = np.stack(batch.column("metadata").to_numpy())
        outputs = self.scorer.answer(read_crops(self.pixels_uri, shard, row, self.side), metadata)
        distance = outputs.distance
        return pa.table(
            {
                "path": batch.column("path"),
                "logits": pa.array(list(outputs.logits), pa.list_(pa.float32())),
                "distance": pa.nulls(len(row), _PAIR) if distance is None else pa.array(list(distance), _PAIR),
                "runtime": pa.repeat(outputs.runtime, len(row)),
            }
        )


class _EmbeddingActor(_ScoringActor):
    """Computes the features of batches."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        shard, row = (batch.column(name).to_pylist() for name in ("shard", "row"))
        crops = read_crops(self.pixels_uri, shard, row, self.side)
        features, appearance = self.scorer.embed(crops), describe_appearance(crops)
        nested = pa.array(features.tolist(), pa.list_(pa.list_(pa.float32())))
        measured = pa.array(list(appearance), pa.list_(pa.float64()))
        return pa.table({"path": batch.column("path"), "features": nested, "appearance": measured})


def score_split(
    dataset: PreparedDataset, split: Split, build: Callable[[], Scorer], *, use_gpu: bool = False
) -> tuple[pd.DataFrame, Outputs]:
    """Return the index rows of a split's images, sorted by path, and what the networks say, in the same order.

    Args:
        dataset: Prepared dataset.
        split: Split to score.
        build: Function that returns the scorer; called once in each actor.
        use_gpu: Give each actor a GPU.

    Raises:
        DataError: The split is empty.
    """
    images = dataset.split(split)
    scored = _map(dataset, images, _ScoringActor, build, use_gpu=use_gpu)
    logits = np.asarray(scored.column("logits").to_pylist(), np.float32)
    distance = scored.column("distance")
    pairs = None if distance.null_count else np.asarray(distance.to_pylist(), np.float32)
    return images, Outputs(logits=logits, distance=pairs, runtime=_join(scored.column("runtime").unique().to_pylist()))


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
    shuffled = dataset.split("train").sample(frac=1, random_state=0)
    evenly = shuffled.groupby("diagnosis").cumcount().argsort(kind="stable")
    images = shuffled.iloc[evenly[:most]].sort_values("path").reset_index(drop=True)
    found = _map(dataset, images, _EmbeddingActor, build, use_gpu=use_gpu)
    features, appearance = (found.column(name).to_pylist() for name in ("features", "appearance"))
    return np.asarray(features, np.float32).transpose(1, 0, 2), np.asarray(appearance, np.float64)


def _map(
    dataset: PreparedDataset,
    images: pd.DataFrame,
    actor: type[_ScoringActor],
    build: Callable[[], Scorer],
    *,
    use_gpu: bool,
) -> pa.Table:
    """Return an actor's rows for some images, in their order."""
    rows = pa.Table.from_pandas(
        images[["path", "shard", "row"]].assign(metadata=list(encode_metadata(images))), preserve_index=False
    ).combine_chunks()
    blocks = [rows.slice(start, _BATCH_SIZE) for start in range(0, rows.num_rows, _BATCH_SIZE)]
    scored = map_with_actors(
        ray.data.from_blocks(blocks),
        actor,
        {"build": build, "pixels_uri": dataset.pixels_uri, "side": dataset.info.config.image.side},
        batch_size=_BATCH_SIZE,
        use_gpu=use_gpu,
    )
    place = pd.Series(range(scored.num_rows), index=scored.column("path").to_pylist())[images["path"]]
    return scored.take(pa.array(place))


def score_folds(
    dataset: PreparedDataset, builds: Sequence[Callable[[], Scorer]], *, use_gpu: bool = False
) -> tuple[pd.DataFrame, Outputs]:
    """Return the index rows of all folds' images and what the network that was trained without its fold says of each.

    Args:
        dataset: Prepared dataset with as many folds as there are networks.
        builds: Functions that return the scorer of each fold's network; either all have a bank, or none.
        use_gpu: Give each actor a GPU.
    """
    parts = [score_split(dataset.with_fold(fold), "val", build, use_gpu=use_gpu) for fold, build in enumerate(builds)]
    images = pd.concat([images for images, _ in parts], ignore_index=True)
    distances = [outputs.distance for _, outputs in parts if outputs.distance is not None]
    outputs = Outputs(
        logits=np.concatenate([outputs.logits for _, outputs in parts]),
        distance=np.concatenate(distances) if distances else None,
        runtime=_join([outputs.runtime for _, outputs in parts]),
    )
    order = images["path"].argsort().to_numpy()
    return images.iloc[order].reset_index(drop=True), outputs[order]


def _join(names: Sequence[str]) -> str:
    """Return what computed the networks, in one line; on a cluster of unlike nodes it may be several runtimes."""
    return ", ".join(sorted(set(names)))
