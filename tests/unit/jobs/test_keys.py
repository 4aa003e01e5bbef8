"""The command that makes keys: what it prints, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs import keys
from melanoma_ray.access.keys import KeyStore, create_key
from melanoma_ray.errors import ConfigError


def run(capsys: pytest.CaptureFixture[str], path: Path, *words: str, **settings: object) -> str:
    action, who = (*words, None)[:2]
    keys.main(keys.KeyArguments(action=action, who=who, keys=str(path), **settings))  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_a_key_s_life_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    created = run(capsys, path, "create", "ward 3", scopes=("predict",), days=None)
    (text,) = re.findall(r"^mray_\S+$", created, re.MULTILINE)
    assert KeyStore(str(path)).find(text) is not None
    listed = run(capsys, path, "list")
    assert re.fullmatch(r"[0-9a-f]{12}  valid    ward 3: predict; never expires\n", listed)
    assert text.rsplit("_", 1)[1] not in listed
    assert "revoked" in run(capsys, path, "revoke", listed[:8])
    assert KeyStore(str(path)).find(text) is None


@pytest.mark.parametrize(
    ("action", "who", "told"),
    [("create", None, "needs the name"), ("revoke", None, "needs the id"), ("list", "x", "takes nothing more")],
)
def test_a_missing_word_is_named(action: keys.Action, who: str | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        keys.KeyArguments(action=action, who=who, keys="keys.json")


@pytest.mark.parametrize("setting", [{"days": 0.0}, {"days": -1.0}, {"scopes": ()}])
def test_a_key_for_nothing_or_no_time_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        keys.KeyArguments(action="create", who="a", keys="keys.json", **setting)  # type: ignore[arg-type]


def test_a_key_s_own_limits_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    run(capsys, path, "create", "night job", days=None, requests_per_minute=600.0, max_concurrent=4)
    assert "night job: predict, explain; 600 requests a minute; 4 at a time; never expires" in run(capsys, path, "list")


def test_a_key_for_longer_than_a_hundred_years_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"days=3000000\.0: expected \(0, 36500\]"):
        keys.KeyArguments(action="create", who="a", keys=str(tmp_path / "keys.json"), days=3e6)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_a_key_beyond_the_calendar_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a version that took any number of days has left it."""
    create_key(str(tmp_path / "keys.json"), "old", ("predict",), 3e6)
    create_key(str(tmp_path / "keys.json"), "older", ("predict",), 1e15)
    listed = run(capsys, tmp_path / "keys.json", "list").splitlines()
    assert [line.partition("; ")[2] for line in listed] == ["expires after the year 9999"] * 2
