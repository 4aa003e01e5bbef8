"""What Prometheus can ask of the service: each metric, its labels and its buckets; docs/service.md tells how.

Ray collects them from all replicas and offers them at each node's metrics port, with ``ray_`` before the name,
``_total`` behind that of a counter, and the labels ``deployment``, ``replica`` and ``application`` of Ray Serve.

To tell Ray a value takes a sixth of a millisecond in a replica, and a request has a dozen of them: they cost 9 % of its
requests a second. So values are summed up here and told every few seconds. Ray's histograms can't be told sums, so
a histogram is told as what Prometheus knows it by: a counter for each upper end (``_bucket``), and one for the sum.
"""

from __future__ import annotations

import bisect
import functools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final, Literal

from ray.serve import metrics

from melanoma_ray.api import Prediction
from melanoma_ray.serving.tracing import trace_stage

Stage = Literal["receive", "wait", "decode", "network", "explain", "keep"]
"""receive: the body; wait: for a thread, or on a GPU for a batch and its pass; decode: bytes to crop; network: crop to
decision; explain: the evidence for a diagnosis; keep: alerts and the audit log."""
_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0]
_NO_END = "+Inf"
_SHARES = [number / 20 for number in range(1, 21)]
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "melanoma_requests": ("Requests, by operation, HTTP status and caller.", ("operation", "status", "caller")),
    "melanoma_problems": ("Problems, by type; of each image in a batch, too.", ("type",)),
    "melanoma_decisions": ("Images that got an answer, by decision and checkpoint.", ("decision", "checkpoint")),
    "melanoma_shadow_decisions": (
        "Answered images, by the decision that was told and the shadow's; skipped: it had no time, failed: no answer.",
        ("decision", "shadow_decision", "shadow_checkpoint"),
    ),
    "melanoma_second_model_lost": ("Replicas that started without their canary or shadow.", ("role",)),
    "melanoma_quality_warnings": ("Warnings about images themselves, by warning.", ("warning",)),
}
"""Description and labels of each counter."""
HISTOGRAMS: Final[dict[str, tuple[str, tuple[str, ...], list[float]]]] = {
    "melanoma_request_seconds": ("Time of a request in the replica, seconds.", ("operation",), _SECONDS),
    "melanoma_stage_seconds": ("Time of each stage of a request, seconds.", ("stage",), _SECONDS),
    "melanoma_batch_images": ("Images of a pass of the networks; 1 on a CPU.", (), [1, 2, 4, 8, 16, 32]),
    "melanoma_shadow_difference": (
        "Absolute difference between the melanoma probability that was told and the shadow's.",
        ("shadow_checkpoint",),
        [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0],
    ),
    "melanoma_score": ("Probability that is compared with the threshold.", ("checkpoint",), _SHARES),
}
"""Description, labels and upper ends of the buckets of each histogram."""
GAUGES: Final[dict[str, str]] = {"melanoma_waiting_images": "Images that are waited for in a replica."}
"""Description of each gauge."""


_TELL_EVERY_S = 5.0
"""Time between two times at which Ray is told, seconds; it passes values on every ten."""
Labels = tuple[tuple[str, str], ...]
"""Names and values of labels."""


class Meter:
    """The metrics of this process."""

    def __init__(self) -> None:
        """Register all of them with Ray, and start the thread that tells it."""
        names = {name: (text, labels) for name, (text, labels) in COUNTERS.items()}
        for name, (text, labels, _) in HISTOGRAMS.items():
            names[f"{name}_bucket"] = f"{text} Number up to le.", (*labels, "le")
            names[f"{name}_sum"] = f"{text} Sum.", labels
        self._counters = {
            name: metrics.Counter(name, description=text, tag_keys=labels) for name, (text, labels) in names.items()
        }
        self._gauges = {name: metrics.Gauge(name, description=text) for name, text in GAUGES.items()}
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, Labels], float] = {}
        self._values: dict[str, float] = {}
        threading.Thread(target=self._keep_telling, name="metrics", daemon=True).start()

    def count(self, name: str, labels: Mapping[str, str]) -> None:
        """Count one more of a counter."""
        self._add([(name, tuple(labels.items()), 1.0)])

    def observe(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Add a value to a histogram."""
        own = tuple((labels or {}).items())
        ends = HISTOGRAMS[name][2]
        place = bisect.bisect_left(ends, value)
        end = _name_end(ends[place]) if place < len(ends) else _NO_END
        self._add([(f"{name}_bucket", (*own, ("le", end)), 1.0), (f"{name}_sum", own, value)])

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._values[name] = value

    def tell(self) -> None:
        """Tell Ray what has come together since the last time."""
        with self._lock:
            sums, self._sums = self._sums, {}
        values, self._values = self._values, {}
        for name, labels, value in cumulate(sums):
            self._counters[name].inc(value, dict(labels))
        for name, value in values.items():
            self._gauges[name].set(value)

    def _add(self, some: Sequence[tuple[str, Labels, float]]) -> None:
        with self._lock:
            for name, labels, value in some:
                self._sums[name, labels] = self._sums.get((name, labels), 0.0) + value

    def _keep_telling(self) -> None:
        while True:
            time.sleep(_TELL_EVERY_S)
            self.tell()

    @contextmanager
    def time(self, stage: Stage) -> Iterator[None]:
        """Measure how long a stage of a request takes, and make its span."""
        began_at = perf_counter()
        try:
            with trace_stage(stage):
                yield
        finally:
            self.observe("melanoma_stage_seconds", perf_counter() - began_at, {"stage": stage})

    def describe(self, prediction: Prediction) -> None:
        """Count an answer: its decision, its score, and what is wrong with the image."""
        checkpoint = prediction.checkpoint_id
        self.count("melanoma_decisions", {"decision": prediction.decision, "checkpoint": checkpoint})
        if prediction.melanoma_probability is not None:
            self.observe("melanoma_score", prediction.melanoma_probability, {"checkpoint": checkpoint})
        for warning in prediction.warnings:
            self.count("melanoma_quality_warnings", {"warning": warning})


def _name_end(end: float) -> str:
    """Return the upper end of a bucket as Prometheus writes it."""
    return f"{end:g}"


def cumulate(sums: Mapping[tuple[str, Labels], float]) -> Iterator[tuple[str, Labels, float]]:
    """Yield what is to be added to each counter; a value also counts in every bucket with a higher end than its own."""
    totals: dict[tuple[str, Labels], float] = {}
    for (name, labels), value in sums.items():
        histogram = HISTOGRAMS.get(name.removesuffix("_bucket")) if name.endswith("_bucket") else None
        if histogram is None:
            totals[name, labels] = value
            continue
        *own, (_, end) = labels
        ends = [*map(_name_end, histogram[2]), _NO_END]
        for higher in ends[ends.index(end) :]:
            key = name, (*own, ("le", higher))
            totals[key] = totals.get(key, 0.0) + value
    for (name, labels), value in totals.items():
        if value > 0:  # Ray's counters take nothing else
            yield name, labels, value


@functools.cache
def meter() -> Meter:
    """Return the metrics of this process, of which there is one set."""
    return Meter()
