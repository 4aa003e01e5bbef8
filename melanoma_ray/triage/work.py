"""The images that are asked about beside the answers that there are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.errors import ConfigError
from melanoma_ray.triage.copies import find_copies
from melanoma_ray.triage.parts import Parts, make_keys

_ASKED = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("image_id", pa.string()),
        ("age", pa.float64()),
        ("sex", pa.string()),
        ("site", pa.string()),
    ]
)


def check_apart(output: str, images: str, flag: str) -> None:
    """Refuse an output inside the folder of the images, since what is in it would be taken for images the next time.

    Args:
        output: Directory that is written to.
        images: Folder of the images.
        flag: Part of the command line that gives the output, such as ``--output``.

    Raises:
        ConfigError: It is inside.
    """
    inner, outer = storage.absolute(output), storage.absolute(images)
    if storage.is_local(inner) and storage.is_local(outer):
        inner, outer = str(Path(inner).resolve()), str(Path(outer).resolve())
    if f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/"):
        msg = f"{flag} {output}: lies in the folder of the images, {images}; give a folder outside of it"
        raise ConfigError(msg)


def find_work(images: pd.DataFrame, parts: Parts, *, uses_metadata: bool) -> pd.DataFrame:
    """Return the images with the key of their answer, whether it is there already, and of which image they are copies.

    A copy has the key of the image of which it is one.
    """
    keys = make_keys(images, uses_metadata=uses_metadata)
    earlier = parts.read_answers().select(["key", "decision"]).to_pandas()
    answered = set(earlier.loc[earlier["decision"].notna(), "key"])  # what couldn't be read is tried again
    is_kept = keys.isin(answered)
    copy_of = find_copies(images, list(is_kept), ["age", "sex", "site"] if uses_metadata else [])
    own = dict(zip(images["path"], keys, strict=True))
    shared = pd.Series([own.get(of, key) for of, key in zip(copy_of, keys, strict=True)], index=keys.index)
    return images.assign(key=shared, is_kept=is_kept, copy_of=copy_of)


def tabulate(images: pd.DataFrame) -> pa.Table:
    """Return what an actor must know of some images (``PredictingActor``)."""
    return pa.Table.from_pandas(images[_ASKED.names], _ASKED, preserve_index=False).combine_chunks()


def gather(asked: pd.DataFrame, answers: pa.Table) -> pa.Table:
    """Return the answers in the order of the images, each under its own path and name; copies tell whose they are.

    Args:
        asked: key, path, image_id and copy_of.
        answers: A row for each key (``Parts.read_answers``).
    """
    place = pd.Series(range(answers.num_rows), index=answers.column("key").to_pylist())
    rows = answers.drop_columns(["key"]).take(pa.array(place[asked["key"]].to_numpy(), pa.int64()))
    for name in ("image_id", "path"):
        number = rows.schema.get_field_index(name)
        rows = rows.set_column(number, rows.schema.field(name), pa.array(list(asked[name]), pa.string()))
    copies = [of if isinstance(of, str) else None for of in asked["copy_of"]]
    return rows.append_column("copy_of", pa.array(copies, pa.string()))


def add_owners(predictions: pa.Table, asked: pd.DataFrame) -> pd.DataFrame:
    """Return predictions.parquet with patient_id, lesion_id and key, in the order of both."""
    own = asked.reset_index(drop=True)
    frame: pd.DataFrame = predictions.to_pandas()
    return frame.assign(patient_id=own["patient_id"], lesion_id=own["lesion_id"], key=own["key"])
