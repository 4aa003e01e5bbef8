"""Digests of results, to show that a refactoring changes none: run it before and after, and compare the lines.

python -m benchmarks.digests --images DIR... [--metadata CSV...] --predicted DIR --work DIR [--earlier DIR]

Prepares the images, trains ``baseline`` and ``lite0`` for 30 steps in fp32 and predicts with both, through the
commands that a user would run, and prints a SHA-256 of each result. ``--earlier`` is the ``--work`` of another
version's run: its checkpoints predict the same images again, and its prepared dataset is evaluated, so that equal
lines also show that earlier files can still be read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.ipc
import pyarrow.parquet

_NUM_STEPS = 30
_EXPERIMENTS = ("baseline", "lite0")


def main() -> None:
    """Run every step and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="+", required=True, help="folders of images")
    parser.add_argument("--metadata", nargs="*", default=[], help="CSV tables of the images")
    parser.add_argument("--predicted", required=True, help="folder of images that the checkpoints predict")
    parser.add_argument("--work", type=Path, required=True, help="directory of everything that is written")
    parser.add_argument("--earlier", type=Path, help="the --work of another version's run")
    given = parser.parse_args()
    data = given.work / "prepared"
    _job("prepare", "--images", *given.images, "--metadata", *given.metadata, "--output", data)
    print(f"index        {_digest_index(data)}", flush=True)
    print(f"shards       {_digest_shards(data)}", flush=True)
    info = json.loads((data / "dataset.json").read_text())
    batch_size = sum(info["num_images"]["train"].values()) // _NUM_STEPS
    for name in _EXPERIMENTS:
        settings = ("--num-epochs", "1", "--global-batch-size", str(batch_size), "--precision", "fp32")
        _job("train", name, "--data", data, "--storage", given.work, "--name", name, *settings)
        weights = (given.work / name / "best" / "model.safetensors").read_bytes()
        print(f"{name:12} {hashlib.sha256(weights).hexdigest()}", flush=True)
        _predict(given.work / name, given.predicted, given.work / f"predicted-{name}")
    if given.earlier is not None:
        for name in _EXPERIMENTS:
            _predict(given.earlier / name, given.predicted, given.work / f"earlier-{name}")
        report = given.work / "report"
        run, prepared = given.earlier / _EXPERIMENTS[0], given.earlier / "prepared"
        _job("evaluate", "--checkpoint", run, "--data", prepared, "--output", report)
        print(f"{'evaluation':12} {_digest_table(report / 'predictions.parquet')}", flush=True)


def _predict(run: Path, images: str, output: Path) -> None:
    _job("predict", "--checkpoint", run, "--images", images, "--output", output)
    print(f"{output.name:12} {_digest_table(output / 'predictions.parquet')}", flush=True)


def _job(verb: str, *arguments: object) -> None:
    command = [sys.executable, "-m", f"jobs.{verb}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _digest_index(data: Path) -> str:
    """Return a digest over the index's values, without the names of its columns and the places of the crops."""
    info = json.loads((data / "dataset.json").read_text())
    index = pd.read_parquet(data / info["index"]).sort_values("path")
    index = index.drop(columns=["shard", "chunk", "row"], errors="ignore")
    index["source"] = ""
    return hashlib.sha256(index.to_csv(index=False, header=False).encode()).hexdigest()


def _digest_shards(data: Path) -> str:
    """Return a digest over the names of the shards and their crops."""
    digest = hashlib.sha256()
    for file in sorted(data.glob("pixels-*/*.arrow")):
        digest.update(file.name.encode())
        for batch in pyarrow.ipc.open_file(file).read_all().column(0).chunks:
            digest.update(batch[0].as_py() or b"")
    return digest.hexdigest()


def _digest_table(file: Path) -> str:
    table = pyarrow.parquet.read_table(file).to_pandas().sort_values("path")
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


if __name__ == "__main__":
    main()
