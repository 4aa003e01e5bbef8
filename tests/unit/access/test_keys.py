"""Keys: shown once, kept as hashes, and worth what the file says now."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from melanoma_ray.access import keys
from melanoma_ray.access.keys import SCOPES, KeyStore, create_key, read_key_file, revoke_key
from melanoma_ray.access.sessions import find_session, start_session
from melanoma_ray.errors import ConfigError, StorageError

CREATE_ONE = (
    "import sys; from melanoma_ray.access.keys import create_key; create_key(sys.argv[1], sys.argv[2], ('predict',), 1)"
)


@pytest.fixture(autouse=True)
def changes_are_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_CHECK_EVERY_S", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "secrets" / "keys.json")


def test_a_key_is_found_again_and_the_file_doesn_t_have_it(path: str) -> None:
    text, key = create_key(path, "ward 3", ("predict",), days=1)
    found = KeyStore(path).find(text)
    assert found == key
    assert (found.name, found.scopes) == ("ward 3", ("predict",))
    assert text.rsplit("_", 1)[1] not in Path(path).read_text()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1],
        lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
        lambda t: t + "A",
        lambda t: t.upper(),
        lambda t: t[:0],
        lambda t: t.split("_")[2],
        lambda t: f" {t}",
        lambda t: "mray_" + "0" * 12 + t[17:],
        lambda t: t + "\n",
    ],
)
def test_nothing_but_the_whole_key_is_one(path: str, change: Callable[[str], str]) -> None:
    text, _ = create_key(path, "a", SCOPES, None)
    assert KeyStore(path).find(change(text)) is None


def test_a_running_service_sees_a_new_key_and_a_revoked_one(path: str) -> None:
    first, key = create_key(path, "a", SCOPES, None)
    store = KeyStore(path)
    second, _ = create_key(path, "b", SCOPES, None)
    assert store.find(second) is not None
    revoked = revoke_key(path, key.key_id[:6])
    assert revoked.state(time.time()) == "revoked"
    assert store.find(first) is None
    assert store.find(second) is not None
    assert revoke_key(path, key.key_id).revoked_at == revoked.revoked_at  # a second time changes nothing


def test_a_key_expires(path: str) -> None:
    text, key = create_key(path, "a", SCOPES, days=1e-6)
    store = KeyStore(path)
    assert key.expires_at is not None
    time.sleep(max(0.0, key.expires_at - time.time()) + 0.05)
    assert store.find(text) is None
    assert key.state(time.time()) == "expired"


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.write_text("{"), lambda p: p.write_text('{"keys": 3}')]
)
def test_without_a_readable_file_nobody_has_a_key_until_it_is_back(
    path: str, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    text, _ = create_key(path, "a", SCOPES, None)
    content, store = Path(path).read_bytes(), KeyStore(path)
    damage(Path(path))
    assert store.find(text) is None
    assert "until then nobody has a key" in caplog.text
    Path(path).write_bytes(content)
    assert store.find(text) is not None


def test_processes_that_add_keys_at_once_lose_none(path: str) -> None:
    create_key(path, "first", SCOPES, None)
    running = [subprocess.Popen([sys.executable, "-c", CREATE_ONE, path, f"number {i}"]) for i in range(6)]
    assert [process.wait(120) for process in running] == [0] * 6
    assert {key.name for key in read_key_file(path).keys} == {"first", *(f"number {i}" for i in range(6))}
    assert [file.name for file in Path(path).parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no such file"),
        ("[]", "isn't a file of keys"),
        ('{"format_version": 2}', "format_version"),
        ("{}", "session_secret"),
        ('{"session_secret": ""}', "session_secret"),
        ('{"session_secret": "zz"}', "session_secret"),
    ],
)
def test_what_is_no_file_of_keys_is_one_line(path: str, content: str | None, told: str) -> None:
    Path(path).parent.mkdir()
    if content is not None:
        Path(path).write_text(content)
    with pytest.raises(ConfigError, match=told) as raised:
        read_key_file(path)
    assert "\n" not in str(raised.value)


def test_a_name_or_an_id_that_means_nothing_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="expected the name"):
        create_key(path, "  ", SCOPES, None)
    create_key(path, "a", SCOPES, None)
    create_key(path, "b", SCOPES, None)
    for wrong, told in (("zz", "no key begins so"), ("", "no key begins so")):
        with pytest.raises(ConfigError, match=told):
            revoke_key(path, wrong)


def test_a_file_that_can_t_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder is meant"):
        create_key(str(tmp_path / "file" / "keys.json"), "a", SCOPES, None)


def test_a_session_is_worth_its_key_and_can_t_be_made_without_the_file(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = create_key(path, "a", ("predict",), None)
    _, other = create_key(path, "b", SCOPES, None)
    content = read_key_file(path)
    session = start_session(content, key)
    assert find_session(content, session) == key
    key_id, ends_at, signature = session.split(".")
    for forged in (
        f"{other.key_id}.{ends_at}.{signature}",
        f"{key_id}.{int(ends_at) + 1}.{signature}",
        f"{key_id}.{ends_at}.{'0' * 64}",
        session + "0",
        "",
        "..",
        f"{key_id}.{ends_at}",
    ):
        assert find_session(content, forged) is None
    revoke_key(path, key.key_id)
    assert find_session(read_key_file(path), session) is None
    later = time.time() + 9 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert find_session(content, session) is None


def test_the_file_of_another_service_doesn_t_make_its_sessions_here(path: str, tmp_path: Path) -> None:
    _, key = create_key(path, "a", SCOPES, None)
    here = json.loads(Path(path).read_text())
    there = tmp_path / "there.json"
    create_key(str(there), "x", SCOPES, None)
    elsewhere = json.loads(there.read_text()) | {"keys": here["keys"]}
    there.write_text(json.dumps(elsewhere))
    assert find_session(read_key_file(path), start_session(read_key_file(str(there)), key)) is None


def test_a_home_is_the_same_one_wherever_a_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves the ~ of ``--keys=~/keys.json`` as it is."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    first, _ = create_key("~/keys.json", "a", SCOPES, None)
    second, key = create_key("~/keys.json", "b", SCOPES, None)
    store = KeyStore("~/keys.json")
    assert [store.find(text) is not None for text in (first, second)] == [True, True]
    revoke_key("~/keys.json", key.key_id)
    assert [store.find(text) is not None for text in (first, second)] == [True, False]
    assert list(elsewhere.iterdir()) == []
    with pytest.raises(StorageError, match="is no user's home here") as raised:
        create_key("~no-such-user-here/keys.json", "a", SCOPES, None)
    assert "\n" not in str(raised.value)


def test_a_key_that_is_revoked_through_a_link_is_revoked_in_the_file_that_the_service_reads(tmp_path: Path) -> None:
    real, link, beside = tmp_path / "secure" / "keys.json", tmp_path / "keys.json", tmp_path / "other.json"
    link.symlink_to(beside)
    beside.symlink_to(real)  # a chain, whose end isn't there yet
    text, key = create_key(str(link), "a", SCOPES, None)
    store = KeyStore(str(real))
    assert store.find(text) is not None
    revoke_key(str(link), key.key_id)
    assert store.find(text) is None
    assert link.is_symlink()
    assert beside.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_links_that_lead_to_each_other_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StorageError, match="leads nowhere") as raised:
        create_key(str(tmp_path / "a"), "a", SCOPES, None)
    assert "\n" not in str(raised.value)
