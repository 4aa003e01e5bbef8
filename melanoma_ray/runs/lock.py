"""A lock that lets only one process run a run or a sweep: run.lock in its directory names the holder.

Guarantees. On a local disk the file is made by exclusive creation, under an advisory lock on the directory, so exactly
one of two processes gets it. In s3:// a process writes its claim, waits a second and reads it back, because pyarrow
can't write conditionally; of two that start at the same time one gets it, as long as a write takes less than that
second. Between machines the clocks must agree within a minute. A holder that was suspended for ``STALE_S`` may lose its
run to another process; it then stops by itself at its next renewal.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from melanoma_ray import storage
from melanoma_ray.errors import DataError, RunHeldError

logger = logging.getLogger(__name__)

LOCK = "run.lock"
RENEW_EVERY_S = 30.0
"""Time between two renewals of the lock by its holder, seconds."""
STALE_S = 300.0
"""Time without a renewal after which a holder on another machine counts as gone, seconds."""
_SETTLE_S = 1.0
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Content of run.lock: the process that holds the lock."""

    host: str
    process_id: int
    machine: str
    """Text that differs for other machines of the same name, before and after a restart, and for each container."""
    process_begun: str
    """Start of the process in the kernel's own count, because its id may be used again later."""
    user: str
    command: str
    begun_at: float
    """Time at which it got the lock, seconds since 1970."""
    renewed_at: float
    """Time of the last renewal, seconds since 1970."""
    token: str
    """Random text that only this claim has."""

    def is_alive(self) -> bool:
        """Return whether the holder may still be running."""
        if self.machine == _machine() and self.process_begun != _process_begun(self.process_id):
            return False
        return time.time() - self.renewed_at < STALE_S

    def __str__(self) -> str:
        """Return the holder in words."""
        return f"process {self.process_id} of {self.user} on {self.host} ({self.command}), since {_utc(self.begun_at)}"


@contextmanager
def hold(uri: str, advice: str = "give another --name") -> Iterator[None]:
    """Hold the lock of a run or a sweep while the block runs; it is released however the block ends.

    Args:
        uri: Directory of the run or sweep.
        advice: What a person can do who is refused, besides waiting for the holder or ending it.

    Raises:
        RunHeldError: Another process holds it.
    """
    holder = _claim(uri, advice)
    is_over = threading.Event()
    renewal = threading.Thread(target=_renew, args=(uri, holder, is_over), name="run-lock", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        is_over.set()
        renewal.join()
        with contextlib.suppress(OSError, DataError):  # what goes wrong with the store was told where it mattered
            if (found := read_holder(uri)) is not None and found.token == holder.token:
                storage.delete_file(storage.join(uri, LOCK))


def read_holder(uri: str) -> Holder | None:
    """Return the holder in run.lock; none: there is no such file, or its writer died while writing it."""
    try:
        return Holder(**storage.read_json(storage.join(uri, LOCK)))
    except (DataError, FileNotFoundError, TypeError):
        return None


def _claim(uri: str, advice: str) -> Holder:
    mine = _this_process()
    with storage.hold_alone(uri):
        before = read_holder(uri)
        if before is not None and before.is_alive():
            raise _refusal(uri, before, advice)
        _write_claim(uri, mine, advice)
    after = mine
    if not storage.is_local(uri):
        time.sleep(_SETTLE_S)
        after = read_holder(uri) or mine
    if after.token != mine.token:
        raise _refusal(uri, after, advice)
    if before is not None:
        logger.info("%s: taken over from %s, which is gone", uri, before)
    return mine


def _write_claim(uri: str, mine: Holder, advice: str) -> None:
    """Write run.lock; on a local disk it replaces that of a dead process, but not one that was made since.

    Raises:
        RunHeldError: Another process has made one.
    """
    name = storage.join(uri, LOCK)
    if not storage.is_local(uri):
        storage.write_json(name, asdict(mine))
        return
    Path(name).unlink(missing_ok=True)
    try:
        with Path(name).open("x") as file:
            json.dump(asdict(mine), file, indent=2)
    except FileExistsError:
        raise _refusal(uri, read_holder(uri) or mine, advice) from None


def _refusal(uri: str, holder: Holder, advice: str) -> RunHeldError:
    return RunHeldError(
        f"{uri}: is held by {holder}; its last sign of life is {max(0.0, time.time() - holder.renewed_at):.0f} s old; "
        f"wait for its end or end it, or {advice}"
    )


def _renew(uri: str, holder: Holder, is_over: threading.Event) -> None:
    """Renew the lock until the event is set; if the store can't be reached, try again the next time."""
    thief = None
    while thief is None and not is_over.wait(RENEW_EVERY_S):
        try:
            thief = _renew_once(uri, holder)
        except (OSError, DataError) as error:
            logger.warning("%s: its lock can't be renewed now: %s", uri, error)
    if thief is not None:
        logger.warning("%s: was taken over by %s; this process stops", uri, thief)
        os.kill(os.getpid(), _ending_signal())


def _ending_signal() -> signal.Signals:
    """Return SIGINT, so that the block is left in order, or SIGTERM where SIGINT is ignored (after a shell's ``&``)."""
    return signal.SIGTERM if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None) else signal.SIGINT


def _renew_once(uri: str, holder: Holder) -> Holder | None:
    """Write the time of this renewal, or return who has taken the lock over."""
    with storage.hold_alone(uri):  # no other process of it takes the lock over between reading and writing
        found = read_holder(uri)
        if found is not None and found.token != holder.token:
            return found
        storage.write_json(storage.join(uri, LOCK), asdict(replace(holder, renewed_at=time.time())))
    return None


def _this_process() -> Holder:
    now = time.time()
    return Holder(
        host=socket.gethostname(),
        process_id=os.getpid(),
        machine=_machine(),
        process_begun=_process_begun(os.getpid()),
        user=_user(),
        command=_CREDENTIALS.sub("//…@", " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        begun_at=now,
        renewed_at=now,
        token=secrets.token_hex(8),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return str(os.getuid())


def _machine() -> str:
    """Return a text that is equal for processes that can see each other's ids."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _process_begun(process_id: int) -> str:
    """Return the start of a process of this machine, in ticks since the machine's start; empty: it doesn't exist."""
    try:
        state, *rest = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return _is_there(process_id)
    return "" if state in "ZX" else rest[18]  # a zombie is dead


def _is_there(process_id: int) -> str:
    """Return a word for a process that exists, on a system without /proc; empty: it doesn't exist."""
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "there"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
