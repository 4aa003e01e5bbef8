"""Logits of a whole split, computed by a pool of actors that each hold the networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data
from jaxtyping import Float32

from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.dataset.shards import read_crops
from melanoma_ray.inference.pool import map_with_actors
from melanoma_ray.inference.predictor import Scorer
from melanoma_ray.patients import encode_metadata
from melanoma_ray.schema import Split

_BATCH_SIZE = 32
"""Number of images that an actor gets at a time; bounds its memory."""


class _ScoringActor:
    """Scores batches with a scorer that it builds once, when it starts."""

    def __init__(self, build: Callable[[], Scorer], pixels_uri: str, side: int) -> None:
        self.scorer = build()
        self.pixels_uri, self.side = pixels_uri, side

    def __call__(self, batch: pa.Table) -> pa.Table:
        shard, row = (batch.column(name).to_pylist() for name in ("shard", "row"))
        metadata = np.stack(batch.column("metadata").to_numpy())
        logits = self.scorer.score(read_crops(self.pixels_uri, shard, row, self.side), metadata)
        return pa.table({"path": batch.column("path"), "logits": pa.array(list(logits), pa.list_(pa.float32()))})


def score_split(
    dataset: PreparedDataset, split: Split, build: Callable[[], Scorer], *, use_gpu: bool = False
) -> tuple[pd.DataFrame, Float32[np.ndarray, "image diagnosis"]]:
    """Return the index rows of a split's images, sorted by path, and their logits in the same order.

    Args:
        dataset: Prepared dataset.
        split: Split to score.
        build: Function that returns the scorer; called once in each actor.
        use_gpu: Give each actor a GPU.

    Raises:
        DataError: The split is empty.
    """
    images = dataset.split(split)
    rows = pa.Table.from_pandas(
        images[["path", "shard", "row"]].assign(metadata=list(encode_metadata(images))), preserve_index=False
    ).combine_chunks()
    blocks = [rows.slice(start, _BATCH_SIZE) for start in range(0, rows.num_rows, _BATCH_SIZE)]
    scored = map_with_actors(
        ray.data.from_blocks(blocks),
        _ScoringActor,
        {"build": build, "pixels_uri": dataset.pixels_uri, "side": dataset.info.config.image.side},
        batch_size=_BATCH_SIZE,
        use_gpu=use_gpu,
    )
    place = pd.Series(range(scored.num_rows), index=scored.column("path").to_pylist())[images["path"]]
    logits = scored.column("logits").take(pa.array(place)).to_pylist()
    return images, np.asarray(logits, np.float32)


def score_folds(
    dataset: PreparedDataset, builds: Sequence[Callable[[], Scorer]], *, use_gpu: bool = False
) -> tuple[pd.DataFrame, Float32[np.ndarray, "image diagnosis"]]:
    """Return the index rows of all folds' images and their logits, each by the network trained without its fold.

    Args:
        dataset: Prepared dataset with as many folds as there are networks.
        builds: Functions that return the scorer of each fold's network.
        use_gpu: Give each actor a GPU.
    """
    parts = [score_split(dataset.with_fold(fold), "val", build, use_gpu=use_gpu) for fold, build in enumerate(builds)]
    images = pd.concat([images for images, _ in parts], ignore_index=True)
    logits = np.concatenate([logits for _, logits in parts])
    order = images["path"].argsort().to_numpy()
    return images.iloc[order].reset_index(drop=True), logits[order]
