"""Coverage-guided fuzzing of the decoder, for as long as you like: make fuzz.

    pip install atheris && python -m tests.fuzz.decoder -max_total_time=300 -rss_limit_mb=2048 CORPUS_DIR

libFuzzer's own options follow; a crash is written to a file and ends the run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "melanoma_ray.imaging"]):
    from melanoma_ray.config import ImageConfig
    from melanoma_ray.errors import DecodeError
    from melanoma_ray.imaging.decoding import decode_image

from tests.fuzz.seeds import build_seeds

CONFIG = ImageConfig(side=64, max_bytes=1_000_000, max_pixels=1_000_000, crop_border=True)


def check(encoded: bytes) -> None:
    """Decode; anything but a crop or a DecodeError is what we look for."""
    try:
        image = decode_image(encoded, CONFIG)
    except DecodeError:
        return
    if image.pixels.shape != (64, 64, 3):
        raise AssertionError(image.pixels.shape)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="seeds-") as folder:
        for number, content in enumerate(build_seeds()):
            (Path(folder) / str(number)).write_bytes(content)
        atheris.Setup([*sys.argv, folder], check)
        atheris.Fuzz()
