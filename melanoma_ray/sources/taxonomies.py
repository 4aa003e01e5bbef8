"""The taxonomy that a user names: a CSV table of one's own, or a built-in one of two classes."""

from __future__ import annotations

from dataclasses import replace

from melanoma_ray import storage
from melanoma_ray.diagnoses import BENIGN_OR_MALIGNANT, MELANOMA_OR_OTHER, Taxonomy, load_taxonomy, two_way
from melanoma_ray.errors import DataError

_TWO_WAY = {"benign-malignant": BENIGN_OR_MALIGNANT, "melanoma-other": MELANOMA_OR_OTHER}


def open_taxonomy(name: str) -> Taxonomy:
    """Return a taxonomy.

    Args:
        name: Path of a CSV table, local or such as s3://bucket/taxonomy.csv, or ``benign-malignant`` or
            ``melanoma-other``.

    Raises:
        DataError: There is no such table, or it isn't one.
    """
    if name in _TWO_WAY:
        return _with_flags(two_way(load_taxonomy(), _TWO_WAY[name]))
    try:
        return replace(load_taxonomy(storage.read_bytes(name)), origin=storage.absolute(name))
    except DataError as error:
        msg = f"{name}: {error}"
        raise DataError(msg) from error
    except OSError as error:
        msg = f"taxonomy {name}: can't be read ({error.strerror or error}); give a CSV, or {' or '.join(_TWO_WAY)}"
        raise DataError(msg) from error


def _with_flags(taxonomy: Taxonomy) -> Taxonomy:
    """Return a taxonomy of two classes in which yes and no are words too: of a column that was named by hand."""
    negative, positive = (one.name for one in taxonomy.diagnoses)
    words = dict.fromkeys(("1", "1.0", "true", "yes"), positive) | dict.fromkeys(("0", "0.0", "false", "no"), negative)
    return replace(taxonomy, meanings={**taxonomy.meanings, **words})
