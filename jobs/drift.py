"""Compare what is served with validation: python -m jobs.drift --checkpoint DIR --audit-log DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar

from melanoma_ray import storage
from melanoma_ray.errors import ConfigError
from melanoma_ray.model.checkpoint import find_checkpoint, identify, read_manifest, read_validation
from melanoma_ray.monitoring.drift import measure_drift
from melanoma_ray.monitoring.page import PAGE, write_drift
from melanoma_ray.monitoring.served import Served, read_audit_log, read_predictions
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.wording import count

from . import console, interruption


@dataclass(frozen=True, kw_only=True)
class DriftArguments:
    """Tell how far the images that are served have moved away from the validation split, all and by source."""

    INTERRUPTED: ClassVar[str] = interruption.BEGINS_ANEW

    checkpoint: str
    """Checkpoint that is served: its directory, a run's, or a sweep's best.json."""
    output: str
    """Directory for drift.html, drift.json and drift.prom (for Prometheus's node exporter)."""
    audit_log: str | None = None
    """Folder of the service's audit log; the source of an image is its caller."""
    predictions: str | None = None
    """A predictions.parquet instead; only scores are compared, and the source of an image is its folder."""
    days: Annotated[float | None, Range(above=0, greatest=36500)] = 7.0
    """Answers of the last so many days in the audit log, in (0, 36500]; none: all."""

    def __post_init__(self) -> None:
        """Check ranges, and that there is one thing to compare.

        Raises:
            ConfigError: There are both, or neither.
        """
        check_ranges(self)
        if (self.audit_log is None) == (self.predictions is None):
            msg = "give --audit-log DIR or --predictions FILE, one of them"
            raise ConfigError(msg)
        if self.predictions is not None and self.days not in {None, type(self).days}:
            msg = f"--days {self.days} is a window of an audit log, and a table is compared whole: leave it out"
            raise ConfigError(msg)


def main(arguments: DriftArguments) -> None:
    """Compare, write the page, and print what has moved far."""
    uri = find_checkpoint(arguments.checkpoint)
    manifest, checkpoint_id = read_manifest(uri), identify(uri)
    validation = read_validation(uri, manifest)
    if arguments.predictions is not None:
        served, window = read_predictions(arguments.predictions, checkpoint_id), "the whole table"
    else:
        since = None if arguments.days is None else datetime.now(UTC) - timedelta(days=arguments.days)
        served = read_audit_log(arguments.audit_log or "", checkpoint_id, since=since)
        window = "the whole log" if since is None else f"since {since:%Y-%m-%d %H:%M} UTC"
    shifts = measure_drift(served, validation)
    facts = {
        "Checkpoint": checkpoint_id,
        "Served": arguments.predictions or arguments.audit_log or "",
        "Window": window,
        "Images": f"{len(served):,}",
        "Answers about them, of which an image's newest counts": f"{served.num_answers:,}",
        **_describe_others(served),
        "Images of the validation split": f"{len(validation['score']):,}",
    }
    write_drift(arguments.output, shifts, manifest, facts)
    for shift in (one for one in shifts if one.is_large):
        print(f"{shift.source}: {shift.measure} has moved from {shift.validation_mean:.3g} to {shift.mean:.3g} (means)")
    print(f"{count(sum(one.is_large for one in shifts), 'large shift')} in {count(len(shifts), 'comparison')}")
    print(f"page: {storage.join(arguments.output, PAGE)}")


def _describe_others(served: Served) -> dict[str, str]:
    """Return what is known of other checkpoints' answers."""
    if served.num_of_others is None:
        return {"Checkpoint of the predictions": "not known: an earlier version wrote the table"}
    return {"Images of other checkpoints, left out": f"{served.num_of_others:,}"}


if __name__ == "__main__":
    console.run_job(main, DriftArguments)
