"""The settings of alerts, a TOML or JSON file: rules, sinks and the outbox. It names secrets and never holds one."""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from melanoma_ray import storage
from melanoma_ray.alerts.schedule import parse_time
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.schema import Site

Trigger = Literal["refer", "unassessable", "unreadable"]
Detail = Literal["image_id", "path", "patient_id", "lesion_id", "age", "sex", "site"]
"""What an alert may say of a person and of files; image names and paths often hold a name or a number of a person."""
_STRICT = ConfigDict(extra="forbid")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def _require(condition: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001
    if not condition:
        msg = f"{name}={value!r}: expected {allowed}"
        raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Which answers make an alert, and who gets it. An answer that isn't a number in [0, 1] meets every rule."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    """Name of the rule, in each alert that it makes."""
    sinks: tuple[str, ...]
    """Names of the sinks that get its alerts."""
    when: tuple[Trigger, ...] = ("refer", "unassessable", "unreadable")
    """Answers that meet the rule; refer: the probability reaches the checkpoint's threshold."""
    top_patients: Annotated[int, Range(0)] = 0
    """Patients with the highest probabilities of a batch who meet the rule too, whatever the decision; 0: none."""
    min_age: Annotated[float | None, Range(0)] = None
    """Youngest age that the rule is for, years; none: any."""
    max_age: Annotated[float | None, Range(0)] = None
    """Oldest age that the rule is for, years; none: any."""
    sites: tuple[Site, ...] = ()
    """Sites of the body that the rule is for; empty: any."""
    unknown: Literal["matches", "differs"] = "matches"
    """Whether an unknown age or site counts as one that the rule is for."""
    per: Literal["patient", "image"] = "patient"
    """patient: one alert for all images of a patient in one batch, where patients are known; image: one for each."""
    urgent: bool = False
    """Send at once: neither quiet hours nor a digest hold it back."""
    acknowledge_within_minutes: Annotated[float | None, Range(above=0)] = None
    """Time in which somebody must acknowledge the alert, minutes; none: nobody must."""
    escalate_to: tuple[str, ...] = ()
    """Names of the sinks that get it when nobody has acknowledged it in time."""

    def __post_init__(self) -> None:
        """Check ranges, and that escalation has both its settings."""
        prefix = f"rule {self.name!r}: "
        check_ranges(self, prefix)
        _require(bool(self.name.strip()), "rule name", self.name, "a name")
        _require(bool(self.sinks), prefix + "sinks", self.sinks, "the name of one sink or more")
        _require(bool(self.when or self.top_patients), prefix + "when", self.when, "an answer, or top_patients")
        ages = (self.min_age, self.max_age)
        _require(None in ages or self.min_age <= self.max_age, prefix + "min_age, max_age", ages, "min_age first")  # type: ignore[operator]
        both = (self.acknowledge_within_minutes is None) == (not self.escalate_to)
        _require(both, prefix + "escalate_to", self.escalate_to, "sinks exactly if acknowledge_within_minutes is given")


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkSettings:
    """What all sinks have: digest, quiet hours and retries."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    """Name of the sink, which rules use."""
    max_alerts: Annotated[int, Range(1, 1000)] = 1
    """Most alerts of one message, in [1, 1000]; more than 1: a digest."""
    batch_minutes: Annotated[float, Range(0)] = 0.0
    """Time that an alert waits for others of its message, minutes; 0: none."""
    quiet_from: str | None = None
    """Start of the quiet hours, such as 22:00; alerts that aren't urgent wait for their end. None: there are none."""
    quiet_until: str | None = None
    """End of the quiet hours, such as 07:00."""
    time_zone: str = "UTC"
    """Time zone of the quiet hours and of times in mails, such as Europe/Berlin."""
    timeout_s: Annotated[float, Range(above=0)] = 10.0
    """Longest time to wait for the connection, or for more of an answer, seconds."""
    retry_first_s: Annotated[float, Range(above=0)] = 5.0
    """Longest pause before the second attempt, seconds; it doubles with each attempt."""
    retry_longest_s: Annotated[float, Range(above=0)] = 900.0
    """Longest pause between attempts, seconds."""
    give_up_hours: Annotated[float, Range(above=0)] = 72.0
    """Time of attempts after which a message that the sink neither took nor refused is a dead letter, hours."""
    max_refusals: Annotated[int, Range(1)] = 5
    """Refusals (such as HTTP 4xx, a certificate that doesn't match) after which a message is a dead letter."""

    def __post_init__(self) -> None:
        """Check ranges, quiet hours and time zone."""
        prefix = f"sink {self.name!r}: "
        _require(bool(self.name.strip()), "sink name", self.name, "a name")
        check_ranges(self, prefix)
        quiet = (self.quiet_from, self.quiet_until)
        _require((quiet[0] is None) == (quiet[1] is None), prefix + "quiet_from, quiet_until", quiet, "both or neither")
        for text in quiet:
            if text is not None:
                _require(parse_time(text) is not None, prefix + "quiet hours", text, "a time such as 22:00")
        _require(quiet[0] is None or quiet[0] != quiet[1], prefix + "quiet_from, quiet_until", quiet, "two times")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            msg = f"{prefix}time_zone={self.time_zone!r}: expected a name such as Europe/Berlin"
            raise ConfigError(msg) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSink(SinkSettings):
    """A file with one JSON object a line, a message each."""

    kind: Literal["file"]
    path: str
    """Path of the file, on a disk of this machine; it is appended to."""

    def __post_init__(self) -> None:
        """Check that it is a local path."""
        SinkSettings.__post_init__(self)
        _require(storage.is_local(self.path), f"sink {self.name!r}: path", self.path, "a path on this machine")


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSink(SinkSettings):
    """An HTTP address that gets signed JSON (standardwebhooks.com)."""

    kind: Literal["webhook"]
    url: str
    """Address, https://…"""
    secret_file: str | None = None
    """File with the signing secret, whsec_…; a second line has the old one while it is being changed."""
    secret_env: str | None = None
    """Environment variable with the signing secret, in place of the file."""
    ca_file: str | None = None
    """PEM file with the authority that signed the server's certificate; none: those that the system trusts."""
    proxy: str | None = None
    """Address of an HTTP proxy; none: no proxy is used, whatever environment variables say."""

    def __post_init__(self) -> None:
        """Check the address and that there is one secret."""
        SinkSettings.__post_init__(self)
        _check_url(self.url, f"sink {self.name!r}: url")
        _check_one_secret(self.name, "secret", self.secret_file, self.secret_env, is_needed=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class MailSink(SinkSettings):
    """A mail server that takes mail over TLS."""

    kind: Literal["mail"]
    host: str
    """Name of the mail server, as in its certificate."""
    sender: str
    """Address of the sender."""
    recipients: tuple[str, ...]
    """Addresses of the recipients."""
    max_alerts: Annotated[int, Range(1, 1000)] = 200
    """Most alerts of one mail, in [1, 1000]."""
    port: Annotated[int, Range(1, 65535)] = 587
    """Port of the mail server."""
    security: Literal["starttls", "tls"] = "starttls"
    """starttls: the connection becomes TLS by STARTTLS (port 587); tls: it is TLS from the start (port 465)."""
    user: str | None = None
    """User name at the mail server; none: no login."""
    password_file: str | None = None
    """File with the password."""
    password_env: str | None = None
    """Environment variable with the password, in place of the file."""
    ca_file: str | None = None
    """PEM file with the authority that signed the server's certificate; none: those that the system trusts."""

    def __post_init__(self) -> None:
        """Check the addresses, and that a user has a password."""
        SinkSettings.__post_init__(self)
        prefix = f"sink {self.name!r}: "
        _require(bool(self.recipients), prefix + "recipients", self.recipients, "one address or more")
        for address in (self.sender, *self.recipients):
            _require(_is_address(address), prefix + "address", address, "one mail address, such as team@clinic.example")
        _check_one_secret(self.name, "password", self.password_file, self.password_env, is_needed=self.user is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FhirSink(SinkSettings):
    """A FHIR R4 server that gets one transaction a message."""

    kind: Literal["fhir"]
    url: str
    """Base address of the server, https://…/fhir."""
    token_file: str | None = None
    """File with a bearer token; none: the server asks for none."""
    token_env: str | None = None
    """Environment variable with the bearer token, in place of the file."""
    patient_system: str | None = None
    """Namespace of the patients' identifiers, a URI, needed where details has patient_id."""
    ca_file: str | None = None
    """PEM file with the authority that signed the server's certificate; none: those that the system trusts."""
    proxy: str | None = None
    """Address of an HTTP proxy; none: no proxy is used, whatever environment variables say."""

    def __post_init__(self) -> None:
        """Check the address."""
        SinkSettings.__post_init__(self)
        _check_url(self.url, f"sink {self.name!r}: url")
        _check_one_secret(self.name, "token", self.token_file, self.token_env, is_needed=False)


AnySink = FileSink | WebhookSink | MailSink | FhirSink


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertSettings:
    """Content of the file of alert settings."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    outbox: str
    """File of the outbox, on a disk of this machine that survives a restart (see outbox.py)."""
    rules: tuple[Rule, ...]
    sinks: tuple[Annotated[AnySink, Field(discriminator="kind")], ...]
    details: tuple[Detail, ...] = ()
    """What alerts say of persons and files, such as image_id; nothing by default."""
    node_resource: str | None = None
    """On a cluster: Ray resource of the node that has the outbox's disk; none: the job itself keeps the outbox."""

    def __post_init__(self) -> None:
        """Check that names are unique and that every sink that a rule names is there."""
        _require(bool(self.rules), "rules", self.rules, "one rule or more")
        _require(
            storage.is_local(self.outbox), "outbox", self.outbox, "a path on this machine: SQLite needs a local disk"
        )
        known = _unique([one.name for one in self.sinks], "sinks")
        _unique([one.name for one in self.rules], "rules")
        for rule in self.rules:
            for name in (*rule.sinks, *rule.escalate_to):
                _require(name in known, f"rule {rule.name!r}: sink", name, f"one of {', '.join(known) or 'no sinks'}")
        for sink in self.sinks:
            if isinstance(sink, FhirSink) and "patient_id" in self.details:
                allowed = "the URI of the patients' identifiers, since details has patient_id"
                _require(sink.patient_system is not None, f"sink {sink.name!r}: patient_system", None, allowed)


def read_settings(path: str) -> AlertSettings:
    """Return the settings in a TOML file, or in a JSON file whose name ends in .json.

    Raises:
        ConfigError: The file can't be read, or a setting is unknown, missing or out of its range.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        content: Any = json.loads(text) if path.endswith(".json") else tomllib.loads(text)
        as_json = json.dumps(content)
    except OSError as error:
        msg = f"{storage.explain(error, path)}; docs/alerts.md has an example"
        raise ConfigError(msg) from error
    except (ValueError, TypeError) as error:  # TypeError: TOML's dates and times, where no setting is one
        msg = f"{path}: not a {'JSON' if path.endswith('.json') else 'TOML'} file of settings ({error})"
        raise ConfigError(msg) from error
    try:
        return _reader().validate_json(as_json, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        value = "" if first["type"] == "missing" else f"={first['input']!r}"
        msg = f"{path}: {name}{value}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise ConfigError(msg) from error
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error


@functools.cache
def _reader() -> TypeAdapter[AlertSettings]:
    return TypeAdapter(AlertSettings)


def _unique(names: Sequence[str], what: str) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    _require(not twice, f"{what}: name", ", ".join(twice), "a name of its own for each")
    return list(names)


def _check_url(url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        host, is_whole = parts.hostname, parts.username is None and not parts.fragment
    except ValueError:
        host, is_whole = None, False
    is_safe = host is not None and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))
    _require(is_safe and is_whole, name, url, "https://… without user or password (http only for this machine)")


def _check_one_secret(sink: str, name: str, file: str | None, variable: str | None, *, is_needed: bool) -> None:
    both = f"{name}_file, {name}_env"
    given = [one for one in (file, variable) if one is not None]
    allowed = "exactly one of the two" if is_needed else "one of the two at most"
    _require(len(given) == 1 or (not given and not is_needed), f"sink {sink!r}: {both}", (file, variable), allowed)


def _is_address(text: str) -> bool:
    user, _, host = text.rpartition("@")
    return bool(user and host) and text.isprintable() and not any(mark in text for mark in ' ,;<>"\r\n')
