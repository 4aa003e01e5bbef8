"""Accuracy of the recipes, each with its commands: make accuracy DATA=DIR WORK=DIR writes docs/results.md.

Every command continues where it was interrupted, so this can be run again and again. What is finished in WORK goes into
docs/results.json, in the place of what an earlier run found, and the page is made from that file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.inference.predictions import column_name

_FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "melanoma_auroc": "melanoma AUROC",
}
_RECORDS, _PAGE = Path("docs/results.json"), Path("docs/results.md")
_BEFORE = "before 2026-11-26"
_OLD_INTERVALS = (
    f"Lines made {_BEFORE} are by the code of then: the brackets of accuracy and AUROC take images for independent, so "
    "where lesions have several images they are too narrow (those of the balanced accuracy take groups), and the "
    "probabilities had a temperature and no biases."
)
_SEEDS_PROTOCOL = "--split.method random --split.val-fraction 0.2 --split.test-fraction 0 --duplicates keep"
_SQUASHED = "--image.aspect squash"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the page: how the data is prepared, what is trained, and which images are scored."""

    title: str
    prepare: str
    """Arguments of jobs.prepare, with DATA for the folder of the images."""
    train: str
    """Arguments of jobs.train."""
    num_seeds: int = 1
    """Number of runs, which differ by their seed."""
    split: str
    """Images to score: val, test or folds."""
    elsewhere: str = ""
    """Another collection to score, as arguments of jobs.evaluate; images that the model knows are left out of it."""
    remark: str = ""
    """What a reader must know of it, a sentence or more."""

    @property
    def name(self) -> str:
        """Return the title as a name for directories."""
        return self.title.lower().replace(" ", "-").replace(",", "").replace(":", "")

    @property
    def members(self) -> list[str]:
        """Return the names of the runs that are scored one by one: one for each seed, inside the run if several."""
        return [self.name] if self.num_seeds == 1 else [f"{self.name}/seed-{seed}" for seed in range(self.num_seeds)]


_ISIC9 = f"--images DATA/isic9/Train --image.side 180 {_SQUASHED} {_SEEDS_PROTOCOL}"
_ISIC9_GROUPED = "--images DATA/isic9/Train --metadata DATA/ham10000/HAM10000_metadata.csv"
_HAM = "--images DATA/ham10000/images --metadata DATA/ham10000/HAM10000_metadata.csv"
_TO_RARE = "--sampling sqrt --loss.logit-adjustment 1"
_SEEN_BEFORE = (
    "HAM10000's test split was looked at before: a recipe for it was chosen after another one's figures on it were "
    "known, so its line flatters."
)
_LEARNT_THE_SOURCE = (
    "Most nevi there are taken for pigmented benign keratoses: all 462 of these in the nine-class set are in "
    "HAM10000's table, and 76 of its 357 nevi, so the network seems to have learnt which collection a picture is from."
)
RESULTS = (
    Result(title="isic9 as the seed: baseline", prepare=_ISIC9, train="baseline", num_seeds=3, split="val"),
    Result(title="isic9 as the seed: lite2", prepare=_ISIC9, train="lite2", num_seeds=3, split="val"),
    Result(
        title="isic9 honest, five folds: lite0",
        prepare=f"{_ISIC9_GROUPED} --split.num-folds 5 --split.test-fraction 0",
        train="lite0 --folds --model.num-views 8",
        split="folds",
    ),
    Result(
        title="isic9 honest, five folds, five epochs: lite0",
        prepare=f"{_ISIC9_GROUPED} --split.num-folds 5 --split.test-fraction 0",
        train="lite0 --folds --num-epochs 5 --model.num-views 8",
        split="folds",
    ),
    Result(
        title="ham10000, grouped by lesion: lite2",
        prepare=f"{_HAM} --image.side 224",
        train=f"lite2 {_TO_RARE} --num-epochs 20 --model.num-views 8",
        split="test",
        remark=_SEEN_BEFORE,
    ),
    Result(
        title="from isic9 to ham10000: lite0",
        prepare=_ISIC9_GROUPED,
        train="lite0",
        split="test",
        elsewhere=_HAM,
        remark=_LEARNT_THE_SOURCE,
    ),
    Result(
        title="from ham10000 to isic9: lite0",
        prepare=f"{_HAM} --image.side 224",
        train=f"lite0 {_TO_RARE} --num-epochs 3",
        split="test",
        elsewhere=_ISIC9_GROUPED,
        remark=_SEEN_BEFORE,
    ),
)


def main() -> None:
    """Run the commands that aren't finished, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with isic9/Train and ham10000/")
    parser.add_argument("--work", required=True, help="folder for prepared data and runs")
    parser.add_argument("--only", default="", help="part of the titles to run")
    parser.add_argument("--write-only", action="store_true", help="run nothing, write the page")
    arguments = parser.parse_args()
    work = Path(arguments.work)
    for result in RESULTS:
        if not arguments.write_only and arguments.only in result.title:
            for command, done in commands(result, arguments.data, work):
                if not done.exists():
                    run(command, done)
    records = json.loads(_RECORDS.read_text())
    for result in RESULTS:
        if all(done.exists() for _, done in commands(result, arguments.data, work)):
            records[result.name] = describe(result, arguments.data, work)
    _RECORDS.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    _PAGE.write_text(render(records))


def commands(result: Result, data: str, work: Path) -> Iterator[tuple[str, Path]]:
    """Yield each command with the file that exists when it is finished."""
    prepared, runs = work / f"{result.name}-data", work / "runs"
    prepare = result.prepare.replace("DATA", data)
    yield f"python -m jobs.prepare {prepare} --output {prepared}", prepared / "dataset.json"
    seeds = f" --num-seeds {result.num_seeds}" if result.num_seeds > 1 else ""
    what = f"{result.train}{seeds} --data {prepared} --storage {runs} --name {result.name}"
    yield f"python -m jobs.train {what}", runs / result.name / "best" / "manifest.json"
    for name in dict.fromkeys([*result.members, result.name]):
        report = work / "reports" / name
        # Random splits with kept duplicates leak, as the seed's protocol does; the report says how much.
        known = " --known-images count" if result.split == "val" else ""
        scored = f"--checkpoint {runs / name} --data {prepared} --split {result.split} --output {report}{known}"
        yield f"python -m jobs.evaluate {scored}", report / "report.json"
    if result.elsewhere:
        report = work / "elsewhere" / result.name
        beside = work / "reports" / result.name / "report.json"
        scored = f"{result.elsewhere.replace('DATA', data)} --output {report} --beside {beside}"
        yield f"python -m jobs.evaluate --checkpoint {runs / result.name} {scored}", report / "report.json"


def run(command: str, done: Path) -> None:
    """Run one command and write down how long it took; for a training that was continued, only its last part."""
    print(f"\n$ {command}", flush=True)
    started = time.time()
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    subprocess.run(words, check=True)  # noqa: S603 - our own words
    (done.parent / "minutes.json").write_text(json.dumps({"minutes": (time.time() - started) / 60}))


def describe(result: Result, data: str, work: Path) -> dict[str, Any]:
    """Return what a finished result says: lines of the table, commands and the rest of its section, in Markdown."""
    reports = [work / "reports" / name for name in result.members]
    table = [_row(result.title, result.split, _read_reports(reports))]
    if result.num_seeds > 1:
        title = f"{result.title}, mean of {result.num_seeds} networks"
        table.append(_row(title, result.split, _read_reports([work / "reports" / result.name])))
    section = [*_describe_contradictions(work / f"{result.name}-data", reports), *_describe_recall(reports)]
    if result.elsewhere:
        elsewhere = _read_reports([work / "elsewhere" / result.name])
        table.append(_row(f"{result.title}, elsewhere", "other collection", elsewhere))
        section += ["", *_describe_drop(elsewhere[0])]
    return {
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "commands": [one.replace(str(work), "WORK").replace(data, "DATA") for one, _ in commands(result, data, work)],
        "table": table,
        "section": ([result.remark, ""] if result.remark else []) + section,
    }


def render(records: Mapping[str, Any]) -> str:
    """Return the page."""
    found = [(result, records[result.name]) for result in RESULTS if result.name in records]
    lines = [
        "# Results",
        "",
        "Written by `make accuracy DATA=DIR WORK=DIR` (benchmarks/accuracy.py), which runs the commands below.",
        "Figures are on real images; square brackets hold 95 % intervals over groups of images (one lesion is one",
        "group), and ± is the standard deviation over seeds; a mean of networks is one checkpoint of all seeds' runs.",
        "The epoch that is kept is the one of the best balanced accuracy on val, in cross-validation on the fold",
        "itself, so figures on val and folds flatter a little; no training sees the test split.",
        "[tuning.md](tuning.md#in-the-morning) has a sweep's winner beside the default on the five folds.",
        "",
        *([_OLD_INTERVALS, ""] if any(record["made"] == _BEFORE for _, record in found) else []),
        f"| what | made | images | {' | '.join(_FIGURES.values())} |",
        "|---|---|---|---|---|---|",
        *(
            f"| {title} | {record['made']} | {' | '.join(cells)} |"
            for _, record in found
            for title, *cells in record["table"]
        ),
    ]
    for result, record in found:
        lines += ["", f"## {result.title[0].upper()}{result.title[1:]}", "", "```", *record["commands"], "```", ""]
        lines += record["section"]
    return "\n".join(lines) + "\n"


def _describe_drop(report: dict[str, Any]) -> list[str]:
    """Return how the figures of another collection differ from those of the own test split."""
    known, beside = report["known_images"], report["beside"]
    left_out = sum(known["left_out"].values())
    lines = [
        f"Elsewhere {left_out:,} images were left out because the model knows them or others of their lesions.",
        "",
        "| figure | own test split | elsewhere | drop |",
        "|---|---|---|---|",
    ]
    for name, drop in beside["drop"].items():
        own, here = beside["estimates"][name], report["figures"][name]
        lines.append(f"| {name.replace('_', ' ')} | {_cell(own)} | {_cell(here)} | {_cell(drop)} |")
    return lines


def _describe_contradictions(prepared: Path, reports: list[Path]) -> list[str]:
    """Return the sentence on images whose picture is also labelled with another diagnosis; empty if there are none."""
    index = open_dataset(str(prepared)).index
    train = index[index["split"] == "train"]
    of_picture = index.groupby("content_sha256")["diagnosis"].nunique()
    scored = pd.concat([pd.read_parquet(directory / "predictions.parquet") for directory in reports])
    names = [column for column in map(str, scored) if column.startswith("probability_")]
    answered = scored[names].idxmax(axis=1)
    is_right = answered == scored["diagnosis"].map(column_name)
    is_contradicted = scored["content_sha256"].map(of_picture) > 1
    if not is_contradicted.any():
        return []
    is_taught = is_contradicted & scored["content_sha256"].isin(train["content_sha256"])
    return [
        f"Of the {len(scored) // len(reports)} images {is_contradicted.sum() // len(reports)} stand under another "
        "diagnosis, too, and nothing in the picture tells which one a label will say. Where the other copy was trained "
        f"on ({is_taught.sum() // len(reports)} images) {is_right[is_taught].mean():.0%} are answered as labelled, "
        f"of the images without a contradiction {is_right[~is_contradicted].mean():.0%}.",
        "",
    ]


def _describe_recall(reports: list[Path]) -> list[str]:
    """Return a table of the share of each diagnosis that is recognised, and of its most frequent confusion."""
    found = [json.loads((directory / "report.json").read_text()) for directory in reports]
    diagnoses, figures = found[0]["model"]["diagnoses"], found[0]["figures"]
    confusion = np.array([report["figures"]["confusion"] for report in found]).sum(axis=0)
    lines = ["| diagnosis | images | recognised | most often taken for |", "|---|---|---|---|"]
    for i, name in enumerate(diagnoses):
        if name in figures["recall"]:
            wrong = np.where(np.arange(len(diagnoses)) == i, 0, confusion[i])
            taken = f"{diagnoses[wrong.argmax()]} ({wrong.max() / confusion[i].sum():.0%})" if wrong.any() else ""
            share = confusion[i, i] / confusion[i].sum()
            lines.append(f"| {name} | {figures['recall'][name]['denominator']} | {share:.0%} | {taken} |")
    return lines


def _read_reports(directories: list[Path]) -> list[dict[str, Any]]:
    return [json.loads((directory / "report.json").read_text()) for directory in directories]


def _cell(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _row(title: str, images: str, reports: list[dict[str, Any]]) -> list[str]:
    """Return the cells of one line: title, images, figures."""
    cells = []
    for name in _FIGURES:
        estimates = [report["figures"][name] for report in reports]
        values = [estimate["value"] for estimate in estimates]
        several = (
            f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} ({len(values)} seeds)"
            if values[1:]
            else ""
        )
        cells.append(several or _cell(estimates[0]))
    figures = reports[0]["figures"]
    apart = "".join(
        f"; apart: {name}, {found['numerator']} of {found['denominator']} recognised"
        for name, found in figures["recall"].items()
        if name in figures["apart"]
    )
    return [title, f"{figures['num_images']} ({images}){apart}", *cells]


if __name__ == "__main__":
    main()
