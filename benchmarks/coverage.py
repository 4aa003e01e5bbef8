"""How often the 95 % intervals hold the truth, where the truth is known: simulated lesions of many kinds.

python -m benchmarks.coverage --work FILE [--repetitions 1000] [--scenario NAME] [--so-far] [--write docs/coverage.md]

Every cell is seeded by its own description, and its result is added to FILE when it is done, so a run that was ended
goes on where it was, and another order or number of processes changes nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from benchmarks.coverage_cells import Cell, Result, list_cells, measure_cell
from melanoma_ray.metrics.intervals import SPARSE_BELOW

GOAL = (0.93, 0.97)
_MARK = "<!-- written by benchmarks/coverage.py -->"


def main() -> None:
    """Measure the cells that have no result yet, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="JSON lines with the results of the cells")
    parser.add_argument("--repetitions", type=int, default=1000, help="simulated samples of each cell")
    parser.add_argument("--scenario", choices=("ranking", "calibration", "diagnoses"), help="only these cells")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--so-far", action="store_true", help="measure nothing: the tables of the cells that are done")
    parser.add_argument("--write", type=Path, help="the page whose tables shall be written anew")
    given = parser.parse_args()
    cells = [cell for cell in list_cells() if given.scenario in {None, cell.scenario}]
    results = read_results(given.work, given.repetitions)
    todo = [] if given.so_far else [cell for cell in cells if cell.key not in results]
    random.Random(0).shuffle(todo)  # noqa: S311 - the quick and the slow cells evenly, for a fair forecast
    started = time.monotonic()
    with given.work.open("a") as file, Pool(given.processes) as pool:
        work = pool.imap_unordered(measure, [(cell, given.repetitions) for cell in todo])
        for number, result in enumerate(work, 1):
            file.write(json.dumps(asdict(result) | {"given": given.repetitions}) + "\n")
            file.flush()
            results[result.cell.key] = result
            print(f"{number} of {len(todo)} cells, {time.monotonic() - started:.0f} s", end="\r", flush=True)
    print()
    text = tell([results[cell.key] for cell in cells if cell.key in results], len(cells), given.repetitions)
    if given.write is None:
        print(text)
    else:
        head = given.write.read_text(encoding="utf-8").partition(_MARK)[0]
        given.write.write_text(f"{head}{_MARK}\n{text}", encoding="utf-8")


def measure(work: tuple[Cell, int]) -> Result:
    """Measure a cell in a process of the pool."""
    return measure_cell(*work)


def read_results(file: Path, repetitions: int) -> dict[str, Result]:
    """Return the results of an earlier run with as many repetitions, by cell."""
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    results = [
        Result(cell=Cell(**row["cell"]), covered=row["covered"], width=row["width"], repetitions=row["repetitions"])
        for row in lines
        if row["given"] == repetitions
    ]
    return {result.cell.key: result for result in results}


def tell(results: list[Result], num_cells: int, repetitions: int) -> str:
    """Return the tables as Markdown."""
    enough = [result for result in results if result.cell.num_rarer >= SPARSE_BELOW]
    few = [result for result in results if result.cell.num_rarer < SPARSE_BELOW]
    parts = [
        f"{len(results)} of {num_cells} cells, {repetitions:,} repetitions each; a coverage of 95 % is seen as "
        f"{_chance(repetitions)} in 19 of 20 cells.\n",
        f"## At least {SPARSE_BELOW} lesions of each kind\n",
        _summary(enough, GOAL),
        f"\n## Fewer than {SPARSE_BELOW} lesions of a kind\n",
        _summary(few, (GOAL[0], 1.0)),
        "\n## All cells\n",
        "Coverage in per cent: the lowest and the highest over all AUROCs, faults or recalls of the row.\n",
    ]
    for scenario in ("ranking", "calibration", "diagnoses"):
        rows = [result for result in results if result.cell.scenario == scenario]
        if rows:
            parts += [f"\n### {scenario.capitalize()}\n", _grid(rows)]
    return "\n".join(parts) + "\n"


def _chance(repetitions: int) -> str:
    step = 1.96 * (0.95 * 0.05 / repetitions) ** 0.5
    return f"{100 * (0.95 - step):.1f} to {100 * (0.95 + step):.1f} %"


def _summary(results: Iterable[Result], goal: tuple[float, float]) -> str:
    found: dict[str, list[float]] = defaultdict(list)
    for result in results:
        for name, covered in result.covered.items():
            found[name].append(covered)
    reached = f"in {100 * goal[0]:.0f}–{100 * goal[1]:.0f} %" if goal[1] < 1 else f"{100 * goal[0]:.0f} % or more"
    rows = []
    for name, values in sorted(found.items()):
        inside = sum(goal[0] <= value <= goal[1] for value in values)
        low, median, high = (f"{100 * float(value):.1f}" for value in np.quantile(values, (0, 0.5, 1)))
        share = f"{inside} ({inside / len(values):.0%})"
        rows.append([name.replace(" | ", ", "), str(len(values)), low, median, high, share])
    return _table(["figure", "cells", "lowest", "median", "highest", reached], rows)


def _grid(results: list[Result]) -> str:
    names = sorted({name for result in results for name in result.covered if "|" not in name})
    found: dict[tuple[str, int, float], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        cell = result.cell
        for name in names:
            if name in result.covered:
                found[cell.size, cell.num_images, cell.num_melanomas][name].append(100 * result.covered[name])
    rows = []
    for (size, num_images, num_melanomas), row in sorted(found.items()):
        head = [str(size), f"{num_images:,}", f"{num_melanomas:g}"]
        rows.append(head + [f"{min(row[name]):.1f}–{max(row[name]):.1f}" if row[name] else "" for name in names])
    return _table(["images a lesion", "images", "melanoma lesions", *names], rows)


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
