"""Alerts: python -m jobs.alerts list|show|dead|send|watch|resend|acknowledge|forget|check|test --alerts FILE."""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from melanoma_ray.alerts.dispatcher import send_forever, send_pending
from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.settings import AlertSettings, read_settings
from melanoma_ray.alerts.sinks import check_sinks, read_checked_settings
from melanoma_ray.alerts.trial import send_trial
from melanoma_ray.errors import AlertError, ConfigError
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.wording import count

from . import alert_lines, console

Action = Literal["list", "show", "dead", "send", "watch", "resend", "acknowledge", "forget", "check", "test"]
_NEED_IDS = ("show", "resend", "acknowledge")


@dataclass(frozen=True, kw_only=True)
class AlertArguments:
    """Look at alerts, send them, acknowledge them.

    list: what nobody has acknowledged; show: all of one; dead: what was given up, and why; send: what waits, until it
    is sent or the time is over; watch: the same until Ctrl-C; resend: again, under the same key; acknowledge: somebody
    has seen it; forget: delete what was acknowledged long ago; check: read settings, secrets and certificates; test:
    send one alert, marked as a test, to every sink.
    """

    action: tyro.conf.Positional[Action]
    """What to do."""
    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ids of alerts, or the beginnings of them, for show, resend and acknowledge."""
    alerts: str
    """File with the settings of alerts, .toml or .json; docs/alerts.md has examples."""
    by: str | None = None
    """Who acknowledges; by default the user of this machine."""
    every: bool = False
    """list: closed alerts too; resend: all dead letters; acknowledge: all open alerts."""
    days: Annotated[float | None, Range(0)] = None
    """forget: alerts that were acknowledged at least so many days ago, 0 or more."""
    minutes: Annotated[float, Range(above=0)] = 2.0
    """send: longest time, minutes, more than 0."""

    def __post_init__(self) -> None:
        """Check ranges, and that ids are given exactly where they are used.

        Raises:
            ConfigError: They aren't.
        """
        check_ranges(self)
        if self.ids and self.action not in _NEED_IDS:
            msg = f"{self.action} takes no ids"
            raise ConfigError(msg)
        if (self.action == "forget") != (self.days is not None):
            msg = "forget needs --days, and nothing else takes it"
            raise ConfigError(msg)
        if self.action in _NEED_IDS and not self.ids and (self.action == "show" or not self.every):
            hint = "" if self.action == "show" else ", or --every"
            msg = f"{self.action} needs the id of an alert, as in the list{hint}"
            raise ConfigError(msg)


def main(arguments: AlertArguments) -> None:
    """Do it, and print what there is to see."""
    settings = read_settings(arguments.alerts)
    _ACTIONS[arguments.action](settings, arguments)


def _list(settings: AlertSettings, arguments: AlertArguments) -> None:
    with Outbox(settings.outbox) as outbox:
        print(alert_lines.describe_list(outbox.statuses(), settings, with_closed=arguments.every))


def _dead(settings: AlertSettings, _: AlertArguments) -> None:
    with Outbox(settings.outbox) as outbox:
        print(alert_lines.describe_dead([one for one in outbox.statuses() if one.is_dead]))


def _show(settings: AlertSettings, arguments: AlertArguments) -> None:
    with Outbox(settings.outbox) as outbox:
        found = outbox.statuses([outbox.find(one) for one in arguments.ids])
    print("\n\n".join(alert_lines.describe_alert(one) for one in found))


def _resend(settings: AlertSettings, arguments: AlertArguments) -> None:
    with Outbox(settings.outbox) as outbox:
        dead = [one.alert_id for one in outbox.statuses() if one.is_dead] if arguments.every else []
        number = outbox.resend([*map(outbox.find, arguments.ids), *dead], time.time())
    print(f"{number} messages wait to be sent again")
    if number:
        _send(settings, arguments)


def _acknowledge(settings: AlertSettings, arguments: AlertArguments) -> None:
    with Outbox(settings.outbox) as outbox:
        everything = [one.alert_id for one in outbox.statuses()] if arguments.every else []
        ids = [*map(outbox.find, arguments.ids), *everything]
        by = arguments.by or getpass.getuser()
        print(f"{count(outbox.acknowledge(ids, by, time.time()), 'alert')} acknowledged by {by}")


def _forget(settings: AlertSettings, arguments: AlertArguments) -> None:
    with Outbox(settings.outbox) as outbox:
        number = outbox.forget(time.time() - 86400 * (arguments.days or 0.0))
    print(f"{count(number, 'alert')} forgotten; what is predicted again makes its alert again")


def _send(settings: AlertSettings, arguments: AlertArguments) -> None:
    check_sinks(settings)
    result = send_pending(settings, timeout_s=60 * arguments.minutes)
    print(alert_lines.describe_sending(result, arguments.alerts))
    alert_lines.refuse_dead(result, arguments.alerts)


def _watch(settings: AlertSettings, _: AlertArguments) -> None:
    check_sinks(settings)
    print(f"sending from {settings.outbox}; Ctrl-C stops it", flush=True)
    is_over = threading.Event()
    try:
        send_forever(settings, is_over)
    finally:
        is_over.set()


def _check(settings: AlertSettings, arguments: AlertArguments) -> None:
    read_checked_settings(arguments.alerts)
    print(
        f"{arguments.alerts}: {len(settings.rules)} rules and {len(settings.sinks)} sinks are usable; nothing was sent"
    )


def _test(settings: AlertSettings, _: AlertArguments) -> None:
    num_failed = send_trial(settings, time.time(), print)
    if num_failed:
        msg = f"{num_failed} of {len(settings.sinks)} sinks didn't confirm the test"
        raise AlertError(msg)


_ACTIONS: dict[Action, Callable[[AlertSettings, AlertArguments], None]] = {
    "list": _list,
    "show": _show,
    "dead": _dead,
    "send": _send,
    "watch": _watch,
    "resend": _resend,
    "acknowledge": _acknowledge,
    "forget": _forget,
    "check": _check,
    "test": _test,
}


if __name__ == "__main__":
    console.run_job(main, AlertArguments)
