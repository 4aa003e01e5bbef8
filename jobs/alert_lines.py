"""The lines that jobs print about alerts."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from melanoma_ray.alerts.dispatcher import SendingResult
from melanoma_ray.alerts.outbox import AlertStatus, DeliveryStatus
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.api import describe_share
from melanoma_ray.errors import AlertError

ID_LENGTH = 12
"""First characters of an alert's id that lists show; show, resend and acknowledge take them."""


def describe_list(alerts: Sequence[AlertStatus], settings: AlertSettings, *, with_closed: bool) -> str:
    """Return one line for each alert, newest first: all, or those that nobody has acknowledged."""
    open_ones = [one for one in alerts if one.acknowledged_at is None]
    shown = alerts if with_closed else open_ones
    lines = [_in_one_line(one) for one in shown]
    counts = f"{len(open_ones)} open alerts of {len(alerts)} in {settings.outbox}"
    return "\n".join([*lines, counts])


def describe_dead(alerts: Sequence[AlertStatus]) -> str:
    """Return one line for each delivery that was given up, with what the sink said last."""
    lines = [
        f"{one.alert_id[:ID_LENGTH]}  {delivery.sink}, {delivery.num_attempts} attempts: {delivery.outcome}"
        for one in alerts
        for delivery in one.deliveries
        if delivery.state == "dead"
    ]
    hint = ["melanoma alerts resend ID (or --every) sends them again, under the keys that they had"] if lines else []
    return "\n".join([*lines, f"{len(lines)} dead letters", *hint])


def describe_alert(alert: AlertStatus) -> str:
    """Return all of an alert, with the images that it is about, which sinks don't get."""
    body = alert.body
    lines = [f"alert {alert.alert_id}", f"  {body['reason_text']}{_figures(alert)}"]
    lines += [f"  made {_time(alert.created_at)} by rule {body['rule']}, model {body['checkpoint_id']}"]
    lines += [f"  image {image}" for image in alert.images]
    lines += [f"  worklist {body['worklist']}"] if body["worklist"] else []
    lines += [f"  {_describe_delivery(one)}" for one in alert.deliveries]
    return "\n".join([*lines, f"  {_acknowledgement(alert)}"])


def refuse_dead(result: SendingResult, file: str) -> None:
    """Have the job end with an error while a delivery is given up and nobody has acknowledged its alert.

    Raises:
        AlertError: One is.
    """
    if result.num_dead:
        msg = (
            f"{result.num_dead} deliveries of alerts were given up and nobody has acknowledged these alerts: "
            f"melanoma alerts dead --alerts {shlex.quote(file)}"
        )
        raise AlertError(msg)


def describe_sending(result: SendingResult, file: str) -> str:
    """Return how many deliveries the sinks have confirmed, and what becomes of those that wait."""
    lines = [f"{result.num_delivered:6} deliveries confirmed by their sinks"]
    if result.num_waiting:
        command = f"melanoma alerts watch --alerts {shlex.quote(file)}"
        lines.append(f"{result.num_waiting:6} wait in the outbox; {command} goes on sending them")
    if result.is_sent_elsewhere:
        lines.append("another process sends from this outbox")
    lines += [f"nothing can be sent to {name}: {file} has no such sink" for name in result.without_sink]
    return "\n".join(lines)


def _in_one_line(alert: AlertStatus) -> str:
    states = Counter(one.state for one in alert.deliveries)
    told = ", ".join(f"{number} {state}" for state, number in states.items())
    seen = "acknowledged" if alert.acknowledged_at is not None else "open"
    start = f"{alert.alert_id[:ID_LENGTH]}  {_time(alert.created_at)}  {seen:12}"
    return f"{start}  {alert.body['reason_text']}{_figures(alert)}; {told}"


def _figures(alert: AlertStatus) -> str:
    probability, number = alert.body["melanoma_probability"], alert.body["num_images"]
    share = "" if probability is None else f", {alert.body['referred_for']} {describe_share(probability)}"
    return share + ("" if number == 1 else f", {number} images")


def _describe_delivery(one: DeliveryStatus) -> str:
    what = "escalation to" if one.is_escalation else "to"
    if one.key is None:
        return f"{what} {one.sink}: waits for its digest or the end of the quiet hours"
    said = one.outcome or "not tried yet"
    return f"{what} {one.sink}: {one.state} after {one.num_attempts} attempts, key {one.key}: {said}"


def _acknowledgement(alert: AlertStatus) -> str:
    if alert.acknowledged_at is None:
        by = alert.body["acknowledge_by"]
        return "not acknowledged" + (f"; expected by {by}" if by else "")
    return f"acknowledged by {alert.acknowledged_by} at {_time(alert.acknowledged_at)}"


def _time(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M}"
