"""Who goes to train, val and test: a pure function of the images' groups, diagnoses and a seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from melanoma_ray.config import SplitConfig

CROSSES = "group stands in the given test split"


def assign_splits(index: pd.DataFrame, config: SplitConfig) -> tuple[pd.Series, pd.Series]:
    """Return each image's split and why it is dropped (nothing for almost all).

    A collection that comes with its own Test folder keeps it: only train and val are cut from the rest,
    and images of the rest that share a group with the test images are dropped.

    Args:
        index: Kept images, with diagnosis, group_id, given_split and path.
        config: Method, fractions and seed.
    """
    split = pd.Series([None] * len(index), index=index.index, dtype=object)
    dropped = split.copy()
    is_test = index["given_split"] == "test"
    split[is_test] = "test"
    if config.method == "grouped" and is_test.any():
        crosses = index["group_id"].isin(index["group_id"][is_test]) & ~is_test
        dropped[crosses] = CROSSES
    rest = index[~is_test & dropped.isna()]
    test_fraction = 0.0 if is_test.any() else config.test_fraction
    assign = _split_groups if config.method == "grouped" else _split_images
    split[rest.index] = assign(rest, test_fraction, config)
    return split, dropped


def _cut(position: np.ndarray, test_fraction: float, val_fraction: float) -> np.ndarray:
    """Return the split of places in [0, 1): test first, then val, then train."""
    bounds = np.array([test_fraction, test_fraction + val_fraction])
    return np.array(["test", "val", "train"], object)[np.searchsorted(bounds, position, side="right")]


def _split_images(index: pd.DataFrame, test_fraction: float, config: SplitConfig) -> np.ndarray:
    """Shuffle image by image, whatever belongs together: the seed's protocol."""
    order = np.random.default_rng(config.seed).permutation(len(index))
    position = np.empty(len(index))
    position[order] = np.arange(len(index)) / max(1, len(index))
    return _cut(position, test_fraction, config.val_fraction)


def _split_groups(index: pd.DataFrame, test_fraction: float, config: SplitConfig) -> pd.Series:
    """Cut each diagnosis's groups, in the order of a seeded hash of their ids, by their share of images.

    A group of several diagnoses counts as its rarest one, which has fewest images to lose.
    """
    rarity = index["diagnosis"].map(index["diagnosis"].value_counts())
    groups = pd.DataFrame(
        {
            "diagnosis": index.assign(rarity=rarity).sort_values("rarity").groupby("group_id")["diagnosis"].first(),
            "size": index.groupby("group_id").size(),
        }
    )
    groups["order"] = [_hash(config.seed, str(name)) for name in groups.index]
    groups = groups.sort_values("order")
    by_diagnosis = groups.groupby("diagnosis")["size"]
    middle = by_diagnosis.cumsum() - groups["size"] / 2
    groups["split"] = _cut((middle / by_diagnosis.transform("sum")).to_numpy(), test_fraction, config.val_fraction)
    return index["group_id"].map(groups["split"])


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
