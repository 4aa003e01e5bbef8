"""How long a watched folder takes to alert: python -m benchmarks.watching [--before 2000], with nothing else running.

From the moment at which an image's last byte is written to the moment at which its alert stands in the sink's file, of
``jobs.watch`` without settings, one image at a time, in a folder that has other images already. The network is
``lite0`` with random weights, and its threshold is 0, so that each image makes an alert.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.measuring import median, print_table, write_lesions
from tests.alerting import write_settings
from tests.checkpoints import build_checkpoint

_NUM_IMAGES, _WIDTH, _HEIGHT = 20, 600, 450
_TIMEOUT_S = 600.0


@contextmanager
def watching(folder: Path, checkpoint: str) -> Iterator[None]:
    """Run ``jobs.watch`` while the block runs."""
    settings = write_settings(folder)
    command = [sys.executable, "-m", "jobs.watch", "--checkpoint", checkpoint, "--images", str(folder / "inbox")]
    command += ["--output", str(folder / "output"), "--alerts", str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def count_alerts(folder: Path) -> int:
    """Return the number of alerts that the sink has written down."""
    file = folder / "alerts.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return sum(len(json.loads(line)["data"]["alerts"]) for line in lines if line.endswith("}"))


def wait_for_alerts(folder: Path, number: int) -> float:
    """Return the time at which there are so many alerts."""
    deadline = time.monotonic() + _TIMEOUT_S
    while count_alerts(folder) < number:
        if time.monotonic() > deadline:
            msg = f"{count_alerts(folder)} of {number} alerts within {_TIMEOUT_S:.0f} s"
            raise TimeoutError(msg)
        time.sleep(0.05)
    return time.monotonic()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=int, default=2000, help="images that the folder has before")
    given = parser.parse_args()
    rows = []
    for number in (0, given.before):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            seconds = measure(Path(name), number)
        rows.append(
            [f"{number:,}", f"{median(seconds):.1f}", f"{np.percentile(seconds, 90):.1f}", f"{max(seconds):.1f}"]
        )
    print_table(
        f"{_NUM_IMAGES} images, one at a time: seconds from the last byte to the alert",
        ["images before", "median", "90 %", "most"],
        rows,
    )


def measure(folder: Path, number: int) -> list[float]:
    """Return the seconds that each of some images took."""
    inbox, drawn = folder / "inbox", folder / "drawn"
    (inbox / "before").mkdir(parents=True)
    write_lesions(drawn, num_images=number + _NUM_IMAGES, width=_WIDTH, height=_HEIGHT)
    images = sorted(drawn.rglob("*.jpg"), key=lambda path: path.name)  # no two alike: a copy makes no further alert
    for path in images[:number]:
        path.rename(inbox / "before" / path.name)
    new = images[number:]
    checkpoint = build_checkpoint(
        str(folder / "model"), network="tf_efficientnet_lite0", side=224, decision_threshold=0.0
    )
    seconds = []
    with watching(folder, checkpoint):
        wait_for_alerts(folder, number)
        time.sleep(15)  # so that the pages of those before are written
        for place, path in enumerate(new, 1):
            (inbox / f"new-{path.name}").write_bytes(path.read_bytes())
            began = time.monotonic()
            seconds.append(wait_for_alerts(folder, number + place) - began)
    return seconds


if __name__ == "__main__":
    main()
