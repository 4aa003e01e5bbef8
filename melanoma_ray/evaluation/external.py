"""Other people's images: a labelled collection without a split becomes something that a model can be evaluated on."""

from __future__ import annotations

from collections.abc import Sequence

from melanoma_ray.config import PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.diagnoses import (
    BENIGN_OR_MALIGNANT,
    MELANOMA_OR_OTHER,
    NINE,
    Taxonomy,
    load_taxonomy,
    two_way,
)
from melanoma_ray.errors import ConfigError
from melanoma_ray.model.checkpoint import Manifest
from melanoma_ray.preparation.pipeline import ShowProgress, prepare
from melanoma_ray.sources.layouts import Collection, read_collection
from melanoma_ray.sources.taxonomies import open_taxonomy


def read_images(
    manifest: Manifest,
    images: Sequence[str],
    metadata: Sequence[str] = (),
    taxonomy: str | None = None,
    columns: Sequence[str] = (),
) -> Collection:
    """Return a labelled collection in the words of a model.

    Args:
        manifest: Manifest of the model.
        images: As for ``read_collection``.
        metadata: As for ``read_collection``.
        taxonomy: Table or name of a taxonomy, as for jobs.prepare; none: the model's own.
        columns: As for ``read_collection``.

    Raises:
        ConfigError: The model has diagnoses of its own and no taxonomy is given, or a column's name isn't one of ours.
        DataError: As for ``read_collection``.
    """
    words = find_words(manifest, taxonomy)
    return read_collection(images, metadata, words, columns)


def find_words(manifest: Manifest, taxonomy: str | None) -> Taxonomy | None:
    """Return what words for a lesion mean where a model is evaluated; none: as they mean by default.

    Args:
        manifest: Manifest of the model.
        taxonomy: Table or name of a taxonomy; none: the model's own.

    Raises:
        ConfigError: The model has diagnoses of its own and no taxonomy is given.
    """
    return _taxonomy_of(manifest) if taxonomy is None else open_taxonomy(taxonomy)


def _taxonomy_of(manifest: Manifest) -> Taxonomy | None:
    """Return what words for a lesion mean for a model; none: as they mean by default.

    Raises:
        ConfigError: The model has diagnoses of its own, whose words only its own taxonomy table knows.
    """
    if manifest.taxonomy == NINE:
        return None
    for classes in (BENIGN_OR_MALIGNANT, MELANOMA_OR_OTHER):
        if manifest.taxonomy == classes:
            return two_way(load_taxonomy(), classes)
    names = ", ".join(one.name for one in manifest.taxonomy)
    msg = f"the checkpoint has diagnoses of its own ({names}): give the --taxonomy table that it was prepared with"
    raise ConfigError(msg)


def prepare_images(
    collection: Collection, output: str, manifest: Manifest, *, show_progress: ShowProgress | None = None
) -> PreparedDataset:
    """Prepare a collection for a model: its image settings, copies dropped, and every image in the test split.

    Args:
        collection: From ``read_collection``.
        output: Directory for the prepared dataset.
        manifest: Manifest of the model.
        show_progress: Shows the progress of decoding.

    Raises:
        DataError: The output holds something else, or too many images are unreadable.
    """
    config = PrepareConfig(image=manifest.image, split=SplitConfig(method="all-test"))
    prepare(collection, output, config, show_progress=show_progress)
    return open_dataset(output)
