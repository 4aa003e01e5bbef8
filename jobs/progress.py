"""Progress of long steps: a bar with rate and remaining time on a terminal, else a line twice a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

_LINE_EVERY_S = 30.0


def show_progress(counts: Iterator[int], total: int, what: str) -> Iterator[int]:
    """Yield the counts unchanged and show the progress that they add up to.

    Args:
        counts: Numbers of items done since the last count.
        total: Number of items to do.
        what: Name of what is counted, such as ``images decoded``.
    """
    started = told = time.monotonic()
    done = 0
    with tqdm(total=total, desc=what, unit="", unit_scale=False, disable=not sys.stderr.isatty()) as bar:
        for count in counts:
            done += count
            bar.update(count)
            now = time.monotonic()
            if bar.disable and now - told >= _LINE_EVERY_S:
                told = now
                rate = done / (now - started)
                left = (total - done) / rate
                print(f"{what}: {done:,} of {total:,}, {rate:,.0f}/s, {left:,.0f} s left", file=sys.stderr, flush=True)
            yield count
