"""Settings of alerts from a file: what is wrong is one clear line, and the documentation's examples are right."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from melanoma_ray.alerts.settings import AlertSettings, read_settings
from melanoma_ray.alerts.sinks import check_sinks
from melanoma_ray.alerts.transport import build_tls
from melanoma_ray.errors import ConfigError
from tests.unit.alerts.certificates import Authority

PAGE = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
FILE_SINK = '[[sinks]]\nname = "log"\nkind = "file"\npath = "/none/log"\n'
RULE = '[[rules]]\nname = "melanoma"\nsinks = ["log"]\n'
OUTBOX = 'outbox = "/none/outbox.db"\n'
HOOK = '[[sinks]]\nname = "hook"\nkind = "webhook"\nsecret_env = "SECRET"\n'
MAIL = '[[sinks]]\nname = "mail"\nkind = "mail"\nhost = "h"\nsender = "a@b.example"\n'


def read(folder: Path, text: str) -> AlertSettings:
    file = folder / "alerts.toml"
    file.write_text(text)
    return read_settings(str(file))


def test_there_is_an_example_of_each_sink_and_each_can_be_read(tmp_path: Path) -> None:
    first, *others = EXAMPLES
    sinks = {one.kind for text in others for one in read(tmp_path, first + text).sinks}
    assert sinks == {"mail", "webhook", "fhir", "file"}


def test_a_json_file_says_the_same_as_a_toml_file(tmp_path: Path) -> None:
    text = OUTBOX + RULE + FILE_SINK
    file = tmp_path / "alerts.json"
    file.write_text(json.dumps(tomllib.loads(text)))
    assert read_settings(str(file)) == read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RULE + FILE_SINK, "outbox: field required"),
        (OUTBOX + FILE_SINK, "rules: field required"),
        ("rules = []\nsinks = []\n" + OUTBOX, "rules=(): expected one rule or more"),
        (OUTBOX + RULE + FILE_SINK + "pth = 1\n", "sinks.0.file.pth=1: unexpected keyword argument"),
        (OUTBOX + RULE.replace('"log"', '"lg"') + FILE_SINK, "rule 'melanoma': sink='lg': expected one of log"),
        (OUTBOX + RULE + FILE_SINK + FILE_SINK, "sinks: name='log': expected a name of its own for each"),
        (OUTBOX + RULE + RULE + FILE_SINK, "rules: name='melanoma': expected a name of its own for each"),
        (OUTBOX + RULE + FILE_SINK.replace("file", "fax", 1), "sinks.0={"),
        (OUTBOX + RULE + 'when = ["maybe"]\n' + FILE_SINK, "rules.0.when.0='maybe': input should be 'refer'"),
        (OUTBOX + RULE + "when = []\n" + FILE_SINK, "rule 'melanoma': when=(): expected an answer, or top_patients"),
        (OUTBOX + RULE + "top_patients = -1\n" + FILE_SINK, "rule 'melanoma': top_patients=-1: expected 0 or more"),
        (
            OUTBOX + RULE + 'top_patients = "3"\n' + FILE_SINK,
            "rules.0.top_patients='3': input should be a valid integer",
        ),
        (OUTBOX + RULE + 'sites = ["wing"]\n' + FILE_SINK, "rules.0.sites.0='wing'"),
        (
            OUTBOX + RULE + "min_age = 60\nmax_age = 18\n" + FILE_SINK,
            "min_age, max_age=(60.0, 18.0): expected min_age first",
        ),
        (OUTBOX + RULE + "min_age = nan\n" + FILE_SINK, "min_age=nan"),
        (
            OUTBOX + RULE + "acknowledge_within_minutes = 5\n" + FILE_SINK,
            "escalate_to=(): expected sinks exactly if acknowledge_within_minutes is given",
        ),
        (OUTBOX + RULE + FILE_SINK + "max_alerts = 0\n", "sink 'log': max_alerts=0: expected [1, 1000]"),
        (
            OUTBOX + RULE + FILE_SINK + 'quiet_from = "22:00"\n',
            "quiet_from, quiet_until=('22:00', None): expected both",
        ),
        (OUTBOX + RULE + FILE_SINK + 'quiet_from = "22"\nquiet_until = "7"\n', "quiet hours='22': expected a time"),
        (OUTBOX + RULE + FILE_SINK + "quiet_from = 22:00:00\nquiet_until = 07:00:00\n", "not a TOML file of settings"),
        (OUTBOX + RULE + FILE_SINK + 'time_zone = "Mars/Base"\n', "time_zone='Mars/Base': expected a name such as"),
        (OUTBOX + RULE + FILE_SINK + HOOK + 'url = "http://clinic.example/"\n', "expected https://"),
        (OUTBOX + RULE + FILE_SINK + HOOK + 'url = "https://user:pw@clinic.example/"\n', "without user or password"),
        (OUTBOX + RULE + FILE_SINK + HOOK + 'url = "clinic.example"\n', "url='clinic.example': expected https://"),
        (
            OUTBOX + RULE + FILE_SINK + HOOK + 'url = "https://c.example/"\nsecret_file = "/x"\n',
            "secret_file, secret_env=('/x', 'SECRET'): expected exactly one of the two",
        ),
        (OUTBOX + RULE + FILE_SINK + MAIL + "recipients = []\n", "recipients=(): expected one address or more"),
        (
            OUTBOX + RULE + FILE_SINK + MAIL + 'recipients = ["a@b.example, c@d.example"]\n',
            "expected one mail address",
        ),
        (
            OUTBOX + RULE + FILE_SINK + MAIL + 'recipients = ["a@b.example\\nBcc: x@y.example"]\n',
            "expected one mail address",
        ),
        (
            OUTBOX + RULE + FILE_SINK + MAIL + 'recipients = ["a@b.example"]\nuser = "u"\n',
            "password_file, password_env",
        ),
        (
            OUTBOX
            + 'details = ["patient_id"]\n'
            + RULE
            + FILE_SINK
            + '[[sinks]]\nname = "f"\nkind = "fhir"\nurl = "https://f.example"\n',
            "patient_system=None: expected the URI of the patients' identifiers",
        ),
        ('outbox = "s3://bucket/outbox.db"\n' + RULE + FILE_SINK, "a path on this machine: SQLite needs a local disk"),
        ("outbox", "not a TOML file of settings"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/alerts.toml: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_isn_t_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory; .*docs/alerts\.md has an example"):
        read_settings(str(tmp_path / "none.toml"))


def test_secrets_that_can_t_be_read_are_found_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECRET", raising=False)
    settings = read(tmp_path, OUTBOX + RULE + FILE_SINK + HOOK + 'url = "https://c.example/"\n')
    with pytest.raises(ConfigError, match="sink 'hook': secret_env='SECRET': there is no secret in it"):
        check_sinks(settings)
    text = HOOK.replace("secret_env", "secret_file").replace("SECRET", str(tmp_path / "none"))
    settings = read(tmp_path, OUTBOX + RULE + FILE_SINK + text + 'url = "https://c.example/"\n')
    with pytest.raises(ConfigError, match=r"sink 'hook': secret_file: .*No such file"):
        check_sinks(settings)
    text = HOOK.replace("secret_env", "secret_file").replace("SECRET", str(tmp_path / "alerts.toml"))
    ca = f'url = "https://c.example/"\nca_file = "{tmp_path}/alerts.toml"\n'
    settings = read(tmp_path, OUTBOX + RULE + FILE_SINK + HOOK + ca)
    monkeypatch.setenv("SECRET", "whsec_" + "YWFh" * 10)
    with pytest.raises(ConfigError, match=r"ca_file=.*: no PEM file of certificates"):
        check_sinks(settings)


def test_authorities_in_the_home_are_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Authority(tmp_path).file == str(tmp_path / "authority.pem")
    assert len(build_tls("hook", "~/authority.pem").get_ca_certs()) == 1
