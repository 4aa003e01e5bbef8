"""Which files are byte for byte the same picture, found without reading all of them.

Files of different sizes differ. Of those of one size a few kilobytes from their middle are compared, and only where
these are the same the whole files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from melanoma_ray import storage
from melanoma_ray.sources.containers import split_address

_SAMPLE_BYTES = 4096
_NUM_READERS = 8


def find_copies(images: pd.DataFrame, is_first: Sequence[bool], together: Sequence[str] = ()) -> pd.Series:
    """Return the path of the image of which each one is a copy; None: it is the first of its picture.

    Entries of container files aren't compared. A file that can't be read is no copy.

    Args:
        images: path and num_bytes, sorted by path.
        is_first: Images that come before all others as the first of their picture, such as those already answered.
        together: Columns that must be equal, too.
    """
    paths = images["path"].astype(str)
    files = images[[not split_address(path)[0] for path in paths]]
    groups: pd.Series = files["num_bytes"].astype(str)
    for name in together:
        groups = groups + "\n" + pd.Series([repr(value) for value in files[name]], index=files.index)
    for digest in (_digest_sample, _digest_whole):
        groups = groups[groups.duplicated(keep=False)]
        groups = _refine(groups, paths, digest)
    order = pd.Series(is_first, index=images.index)[groups.index].sort_values(ascending=False, kind="stable").index
    first = dict(paths[order].groupby(groups[order]).transform("first"))
    found = [None if first.get(row, path) == path else first[row] for row, path in paths.items()]
    return pd.Series(found, index=images.index, dtype=object)


def _refine(groups: pd.Series, paths: pd.Series, digest: Callable[[str], str | None]) -> pd.Series:
    """Return the groups divided by a digest of each file; those that can't be read are left out."""
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        digests = pd.Series(list(pool.map(digest, paths[groups.index])), index=groups.index, dtype=object)
    known: pd.Series = digests.dropna()
    return groups[known.index] + "\n" + known.astype(str)


def _digest_sample(path: str) -> str | None:
    try:
        filesystem, name = storage.resolve(path)
        with filesystem.open_input_file(name) as file:
            start = max(0, (file.size() - _SAMPLE_BYTES) // 2)
            return hashlib.sha256(file.read_at(_SAMPLE_BYTES, start)).hexdigest()
    except OSError:
        return None


def _digest_whole(path: str) -> str | None:
    try:
        return hashlib.sha256(storage.read_bytes(path)).hexdigest()
    except OSError:
        return None


def fold_copies(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the images that a reader sees: copies of one patient and lesion are one row, and told in ``copies``.

    A copy under another patient or lesion stays, and tells the first.

    Args:
        answers: path, copy_of, patient_id and lesion_id.
    """
    groups = dict(zip(answers["path"], map(_owner, answers["patient_id"], answers["lesion_id"]), strict=True))
    is_folded = [_is_folded(groups, path, of) for path, of in zip(answers["path"], answers["copy_of"], strict=True)]
    copies: dict[str, list[str]] = {}
    for path, of, folded in zip(answers["path"], answers["copy_of"], is_folded, strict=True):
        if isinstance(of, str):
            holder, other = (of, path) if folded else (path, of)
            copies.setdefault(holder, []).append(other)
    kept = answers[~np.array(is_folded, bool)]
    return kept.assign(copies=pd.Series([copies.get(path) for path in kept["path"]], index=kept.index, dtype=object))


def _owner(patient: Any, lesion: Any) -> tuple[Hashable, Hashable]:  # noqa: ANN401 - cells of a table
    return (None if pd.isna(patient) else str(patient), None if pd.isna(lesion) else str(lesion))


def _is_folded(groups: dict[str, tuple[Hashable, Hashable]], path: str, of: object) -> bool:
    return isinstance(of, str) and groups[path] in {groups[of], (None, None)}
