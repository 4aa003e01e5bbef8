"""From a collection to a prepared dataset: decode in parallel, settle duplicates, split, write."""

from __future__ import annotations

import logging
import uuid
from dataclasses import asdict

import pandas as pd
import pyarrow as pa
import ray.data

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig, PrepareConfig
from melanoma_ray.data import dataset as prepared
from melanoma_ray.data.audit import write_audit
from melanoma_ray.data.dataset import DatasetInfo
from melanoma_ray.data.duplicates import assign_groups, count_conflicts, settle_duplicates
from melanoma_ray.data.layouts import Collection
from melanoma_ray.data.splits import assign_splits
from melanoma_ray.diagnoses import sort_diagnoses
from melanoma_ray.errors import DataError, DecodeError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.schema import INDEX, PIXELS, QUARANTINE, SPLITS

logger = logging.getLogger(__name__)

_IMAGES_PER_BLOCK = 128
"""So that a block of large squares stays well below a hundred megabytes, and small sets use all cores."""


def prepare(collection: Collection, output: str, config: PrepareConfig) -> DatasetInfo:
    """Prepare a collection and return what was written.

    Args:
        collection: From ``read_collection``.
        output: Directory of the prepared dataset; an older one there is replaced when the new is complete.
        config: What decides the result.

    Raises:
        DataError: The output holds something else, or too many images are unreadable.
    """
    uri = storage.absolute(output)
    replaced = _check_output(uri)
    pixels = f"pixels-{uuid.uuid4().hex[:8]}"
    logger.info("decoding %d images", collection.table.num_rows)
    _decode_all(collection.table, storage.join(uri, pixels), config.image)
    index, quarantine = _collect(collection.table, storage.join(uri, pixels))
    _check_share(quarantine, collection.table.num_rows, config)
    index = _settle(index, config)
    info = _describe(collection, index, quarantine, config, pixels)
    storage.write_table(storage.join(uri, prepared.INDEX), pa.Table.from_pandas(index, INDEX, preserve_index=False))
    storage.write_table(
        storage.join(uri, prepared.QUARANTINE), pa.Table.from_pandas(quarantine, QUARANTINE, preserve_index=False)
    )
    write_audit(uri, info, index, quarantine)
    storage.write_json(storage.join(uri, prepared.DATASET), asdict(info))
    if replaced is not None:
        storage.delete_directory(storage.join(uri, replaced))
    return info


def _check_output(uri: str) -> str | None:
    """Refuse a directory that holds something else; return the name of older pixels to delete."""
    if storage.exists(storage.join(uri, prepared.DATASET)):
        return prepared.read_info(uri).pixels
    foreign = [name for name in storage.list_files(uri) if "/pixels-" not in name]
    if foreign:
        msg = f"output {uri}: holds other files such as {foreign[0]}; give a new directory"
        raise DataError(msg)
    return None


def _decode_all(table: pa.Table, pixels_uri: str, config: ImageConfig) -> None:
    filesystem, path = storage.resolve(pixels_uri)
    num_blocks = max(1, -(-table.num_rows // _IMAGES_PER_BLOCK))
    paths = ray.data.from_arrow(table.select(["path"]), override_num_blocks=num_blocks)
    decoded = paths.map_batches(
        decode_batch, batch_size=None, batch_format="pyarrow", fn_kwargs={"config": config}, zero_copy_batch=True
    )
    decoded.write_parquet(path, filesystem=filesystem, compression="zstd")


def decode_batch(batch: pa.Table, config: ImageConfig) -> pa.Table:
    """Read and decode each file of a batch; a bad one becomes a row with its fault."""
    rows = [_decode_file(path, config) for path in batch.column("path").to_pylist()]
    return pa.Table.from_pylist(rows, schema=PIXELS)


def _decode_file(path: str, config: ImageConfig) -> dict[str, object]:
    row: dict[str, object] = {"path": path}
    try:
        encoded = storage.read_bytes(path)
        row["num_bytes"] = len(encoded)
        image = decode_image(encoded, config)
    except DecodeError as error:
        return row | {"fault": error.fault, "detail": error.detail}
    except OSError as error:
        return row | {"fault": "unreadable", "detail": str(error)}
    return row | {
        "pixels": image.pixels.tobytes(),
        "content_sha256": image.content_sha256,
        "width": image.width,
        "height": image.height,
    }


def _collect(source: pa.Table, pixels_uri: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join what decoding found to the source rows; return readable and unreadable images."""
    found = storage.read_table(pixels_uri, [name for name in PIXELS.names if name != "pixels"]).to_pandas()
    joined = source.to_pandas().merge(found, on="path", validate="one_to_one").sort_values("path")
    is_bad = joined["fault"].notna()
    return joined[~is_bad].reset_index(drop=True), joined[is_bad].reset_index(drop=True)


def _check_share(quarantine: pd.DataFrame, num_images: int, config: PrepareConfig) -> None:
    share = len(quarantine) / num_images
    if share > config.max_quarantined_fraction:
        counts = ", ".join(f"{n} {fault}" for fault, n in quarantine["fault"].value_counts().items())
        msg = (
            f"{len(quarantine)} of {num_images} images are unusable ({counts}; the first: "
            f"{quarantine['path'].iloc[0]}): more than max_quarantined_fraction={config.max_quarantined_fraction}; "
            "repair the source, or raise the limit"
        )
        raise DataError(msg)


def _settle(index: pd.DataFrame, config: PrepareConfig) -> pd.DataFrame:
    """Add group_id, split and dropped."""
    dropped = settle_duplicates(index, config.duplicates)
    index = index.assign(group_id=assign_groups(index), dropped=dropped, split=None)
    kept = index[dropped.isna()]
    if kept.empty:
        msg = f"none of {len(index)} readable images is left after dropping duplicates and conflicting diagnoses"
        raise DataError(msg)
    split, crossing = assign_splits(kept, config.split)
    index.loc[kept.index, "split"] = split
    index.loc[kept.index, "dropped"] = crossing
    return index


def _describe(
    collection: Collection, index: pd.DataFrame, quarantine: pd.DataFrame, config: PrepareConfig, pixels: str
) -> DatasetInfo:
    kept = index[index["split"].notna()]
    train = kept[kept["split"] == "train"]
    synthetic = index["attribution"].astype("string").str.startswith("synthetic").fillna(value=False)
    counts = {
        split: {str(k): int(v) for k, v in kept.loc[kept["split"] == split, "diagnosis"].value_counts().items()}
        for split in SPLITS
    }
    return DatasetInfo(
        format_version=prepared.FORMAT_VERSION,
        fingerprint=prepared.fingerprint(kept, config),
        is_synthetic=bool(synthetic.any()),
        config=config,
        diagnoses=sort_diagnoses(train["diagnosis"]),
        pixels=pixels,
        num_images={split: {d: counts[split][d] for d in sort_diagnoses(counts[split])} for split in SPLITS},
        num_dropped={str(k): int(v) for k, v in index["dropped"].value_counts().items()},
        num_quarantined={str(k): int(v) for k, v in quarantine["fault"].value_counts().items()},
        num_conflicts=count_conflicts(index),
        num_rows_without_file=collection.num_rows_without_file,
        num_files_without_row=collection.num_files_without_row,
    )
