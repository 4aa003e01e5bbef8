"""The switches of Ray Serve: what is set, and what the user's own settings keep."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from melanoma_ray.cluster import workarounds
from melanoma_ray.cluster.workarounds import serve_quickly


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is put back, without switches at first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_SERVE")}
    monkeypatch.setattr(os, "environ", kept)


def test_a_switch_that_the_user_has_set_is_kept() -> None:
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    serve_quickly()
    assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert os.environ["RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"] == "0"
    assert os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"] != os.environ["RAY_SERVE_HAPROXY_STATS_PORT"]


def test_without_ray_s_haproxy_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workarounds, "find_spec", lambda _: None)
    serve_quickly()
    assert not [name for name in os.environ if name.startswith("RAY_SERVE")]


def test_the_script_confines_just_the_two_ports_and_starts_haproxy(tmp_path: Path) -> None:
    serve_quickly()
    metrics, statistics = (os.environ[f"RAY_SERVE_HAPROXY_{name}_PORT"] for name in ("METRICS", "STATS"))
    config = tmp_path / "haproxy.cfg"
    config.write_text(f"    bind :{metrics}\n    bind *:8000\n  bind *:{statistics}\n")
    script = os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]
    # -c checks the file, which isn't a whole one: only that HAProxy ran is of interest.
    finished = subprocess.run([script, "-db", "-f", str(config), "-c"], check=False, capture_output=True, text=True)
    assert "haproxy" in finished.stderr.lower()
    assert config.read_text() == f"    bind 127.0.0.1:{metrics}\n    bind *:8000\n  bind 127.0.0.1:{statistics}\n"
