"""A checkpoint: a directory with one model, in ``manifest.json`` and the files that it lists.

Nothing in it is a pickle. The manifest is written last and has each file's SHA-256, so a directory without a manifest
isn't a checkpoint, and a damaged file is detected before it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load, save

from melanoma_ray import __version__, storage
from melanoma_ray.config import Experiment, ImageConfig
from melanoma_ray.diagnoses import NINE, Diagnosis, ReferredFor, referred_diagnoses
from melanoma_ray.errors import CheckpointError, DataError
from melanoma_ray.model import known, likeness
from melanoma_ray.model.calibration import Calibration
from melanoma_ray.model.likeness import FeatureBank
from melanoma_ray.settings import experiment_from_dict, to_dict

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
KNOWN_IMAGES = "known.parquet"
"""Images of the training (``model/known.py``); checkpoints from before November 2026 don't have it."""
BANK = "likeness.safetensors"
"""Features of training images (``model/likeness.py``); older checkpoints don't have it."""
VALIDATION = "validation.parquet"
"""Scores and looks of the validation images, which ``jobs.drift`` compares with; older checkpoints don't have it."""
BEST = "best"
"""Name of the checkpoint directory inside a run's directory."""
EnsembleOver = Literal["folds", "seeds"]
"""What the networks of an ensemble differ by: their folds or their seeds."""
_PACKAGES = ("ray", "torch", "torchvision", "timm", "numpy", "opencv-python-headless", "simplejpeg", "pillow")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Content of manifest.json: everything that is needed to use the weights."""

    format_version: int
    experiment: Experiment
    diagnoses: tuple[str, ...]
    """Diagnoses in the order of the network's outputs."""
    image: ImageConfig
    """Settings by which the training crops were made, and by which crops of new images must be made."""
    calibration: Calibration
    data_fingerprint: str
    """Fingerprint of the prepared dataset that it was trained on."""
    is_synthetic: bool
    """Whether it was trained on drawn lesions, so that its answers say nothing about real ones."""
    created_at: str
    """Time at which it was written, ISO 8601, UTC."""
    versions: dict[str, str]
    """Versions of the libraries that it was trained with."""
    files: dict[str, str]
    """SHA-256 of each file, hexadecimal."""
    num_members: int = 1
    """Number of networks whose logits are averaged; ``model.safetensors`` has the weights of all."""
    taxonomy: tuple[Diagnosis, ...] = NINE
    """All classes of the taxonomy, and which of them are melanoma or malignant; in older checkpoints the nine."""
    ensemble_over: EnsembleOver | None = None
    """What the networks differ by; none: there is only one network."""
    parent: str | None = None
    """Id of the checkpoint whose weights these are, recalibrated elsewhere; none: they come from a training."""

    @property
    def referred(self) -> tuple[str, ...]:
        """Diagnoses that are referred: melanomas, or all malignant ones."""
        return referred_diagnoses(self._known, self.experiment.decision.refer_for)[1]

    @property
    def referred_for(self) -> ReferredFor:
        """What the threshold is for: melanoma or malignancy."""
        return referred_diagnoses(self._known, self.experiment.decision.refer_for)[0]

    @property
    def malignant(self) -> tuple[str, ...]:
        """Diagnoses of the model that are malignant."""
        return tuple(one.name for one in self._known if one.is_malignant)

    @property
    def always_in_set(self) -> tuple[str, ...]:
        """Diagnoses with too few validation images for the coverage of prediction sets, so that all sets have them."""
        thresholds = self.calibration.set_thresholds
        return tuple(name for name, value in zip(self.diagnoses, thresholds, strict=False) if value == 0)

    @property
    def _known(self) -> list[Diagnosis]:
        return [one for one in self.taxonomy if one.name in self.diagnoses]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOrigin:
    """The prepared dataset of a training, as the checkpoint describes it."""

    fingerprint: str
    is_synthetic: bool
    diagnoses: tuple[str, ...]
    """Diagnoses in the order of the network's outputs."""
    taxonomy: tuple[Diagnosis, ...] = NINE
    """All classes of the dataset's taxonomy."""
    image: ImageConfig
    """Settings by which the crops were made."""
    known_images: pa.Table
    """The kept images, from ``known.tabulate_known``."""
    parent: str | None = None
    """Id of the checkpoint whose weights these are, recalibrated; none: they come from a training."""
    bank: FeatureBank | None = None
    """Features of training images; none: the energy tells which images are unlike them."""
    validation: pa.Table | None = None
    """Measures of the validation images, a column each and no ids; none: they aren't known."""


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries on which a network's results depend."""
    found = {"melanoma_ray": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_checkpoint(
    uri: str,
    members: Sequence[dict[str, torch.Tensor]],
    *,
    experiment: Experiment,
    calibration: Calibration,
    origin: DataOrigin,
    over: EnsembleOver | None = None,
) -> None:
    """Write a checkpoint directory, which replaces an existing one.

    Args:
        uri: The directory.
        members: Weights of each network.
        experiment: Experiment that the networks were trained by.
        calibration: Temperature and thresholds.
        origin: Facts about the prepared dataset.
        over: What the networks differ by; none: there is only one network.
    """
    prefixes = [""] if len(members) == 1 else [f"members.{number}." for number in range(len(members))]
    content = save(
        {
            prefix + name: tensor.contiguous()
            for prefix, weights in zip(prefixes, members, strict=True)
            for name, tensor in weights.items()
        }
    )
    files = {WEIGHTS: content, KNOWN_IMAGES: known.to_bytes(origin.known_images)}
    if origin.bank is not None:
        files[BANK] = likeness.to_bytes(origin.bank)
    if origin.validation is not None:
        files[VALIDATION] = _to_parquet(origin.validation)
    for file, data in files.items():
        storage.write_bytes(storage.join(uri, file), data)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        experiment=experiment,
        diagnoses=origin.diagnoses,
        image=origin.image,
        taxonomy=origin.taxonomy,
        calibration=calibration,
        data_fingerprint=origin.fingerprint,
        is_synthetic=origin.is_synthetic,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=library_versions(),
        files={file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
        num_members=len(members),
        ensemble_over=over,
        parent=origin.parent,
    )
    storage.write_json(storage.join(uri, MANIFEST), asdict(manifest))


def find_checkpoint(uri: str) -> str:
    """Return the checkpoint directory that an argument means.

    Args:
        uri: Checkpoint directory, run directory (which means its best checkpoint), or the best.json of a sweep.

    Raises:
        CheckpointError: It is none of these.
    """
    if uri.endswith(".json"):
        try:
            address = str(storage.read_json(uri)["checkpoint"])
            beside = uri.removesuffix(uri.rsplit("/", 1)[-1]) + BEST
            # A sweep that was moved has its checkpoint beside it, and another one may stand where it was.
            return beside if storage.exists(storage.join(beside, MANIFEST)) else find_checkpoint(address)
        except (DataError, KeyError) as error:
            msg = f"{uri}: not the best.json of a sweep ({error}); give a checkpoint directory, a run or a best.json"
            raise CheckpointError(msg) from error
    for candidate in (uri, storage.join(uri, BEST)):
        if storage.exists(storage.join(candidate, MANIFEST)):
            return candidate
    what = (
        "has no manifest.json: not a checkpoint, or a run that isn't finished" if storage.exists(uri) else "not found"
    )
    msg = f"checkpoint {uri}: {what}; give a checkpoint directory, a finished run or a sweep's best.json"
    raise CheckpointError(msg)


def read_manifest(uri: str) -> Manifest:
    """Return a checkpoint directory's manifest.

    Raises:
        CheckpointError: The manifest is missing, malformed or of another format version.
    """
    name = storage.join(uri, MANIFEST)
    try:
        data = storage.read_json(name)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    found = data.get("format_version")
    if found != FORMAT_VERSION:
        msg = (
            f"{name}: format version {found!r}: this melanoma_ray {__version__} reads {FORMAT_VERSION}; "
            "use the version of melanoma_ray that wrote it, or train again"
        )
        raise CheckpointError(msg)
    return _parse_manifest(name, data)


def _parse_manifest(name: str, data: dict[str, Any]) -> Manifest:
    try:
        data = {**data, "experiment": to_dict(experiment_from_dict(data["experiment"]))}
        return TypeAdapter(Manifest).validate_python(data)
    except (KeyError, ValidationError) as error:
        msg = f"{name}: malformed ({str(error).splitlines()[0]}); copy the checkpoint again or train again"
        raise CheckpointError(msg) from error


def check_files(uri: str, manifest: Manifest) -> None:
    """Refuse a checkpoint of which a file isn't as it was written.

    Args:
        uri: Checkpoint directory.
        manifest: Its manifest.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    for name in manifest.files:
        _read_file(uri, manifest, name)


def read_weights(uri: str, manifest: Manifest) -> list[dict[str, torch.Tensor]]:
    """Return the weights of each network, after a check of the file against the manifest.

    Args:
        uri: Checkpoint directory.
        manifest: Its manifest.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    content = _read_file(uri, manifest, WEIGHTS)
    tensors = load(content)
    if manifest.num_members == 1:
        return [tensors]
    prefixes = [f"members.{number}." for number in range(manifest.num_members)]
    return [{name.removeprefix(p): t for name, t in tensors.items() if name.startswith(p)} for p in prefixes]


def read_known(uri: str, manifest: Manifest) -> pa.Table | None:
    """Return the images of a checkpoint's training, as in ``known.KNOWN``; none: an older version wrote it without.

    Args:
        uri: Checkpoint directory.
        manifest: Its manifest.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    if KNOWN_IMAGES not in manifest.files:
        return None
    content = _read_file(uri, manifest, KNOWN_IMAGES)
    try:
        return known.from_bytes(content)
    except (pa.ArrowInvalid, KeyError) as error:
        name, reason = storage.join(uri, KNOWN_IMAGES), str(error).splitlines()[0]
        msg = f"{name}: not a list of known images ({reason}); copy it again"
        raise CheckpointError(msg) from error


def read_bank(uri: str, manifest: Manifest) -> FeatureBank | None:
    """Return the features of training images in a checkpoint; none: an older version wrote it without.

    Args:
        uri: Checkpoint directory.
        manifest: Its manifest.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    if BANK not in manifest.files:
        return None
    return likeness.from_bytes(_read_file(uri, manifest, BANK))


def read_validation(uri: str, manifest: Manifest) -> dict[str, np.ndarray]:
    """Return the measures of a checkpoint's validation images by name: its score, and how they look.

    Args:
        uri: Checkpoint directory.
        manifest: Its manifest.

    Raises:
        CheckpointError: An older version wrote it without them, or the file is missing or damaged.
    """
    if VALIDATION not in manifest.files:
        msg = (
            f"{uri}: has no {VALIDATION}: an older version or jobs.recalibrate wrote it; use a newly trained checkpoint"
        )
        raise CheckpointError(msg)
    table = pq.read_table(pa.BufferReader(_read_file(uri, manifest, VALIDATION)))
    return {name: np.asarray(table.column(name).to_numpy(), np.float64) for name in table.column_names}


def identify(uri: str) -> str:
    """Return a checkpoint's id: the first 12 hexadecimal digits of its manifest's SHA-256."""
    return hashlib.sha256(storage.read_bytes(storage.join(uri, MANIFEST))).hexdigest()[:12]


def _to_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _read_file(uri: str, manifest: Manifest, file: str) -> bytes:
    """Return a file of a checkpoint, after a check against the manifest."""
    name = storage.join(uri, file)
    try:
        content = storage.read_bytes(name)
    except FileNotFoundError as error:
        msg = f"{name}: missing, though the manifest lists it; copy the whole checkpoint directory again"
        raise CheckpointError(msg) from error
    found, expected = hashlib.sha256(content).hexdigest(), manifest.files.get(file)
    if found != expected:
        msg = f"{name}: corrupted: its sha256 is {found}, the manifest says {expected}; copy it again"
        raise CheckpointError(msg)
    return content
