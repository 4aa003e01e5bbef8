"""Who goes to train, val and test: a pure function of groups, diagnoses, a seed and what was decided before.

A group (images of one lesion, patient or picture) is never cut. Groups are spread evenly by diagnosis
and by their number of images, as in the triple-stratified folds of SIIM-ISIC 2020
(https://www.kaggle.com/c/siim-isic-melanoma-classification/discussion/165526).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_ray.config import SplitConfig
from melanoma_ray.errors import DataError

CROSSES = "group stands in the given test split"
CROSSES_VAL = "group stands in the given val split"
TIED = "tied by a later image to val or test"
_STRENGTH = {"test": 0, "val": 1, "train": 2}
"""Where a group's recorded images lie on several sides, the first side keeps it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Of each image; every series is indexed as the images were."""

    split: pd.Series
    fold: pd.Series
    """Of cross-validation, from 0; nothing without folds, and for test images."""
    dropped: pd.Series
    """Why an image stands in no split, or nothing."""
    num_released: int
    """Images that an earlier preparation drew for test or val, drawn anew since that split is given now."""


def assign_splits(index: pd.DataFrame, config: SplitConfig, recorded: pd.DataFrame | None = None) -> Assignment:
    """Return each image's split and fold, and why it is dropped (nothing for almost all).

    A collection that comes with its own test or val images keeps them: only the other splits are cut from the rest,
    and images of the rest that share a group with them are dropped. With folds a given val split isn't used.

    Args:
        index: Kept images, with diagnosis, claimed_diagnosis, group_id, content_sha256, given_split and path.
        config: Method, fractions or folds, and seed.
        recorded: content_sha256, claimed_diagnosis, path, split and fold of an earlier preparation by the same
            settings. Its images stay where they are, and new ones of their groups join them; where a new image ties
            groups of several sides, test is stronger than val and val than train, and the weaker side's images
            are dropped. Where a test or val split is given, it is made of the given images alone, and what was
            recorded on that side before is drawn anew.

    Raises:
        DataError: There is no image for training, or for a split that is asked for.
    """
    if config.method == "all-test":
        nothing = pd.Series(None, index.index, object)
        return _to_assignment(pd.Series("test", index.index, object), nothing, config, 0)
    given = _given_sides(index, config)
    names = set(index["given_split"].dropna())
    sides = _list_sides(config, has_test="test" in names, has_val="val" in names)
    side = _recorded_sides(index, config, recorded)
    is_released = side.isin(given.dropna().unique()) & given.isna()  # a given split is made of the given images alone
    side = side.mask(is_released, None).where(given.isna(), given)
    dropped = pd.Series([None] * len(index), index=index.index, dtype=object)
    if config.method == "grouped":
        dropped = _drop_crossing(index, side, given)
    open_ = index[side.isna() & dropped.isna()]
    if config.method == "random":
        side[open_.index] = _draw_images(open_, sides, config.seed)
    else:
        is_shared = dropped.isna() & side.map(lambda name: name is None or sides.get(name, 0) > 0)  # not a given split
        group_side = _draw_groups(index.assign(side=side)[is_shared], sides, config.seed)
        side[open_.index] = open_["group_id"].map(group_side)
        _fill_empty_sides(index[dropped.isna()], side, open_.index, sides)
    if not (side.notna() & ~side.isin({"test"} if config.num_folds else {"test", "val"})).any():
        raise DataError(_describe_lack(index[dropped.isna()], "train"))
    return _to_assignment(side, dropped, config, int(is_released.sum()))


def _list_sides(config: SplitConfig, *, has_test: bool, has_val: bool) -> dict[str, float]:
    """Return what there is to be assigned and its share of the images; a fold is called by its number."""
    test = 0.0 if has_test else config.test_fraction
    if config.num_folds:
        folds = {str(fold): (1 - test) / config.num_folds for fold in range(config.num_folds)}
        return {"test": test} | folds
    val = 0.0 if has_val else config.val_fraction
    return {"test": test, "val": val, "train": 1 - test - val}


def _recorded_sides(index: pd.DataFrame, config: SplitConfig, recorded: pd.DataFrame | None) -> pd.Series:
    """Return the side on which an earlier preparation put each image, or nothing; a fold is called by its number."""
    if recorded is None:
        return pd.Series([None] * len(index), index=index.index, dtype=object)
    key = _record_keys(index, config)
    before = recorded.assign(key=_record_keys(recorded, config)).drop_duplicates("key").set_index("key")
    side = key.map(before["split"]).astype(object)
    if config.num_folds:
        fold = key.map(before["fold"])
        side = side.mask(fold.notna(), fold.map("{:.0f}".format, na_action="ignore"))
    return side.where(side.notna(), None)


def _given_sides(index: pd.DataFrame, config: SplitConfig) -> pd.Series:
    """Return the side that the collection itself gives each image, where it counts: test, and without folds val."""
    counts = {"test"} if config.num_folds else {"test", "val"}
    return index["given_split"].where(index["given_split"].isin(counts), None).astype(object)


def _drop_crossing(index: pd.DataFrame, side: pd.Series, given: pd.Series) -> pd.Series:
    """Return why images must leave, since their group stands on a stronger side; they lose their side, in place."""
    group = index["group_id"]
    is_test, is_val = given == "test", given == "val"
    weaker = side.notna() & (side != group.map(_strongest_sides(group, side)))
    crosses_val = group.isin(group[is_val]) & ~is_val & (side != "test")
    crosses = group.isin(group[is_test]) & ~is_test
    dropped = pd.Series([None] * len(index), index=index.index, dtype=object)
    dropped[weaker], dropped[crosses_val], dropped[crosses] = TIED, CROSSES_VAL, CROSSES
    side[weaker | crosses_val | crosses] = None
    return dropped


def _record_keys(images: pd.DataFrame, config: SplitConfig) -> pd.Series:
    """Return by what an image is found again: its bytes, and where copies may part, which of the copies it is."""
    content = images["content_sha256"]
    if config.method == "grouped":
        return content
    copy = images.sort_values("path").groupby(["content_sha256", "claimed_diagnosis"]).cumcount()
    return content + ":" + images["claimed_diagnosis"] + ":" + copy.astype(str)


def _strongest_sides(group: pd.Series, side: pd.Series) -> pd.Series:
    """Return the side that each group with a recorded image keeps; among folds that of most images, then the lowest."""
    known = pd.DataFrame({"group": group, "side": side}).dropna()
    votes = known.groupby(["group", "side"]).size().reset_index(name="votes")
    votes["strength"] = votes["side"].map(_STRENGTH).fillna(1)
    return (
        votes.sort_values(["strength", "votes", "side"], ascending=[True, False, True]).groupby("group")["side"].first()
    )


def _draw_images(images: pd.DataFrame, sides: dict[str, float], seed: int) -> np.ndarray:
    """Shuffle image by image, whatever belongs together: the seed's protocol."""
    order = np.random.default_rng(seed).permutation(len(images))
    position = np.empty(len(images))
    position[order] = np.arange(len(images)) / max(1, len(images))
    names, shares = list(sides), np.array(list(sides.values()))
    return np.array(names, object)[np.searchsorted(np.cumsum(shares)[:-1], position, side="right")]


def _draw_groups(index: pd.DataFrame, sides: dict[str, float], seed: int) -> dict[str, str]:
    """Return the side of each group: stratum by stratum, each group to the side that lacks most images.

    A group of several diagnoses counts as its rarest one, which has fewest images to lose.
    """
    rarity = index["diagnosis"].map(index["diagnosis"].value_counts())
    rarest = index.assign(rarity=rarity).sort_values(["rarity", "diagnosis"]).groupby("group_id")
    groups = pd.DataFrame(
        {"diagnosis": rarest["diagnosis"].first(), "size": rarest.size(), "side": rarest["side"].first()}
    )
    groups["order"] = [hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() for name in groups.index]
    found: dict[str, str] = {}
    for _, of_diagnosis in groups.groupby("diagnosis"):
        found |= _fill(of_diagnosis, sides)
    return found


def _fill(groups: pd.DataFrame, sides: dict[str, float]) -> dict[str, str]:
    """Assign the groups of one diagnosis, the large ones first and among those of one size class in a drawn order.

    Each group goes to the side whose number of images falls furthest behind its share, first of the
    same size class, then of the diagnosis; training, the largest share, comes before others on a tie.
    """
    names = sorted(sides, key=lambda name: (-sides[name], name))
    shares = np.array([sides[name] for name in names])
    of_all = _count(groups, names)
    found = {str(name): str(side) for name, side in groups["side"].dropna().items()}
    size_class = np.floor(np.log2(groups["size"].to_numpy())).astype(int)
    for number in sorted(set(size_class), reverse=True):
        members = groups[size_class == number].sort_values("order")
        of_class = _count(members, names)
        for name, size in members.loc[members["side"].isna(), "size"].items():
            lack = shares * (of_all.sum() + size) - of_all
            lack_in_class = shares * (of_class.sum() + size) - of_class
            best = int(np.argmax(np.where(shares > 0, lack + 0.5 * lack_in_class, -np.inf)))
            of_all[best] += size
            of_class[best] += size
            found[str(name)] = names[best]
    return found


def _fill_empty_sides(kept: pd.DataFrame, side: pd.Series, is_open: pd.Index, sides: dict[str, float]) -> None:
    """Give a side that got nothing, in place, one group of the largest side; where there is none to give, say why.

    Diagnoses of few images each round to nothing: eight images of four diagnoses would all be for training. A side
    whose share is less than one image may stay empty.

    Raises:
        DataError: A side must stay empty, since too few groups are there.
    """
    for name, share in sides.items():
        of_side = side[kept.index]
        if name == "train" or share * len(kept) < 1 or (of_side == name).any():
            continue
        groups = kept.loc[kept.index.isin(is_open)].assign(side=of_side).groupby("group_id")
        table = pd.DataFrame({"side": groups["side"].first(), "diagnosis": groups["diagnosis"].first()})
        table["size"] = groups.size()
        givers = table[table.groupby("side")["size"].transform("size") > 1]
        if givers.empty:
            raise DataError(_describe_lack(kept, name))
        largest = givers[givers["side"] == givers["side"].value_counts().index[0]]
        commonest = largest[largest["diagnosis"] == largest["diagnosis"].value_counts().index[0]]
        chosen = commonest.sort_values("size", kind="stable").index[0]
        side[kept.index[kept["group_id"] == chosen]] = name


def _describe_lack(kept: pd.DataFrame, name: str) -> str:
    """Say why there is nothing for a side: which lesion, patient or picture holds the images together."""
    given = sorted(set(kept["given_split"].dropna()) & {"test", "val"})
    if len(kept) and kept["given_split"].isin(given).all():
        where = " or ".join(given)
        return (
            f"no image is left for the {name} split: all {len(kept)} images are in the given {where} split; "
            "give the images to train on as well, or --split.method all-test for a collection for evaluation alone"
        )
    sizes = kept["group_id"].value_counts()
    largest = kept[kept["group_id"] == sizes.index[0]]
    shared = [
        f"{column} {largest[column].iloc[0]!r}"
        for column in ("lesion_id", "patient_id")
        if largest[column].notna().all() and largest[column].nunique() == 1 and len(largest) > 1
    ]
    because = f" ({', '.join(shared)})" if shared else ""
    out = " or give --split.test-fraction 0" if name == "test" else ""
    return (
        f"no image is left for the {name} split: the {len(kept)} images form {len(sizes)} groups of one lesion, "
        f"patient or picture, the largest of {sizes.iloc[0]} images{because}; check these ids, add images{out}"
    )


def _count(groups: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return the images already on each side."""
    return groups.groupby("side")["size"].sum().reindex(list(names)).fillna(0).to_numpy(np.float64, copy=True)


def _to_assignment(side: pd.Series, dropped: pd.Series, config: SplitConfig, num_released: int) -> Assignment:
    if not config.num_folds:
        return Assignment(split=side, fold=side.map(lambda _: None), dropped=dropped, num_released=num_released)
    is_fold = side.notna() & (side != "test")
    fold = pd.to_numeric(side.where(is_fold, None), errors="coerce")
    split = side.mask(is_fold, fold.map(lambda number: "val" if number == 0 else "train"))
    return Assignment(split=split, fold=fold, dropped=dropped, num_released=num_released)
