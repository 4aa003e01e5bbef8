"""Other people's images: a labelled collection without a split becomes something that a model can be evaluated on."""

from __future__ import annotations

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
from melanoma_ray.sources.layouts import Collection


def taxonomy_of(manifest: Manifest) -> Taxonomy | None:
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
