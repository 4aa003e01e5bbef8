"""Check a service's audit log: python -m jobs.audit_log --folder DIR [--head HASH]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from melanoma_ray.access.audit_log import verify
from melanoma_ray.wording import count

from . import console, interruption


@dataclass(frozen=True, kw_only=True)
class AuditLogArguments:
    """Check that no line of an audit log was changed, taken out or put in.

    It prints the hash of the newest line. Note it where who may write the log can't, and give it to the next check:
    then lines that were taken off the end show, too.
    """

    INTERRUPTED: ClassVar[str] = interruption.BEGINS_ANEW

    folder: str
    """Folder of the log, as in jobs.deploy --audit-log."""
    head: str | None = None
    """Hash that an earlier check printed; the log must still have it."""


def main(arguments: AuditLogArguments) -> None:
    """Check the chain and print what there is."""
    found = verify(arguments.folder, arguments.head)
    lines = count(found.last.sequence - found.first.sequence + 1, "line")
    print(f"unbroken: {lines} in {count(found.num_files, 'file')}, from {found.began_at} to {found.ended_at}")
    if found.first.sequence > 1:
        gone = "the files before it were taken away"
        # An earlier version didn't number the lines of a file.
        gone += "" if found.first.line else ", and perhaps lines of this one, of which its version doesn't tell"
        print(f"begins at line {found.first.sequence:,}: {gone}")
    print(f"head: {found.last.hash}")


if __name__ == "__main__":
    console.run_job(main, AuditLogArguments)
