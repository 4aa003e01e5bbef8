"""drift.html, drift.json and drift.prom: the shifts for a person, for a program, and for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from melanoma_ray import storage
from melanoma_ray.model.checkpoint import Manifest
from melanoma_ray.monitoring.drift import LARGE_SHIFT, SOME_SHIFT, Shift
from melanoma_ray.reports.page import render_page

PAGE = "drift.html"


def write_drift(output: str, shifts: Sequence[Shift], manifest: Manifest, facts: dict[str, str]) -> None:
    """Write the three files.

    Args:
        output: Directory for them.
        shifts: What was found.
        manifest: Manifest of the checkpoint.
        facts: What was compared, by name.

    Raises:
        StorageError: They can't be written.
    """
    large = [shift for shift in shifts if shift.is_large]
    context = {"shifts": shifts, "large": large, "facts": facts, "some": SOME_SHIFT, "much": LARGE_SHIFT}
    page = render_page("drift.html", title="Drift", is_synthetic=manifest.is_synthetic, context=context)
    storage.write_json(
        storage.join(output, "drift.json"),
        {"facts": facts, "shifts": [asdict(shift) | {"is_large": shift.is_large} for shift in shifts]},
    )
    storage.write_bytes(storage.join(output, "drift.prom"), _to_prometheus(shifts).encode())
    storage.write_bytes(storage.join(output, PAGE), page.encode())


def _to_prometheus(shifts: Sequence[Shift]) -> str:
    """Return the shifts in Prometheus's text format, for the textfile collector of its node exporter."""
    lines = []
    for name, text in (
        ("psi", "Population stability index."),
        ("p_value", "Corrected p-value of the two-sample test."),
    ):
        lines += [f"# HELP melanoma_drift_{name} {text}", f"# TYPE melanoma_drift_{name} gauge"]
        for shift in shifts:
            labels = ",".join(f"{key}={_quote(getattr(shift, key))}" for key in ("source", "measure"))
            lines.append(f"melanoma_drift_{name}{{{labels}}} {getattr(shift, name):.6g}")
    lines += ["# TYPE melanoma_drift_checked_seconds gauge", f"melanoma_drift_checked_seconds {time.time():.0f}"]
    return "\n".join(lines) + "\n"


def _quote(label: str) -> str:
    r"""Return the value of a label as Prometheus's text format has it, in which nothing else is escaped.

    >>> print(_quote('Köln "west"'))
    "Köln \"west\""
    """
    escaped = label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
