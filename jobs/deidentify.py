"""Copy DICOM images without names: python -m jobs.deidentify --images DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from melanoma_ray import storage
from melanoma_ray.deidentification.folder import Copied, copy_folder, read_secret
from melanoma_ray.deidentification.profile import Profile
from melanoma_ray.errors import ConfigError
from melanoma_ray.wording import count, list_kinds

from . import console


@dataclass(frozen=True, kw_only=True)
class DeidentifyArguments:
    """Copy the DICOM images of a folder by the Basic Application Level Confidentiality Profile (PS3.15, Annex E).

    Names, dates, free texts and private attributes are taken out, identifiers and UIDs replaced, in headers, sequences
    and compressed frames. Pixels stay as they are: an image whose header says that text is burnt in isn't copied, and
    one whose header doesn't say that there is none must be looked at.
    """

    images: str
    """Folder with DICOM images, local or s3://; its subfolders are searched too."""
    output: str
    """New directory for the copies, each called by its new UID."""
    secret: str | None = None
    """File with 16 bytes or more at random: with it, later runs replace the same value by the same; by default a new
    one that isn't kept, so that nobody can tell which copy is of whom."""
    table: str | None = None
    """New CSV file for the path of each image and the name of its copy; it leads back to the patients, so keep it
    safe."""
    keep_characteristics: bool = False
    """Keep age, sex, size, weight, ethnic group, smoking and pregnancy status, for models that use them."""

    def __post_init__(self) -> None:
        """Check that copies don't go among the images, nor the way back among the copies.

        Raises:
            ConfigError: They would.
        """
        for name, inner, outer in (("output", self.output, self.images), ("table", self.table, self.output)):
            if inner is not None and f"{_resolve(inner)}/".startswith(f"{_resolve(outer).rstrip('/')}/"):
                msg = f"{name}={inner}: lies in {outer}; give another place"
                raise ConfigError(msg)


def _resolve(uri: str) -> str:
    """Return where something lies, links followed."""
    return str(Path(storage.absolute(uri)).resolve()) if storage.is_local(uri) else storage.absolute(uri)


def main(arguments: DeidentifyArguments) -> Copied:
    """Copy, and print what wasn't copied and what a person must look at."""
    profile = Profile(secret=read_secret(arguments.secret), keeps_characteristics=arguments.keep_characteristics)
    copied = copy_folder(arguments.images, arguments.output, profile, arguments.table)
    print(f"copied: {count(copied.num_copied, 'image')} to {arguments.output}")
    if copied.left_out:
        print(f"not copied: {list_kinds(copied.left_out)}")
    if copied.num_unsure:
        unsure = count(copied.num_unsure, "copy", "copies")
        print(f"look at {unsure}: no header says that there is no text in the pixels, and nothing here removes it")
    if copied.num_recognizable:
        print(f"{count(copied.num_recognizable, 'copy', 'copies')} may show by whom they are, as their headers say")
    return copied


if __name__ == "__main__":
    console.run_job(main, DeidentifyArguments)
