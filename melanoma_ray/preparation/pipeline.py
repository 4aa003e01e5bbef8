"""From a collection to a prepared dataset: decode what is new, resolve labels, split, write.

Everything but the decoding is a pure function of what decoding found, so it is done anew each time;
dataset.json is written last and names the index it belongs to, so a reader sees the old dataset or the new.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.config import PrepareConfig
from melanoma_ray.dataset import prepared
from melanoma_ray.dataset.prepared import DatasetInfo, PreparedDataset
from melanoma_ray.dataset.shards import (
    KEY,
    files_of,
    is_final,
    read_measurements,
    read_thumbnails,
    shards_name,
)
from melanoma_ray.diagnoses import sort_diagnoses
from melanoma_ray.errors import DataError
from melanoma_ray.preparation.audit import Evidence, write_audit
from melanoma_ray.preparation.decoding import decode_shards
from melanoma_ray.preparation.labels import Labels, assign_groups, count_conflicts, resolve_labels
from melanoma_ray.preparation.masks import find_masks
from melanoma_ray.preparation.near_duplicates import NearDuplicates, find_near_duplicates
from melanoma_ray.preparation.splits import assign_splits
from melanoma_ray.schema import INDEX, QUARANTINE, SPLITS
from melanoma_ray.settings import to_dict
from melanoma_ray.sources.layouts import Collection
from melanoma_ray.sources.listing import MASKS
from melanoma_ray.wording import count

logger = logging.getLogger(__name__)

_RULES = 4
"""Raised when the same images and settings come to another result, so that an older one isn't taken for it."""

ShowProgress = Callable[[Iterator[int], int, str], Iterator[int]]
"""Shows progress: counts as they come, how many there will be, and of what."""


def prepare(
    collection: Collection, output: str, config: PrepareConfig, *, show_progress: ShowProgress | None = None
) -> DatasetInfo:
    """Prepare a collection and return what was written.

    Images that an earlier call decoded with the same settings aren't decoded again, and those in its
    splits stay there if the split's settings are the same; where nothing has changed, nothing is done.

    Args:
        collection: From ``read_collection``.
        output: Directory of the prepared dataset; an older one there is replaced when the new is complete.
        config: What decides the result.
        show_progress: Shows the progress of decoding.

    Raises:
        DataError: The output holds something else, or too many images are unreadable.
    """
    uri = storage.absolute(output)
    old = _read_old(uri)
    inputs = _digest(collection, config)
    pixels = shards_name(config.image)
    if old is not None and (old.inputs, old.pixels) == (inputs, pixels):
        logger.info("%s: nothing has changed since it was prepared", uri)
        return old
    _decode_new(collection.table, storage.join(uri, pixels), config, show_progress)
    index, quarantine = _collect(collection.table, storage.join(uri, pixels))
    _check_share(quarantine, collection.table.num_rows, config)
    is_mask = find_masks(index, storage.join(uri, pixels))
    if is_mask.any():
        passed_over = Counter(collection.passed_over) + Counter({MASKS: int(is_mask.sum())})
        collection, index = replace(collection, passed_over=dict(passed_over)), index[~is_mask].reset_index(drop=True)
    resolved = _resolve(index, storage.join(uri, pixels), config, _recorded(uri, old, config))
    index, labels, near_duplicates = resolved.index, resolved.labels, resolved.near_duplicates
    notes = [*_describe_released(resolved.num_released), *_describe_given(collection, index, quarantine)]
    info = _describe(replace(collection, notes=(*collection.notes, *notes)), index, quarantine, config, labels, inputs)
    storage.write_table(storage.join(uri, info.index), _to_table(index, INDEX))
    storage.write_table(storage.join(uri, prepared.QUARANTINE), _to_table(quarantine, QUARANTINE))
    whole = PreparedDataset(uri=uri, info=info, index=index)
    write_audit(Evidence(dataset=whole, quarantine=quarantine, labels=labels, near_duplicates=near_duplicates))
    storage.write_json(storage.join(uri, prepared.DATASET), asdict(info))
    _delete_stale(uri, info, old, index)
    return info


def _read_old(uri: str) -> DatasetInfo | None:
    """Return what is there, if it is a dataset of this format; refuse a directory that holds something else."""
    name = storage.join(uri, prepared.DATASET)
    if storage.exists(name):
        if storage.read_json(name).get("format_version") != prepared.FORMAT_VERSION:
            logger.info("%s: prepared by another version; it is prepared anew", uri)
            return None
        return prepared.read_info(uri)
    check_output(uri)
    return None


def check_output(output: str) -> None:
    """Refuse a directory that holds something else than a prepared dataset.

    Raises:
        DataError: It does.
    """
    uri = storage.absolute(output)
    if storage.exists(storage.join(uri, prepared.DATASET)):
        return
    foreign = [name for name in storage.list_files(uri) if not prepared.name_inside(uri, name).startswith(prepared.OWN)]
    if foreign:
        msg = f"output {uri}: holds other files such as {foreign[0]}; give a new directory"
        raise DataError(msg)


def _digest(collection: Collection, config: PrepareConfig) -> str:
    """Return a SHA-256 of everything that decides a prepared dataset, or that its audit tells."""
    told = collection.diagnoses, collection.notes, collection.passed_over, collection.num_left_out
    digest = hashlib.sha256(repr((_RULES, to_dict(config), *told)).encode())
    rows = pd.util.hash_pandas_object(collection.table.to_pandas().astype(str), index=False)
    digest.update(rows.to_numpy().tobytes())
    return digest.hexdigest()


def _decode_new(source: pa.Table, shards_uri: str, config: PrepareConfig, show_progress: ShowProgress | None) -> None:
    known = read_measurements(shards_uri)
    keys = pd.MultiIndex.from_frame(source.select(KEY).to_pandas())
    is_new = ~keys.isin(pd.MultiIndex.from_frame(known.loc[is_final(known), KEY]))
    num_new = int(is_new.sum())
    logger.info("%d images; %d of them to be decoded", source.num_rows, num_new)
    if num_new:
        counts = decode_shards(source.filter(pa.array(is_new)), shards_uri, config.image)
        for _ in counts if show_progress is None else show_progress(counts, num_new, "images decoded"):
            pass


def _collect(source: pa.Table, shards_uri: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join what decoding found to the source rows; return readable and unreadable images."""
    joined = source.to_pandas().merge(read_measurements(shards_uri), on=KEY, validate="many_to_one").sort_values("path")
    if len(joined) < source.num_rows:
        msg = f"{count(source.num_rows - len(joined), 'image')} changed while being read; run the same command again"
        raise DataError(msg)
    is_bad = joined["fault"].notna()
    return joined[~is_bad].reset_index(drop=True), joined[is_bad].reset_index(drop=True)


def _check_share(quarantine: pd.DataFrame, num_images: int, config: PrepareConfig) -> None:
    share = len(quarantine) / num_images
    if share > config.max_quarantined_fraction and len(quarantine) > 1:  # one bad file of a few is no pattern
        counts = ", ".join(f"{n} {fault}" for fault, n in quarantine["fault"].value_counts().items())
        msg = (
            f"{len(quarantine)} of {num_images} images are unusable ({counts}; the first: "
            f"{quarantine['path'].iloc[0]}): more than max_quarantined_fraction={config.max_quarantined_fraction}; "
            "repair the source, or raise the limit"
        )
        raise DataError(msg)


def _recorded(uri: str, old: DatasetInfo | None, config: PrepareConfig) -> pd.DataFrame | None:
    """Return the earlier assignment to splits, where it was made by the same rule."""
    if old is None or old.config.split != config.split:
        return None
    names = ["content_sha256", "claimed_diagnosis", "path", "split", "fold"]
    recorded = prepared.read_index(storage.join(uri, old.index))[names]
    return recorded.dropna(subset=["split"])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Resolved:
    """Readable images with everything that is decided about them."""

    index: pd.DataFrame
    labels: Labels
    near_duplicates: NearDuplicates
    num_released: int


def _resolve(index: pd.DataFrame, shards_uri: str, config: PrepareConfig, recorded: pd.DataFrame | None) -> _Resolved:
    """Add everything that is decided about an image."""
    near_duplicates = _find_near_duplicates(index, shards_uri, config)
    labels = resolve_labels(index, near_duplicates.pairs, config.duplicates)
    index = index.assign(
        claimed_diagnosis=index["diagnosis"],
        diagnosis=labels.diagnosis,
        resolution=labels.resolution,
        dropped=labels.dropped,
        group_id=assign_groups(index, near_duplicates.pairs),
        split=None,
        fold=None,
    )
    kept = index[labels.dropped.isna()]
    if kept.empty:
        msg = f"none of {len(index)} readable images is left after dropping copies and conflicting diagnoses"
        raise DataError(msg)
    assignment = assign_splits(kept, config.split, recorded)
    for name in ("split", "fold", "dropped"):
        index.loc[kept.index, name] = getattr(assignment, name)
    return _Resolved(index=index, labels=labels, near_duplicates=near_duplicates, num_released=assignment.num_released)


def _find_near_duplicates(index: pd.DataFrame, shards_uri: str, config: PrepareConfig) -> NearDuplicates:
    hashes = np.frombuffer(b"".join(index["perceptual_hash"]), np.uint64).reshape(-1, 4)
    if config.near_duplicates == "ignore":
        hashes = hashes[:0]
    shard, row = index["shard"].to_numpy(), index["row"].to_numpy()
    load = partial(_load_thumbnails, shards_uri, shard, row)
    return find_near_duplicates(hashes, load)


def _load_thumbnails(shards_uri: str, shard: np.ndarray, row: np.ndarray, images: np.ndarray) -> np.ndarray:
    return read_thumbnails(shards_uri, list(shard[images]), list(row[images]))


def _describe(
    collection: Collection,
    index: pd.DataFrame,
    quarantine: pd.DataFrame,
    config: PrepareConfig,
    labels: Labels,
    inputs: str,
) -> DatasetInfo:
    kept = index[index["split"].notna()]
    learnt = kept[kept["split"] != "test"] if config.split.num_folds else kept[kept["split"] == "train"]
    synthetic = index["attribution"].astype("string").str.startswith("synthetic").fillna(value=False)
    order = collection.diagnoses
    counts = {
        split: {str(k): int(v) for k, v in kept.loc[kept["split"] == split, "diagnosis"].value_counts().items()}
        for split in SPLITS
    }
    fingerprint = prepared.fingerprint(kept, config)
    return DatasetInfo(
        format_version=prepared.FORMAT_VERSION,
        inputs=inputs,
        fingerprint=fingerprint,
        is_synthetic=bool(synthetic.any()),
        config=config,
        diagnoses=sort_diagnoses(learnt["diagnosis"], order),
        index=f"index-{hashlib.sha256((inputs + fingerprint).encode()).hexdigest()[:12]}.parquet",
        pixels=shards_name(config.image),
        num_images={split: {d: counts[split][d] for d in sort_diagnoses(counts[split], order)} for split in SPLITS},
        num_dropped={str(k): int(v) for k, v in index["dropped"].value_counts().items()},
        num_quarantined={str(k): int(v) for k, v in quarantine["fault"].value_counts().items()},
        num_conflicts=count_conflicts(labels),
        num_rows_without_file=collection.num_rows_without_file,
        num_files_without_row=collection.num_files_without_row,
        num_left_out=collection.num_left_out,
        taxonomy=order,
        passed_over=collection.passed_over,
        notes=collection.notes,
    )


def _describe_released(number: int) -> list[str]:
    """Say that a given split has taken the place of one that was drawn."""
    what = count(number, "image is", "images are")
    return [f"{what} drawn anew that an earlier preparation drew for a split which is given now"] if number else []


def _describe_given(collection: Collection, index: pd.DataFrame, quarantine: pd.DataFrame) -> list[str]:
    """Say of each given split how many of its images remain, and what became of the others."""
    told = []
    for split in SPLITS:
        found = collection.num_given.get(split, 0)
        mine, bad = (frame[frame["given_split"] == split] for frame in (index, quarantine))
        remain = int(mine["split"].notna().sum())
        if remain == found:
            continue
        num_labelled = pa.compute.sum(pa.compute.equal(collection.table.column("given_split"), split)).as_py() or 0
        lost = {
            "without one of the diagnoses": found - num_labelled,
            "masks": num_labelled - len(mine) - len(bad),
            **{f"unreadable ({fault})": int(count) for fault, count in bad["fault"].value_counts().items()},
            **{str(reason): int(count) for reason, count in mine["dropped"].value_counts().items()},
        }
        why = ", ".join(f"{count:,} {reason}" for reason, count in lost.items() if count)
        drawn = int((index["split"] == split).sum()) if not remain else 0
        instead = f"; {count(drawn, 'image was', 'images were')} drawn in their place" if drawn else ""
        told.append(f"of the given {split} split {remain:,} of {found:,} images remain: {why}{instead}")
    return [*told, *(note for split in SPLITS for note in _describe_cut(index, split))]


def _describe_cut(index: pd.DataFrame, split: str) -> list[str]:
    """Say how many images of a given split lie in others: of a given train split, where no val or test is given."""
    moved = index.loc[(index["given_split"] == split) & index["split"].notna() & (index["split"] != split), "split"]
    return [
        f"{count(int(number), 'image')} of the given {split} split {'was' if number == 1 else 'were'} drawn for {name}"
        for name, number in moved.value_counts().items()
    ]


def _to_table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(frame, schema, preserve_index=False)


def _delete_stale(uri: str, info: DatasetInfo, old: DatasetInfo | None, index: pd.DataFrame) -> None:
    """Delete what neither this dataset nor the one before it needs: someone may be reading that one still."""
    needed = {storage.join(info.pixels, str(shard)) for shard in index["shard"].unique()} | {info.index}
    if old is not None:
        before = prepared.read_index(storage.join(uri, old.index))["shard"].unique()
        needed |= {storage.join(old.pixels, shard) for shard in before} | {old.index}
    needed |= {file for name in list(needed) if name.startswith("pixels-") for file in files_of(name)}
    for path in storage.list_files(uri):
        name = prepared.name_inside(uri, path)
        if name.startswith(("pixels-", "index-")) and name not in needed:
            storage.delete_file(path)
