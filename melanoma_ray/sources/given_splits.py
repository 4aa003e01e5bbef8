"""The split that a collection itself gives: by its folders, else by a table's column, else by a container's name.

The rule: only what says one split and nothing else gives one (``parse_split``); what may mean one is told instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import pandas as pd

from melanoma_ray.schema import SPLITS
from melanoma_ray.sources.cells import SPLIT_WORDS, parse_split, split_tokens
from melanoma_ray.wording import count

NO_SPLIT = "no split was given"
"""What is said of a collection that brings no split of its own."""
_SHARD = re.compile(r"^([a-z]+)-\d{5}-of-\d{5}", re.IGNORECASE)
"""The beginning of a Parquet file's name in a Hugging Face data set."""
_DOUBTFUL = frozenset({"dev", "holdout", "heldout", "hold", "eval", "evaluation", "unseen"})
"""Words that some use for a val and some for a test split."""
_MOST_NAMED = 3
_BESIDE_IN_FILES = frozenset({"isic", "ham", "skin", "shard", "part", "of", "jpg", "jpeg", "png", "bytes"})
"""Words of containers' names that tell nothing of a split: ``isic_test.parquet``, ``train-image.hdf5``."""


def split_of_folders(folders: Sequence[str]) -> str | None:
    """Return the split that the folders of an image name, the outermost one if there are several."""
    return next((split for name in folders if (split := parse_split(name)) is not None), None)


def split_of_container(path: str | None) -> str | None:
    """Return the split that the name of an HDF5 or Parquet file gives.

    >>> split_of_container("a/train-00000-of-00001-ab12.parquet"), split_of_container("test-image.hdf5")
    ('train', 'test')
    """
    if not path:
        return None
    stem = PurePosixPath(path).stem
    shard = _SHARD.match(stem)
    if shard is not None:
        return SPLIT_WORDS.get(shard[1].lower())
    return parse_split(" ".join(t for t in split_tokens(stem) if not t.isdigit()), _BESIDE_IN_FILES)


def give_splits(
    folders: Sequence[Sequence[str]], by_column: pd.Series, by_container: pd.Series
) -> tuple[pd.Series, list[str]]:
    """Return the given split of each image, and what a person should know of it.

    Args:
        folders: Of each image, from the outermost one.
        by_column: What a table says, where it does.
        by_container: What the name of its container says.
    """
    index = by_column.index
    by_folder = pd.Series([split_of_folders(one) for one in folders], index=index, dtype=object)
    found = by_folder.fillna(by_column).fillna(by_container).astype(object)
    claims = pd.DataFrame({"folder": by_folder, "table": by_column, "file": by_container})
    notes = []
    for first, second in (("folder", "table"), ("folder", "file"), ("table", "file")):
        both = claims[[first, second]].dropna()
        differ = both[both[first] != both[second]]
        if len(differ):
            pairs = Counter(f"{first} {a}, {second} {b}" for a, b in differ.itertuples(index=False))
            told = "; ".join(f"{pair} ({count:,})" for pair, count in pairs.most_common(4))
            rest = {"folder": "the folder counts", "table": "the table counts"}[first]
            notes.append(
                f"{_count(len(differ))} in one split by the {first} and in another by the {second} ({told}): {rest}"
            )
    notes += _describe_several(folders)
    return found.where(found.notna(), None), [*notes, *_describe_doubtful(folders)]


def describe_given_split(given: pd.Series) -> str:
    """Return the sizes of the split that the sources themselves bring, in words."""
    counts = given.value_counts()
    told = ", ".join(f"{split} {int(counts[split])}" for split in SPLITS if split in counts)
    return f"given split: {told}" if told else NO_SPLIT


def _count(number: int) -> str:
    return count(number, "image is", "images are")


def _describe_several(folders: Sequence[Sequence[str]]) -> list[str]:
    """Say which folders of different splits lie in each other."""
    told = [[split for name in one if (split := parse_split(name)) is not None] for one in folders]
    number = sum(len(set(one)) > 1 for one in told)
    return [f"{_count(number)} in folders of several splits: the outermost counts"] if number else []


def _describe_doubtful(folders: Sequence[Sequence[str]]) -> list[str]:
    """Name the folders that may mean a val or test split, but say something else too."""
    names = Counter(
        name
        for one in folders
        if split_of_folders(one) is None
        for name in one
        if any(SPLIT_WORDS.get(token) in {"val", "test"} or token in _DOUBTFUL for token in split_tokens(name))
    )
    more = len(names) - _MOST_NAMED
    rest = [f"{count(more, 'more folder')} may mean a split, and {'is' if more == 1 else 'are'} not taken for one"]
    return [
        f"the folder {name} ({count(number, 'image')}) may mean a split, and isn't taken for one: call it test or val "
        "if it is"
        for name, number in names.most_common(_MOST_NAMED)
    ] + rest * (more > 0)
