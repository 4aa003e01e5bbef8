"""The wheel as a user installs it: the command ``melanoma`` from any directory, and every file that is no module."""

from __future__ import annotations

import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.wheel import SOURCES, build_wheel, install_wheel, run

ROOT = Path(__file__).parents[2]


def source_files() -> set[str]:
    """Each file that belongs into the wheel, named as it is there."""
    listed = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.splitlines() if not name.endswith(".md")]
    return {name.replace("jobs/", "melanoma_ray_jobs/", 1) if name.startswith("jobs/") else name for name in names}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_checkout_and_no_package_that_could_collide(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == source_files()
    assert {name.split("/")[0] for name in names} == {"melanoma_ray", "melanoma_ray_jobs"}
    assert {"melanoma_ray/py.typed", "melanoma_ray/taxonomy.csv", "melanoma_ray/serving/static/page.js"} <= names


@pytest.mark.slow
def test_the_installed_command_works_from_any_directory(wheel: Path, tmp_path: Path) -> None:
    python = install_wheel(wheel, tmp_path / "venv")
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    command = str(tmp_path / "venv" / "bin" / "melanoma")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    verbs = run(command, "--help", cwd=elsewhere)
    assert all(f"  {verb} " in verbs for verb in ("prepare", "train", "tune", "evaluate", "predict", "deploy", "query"))
    assert run(command, "prepare", "--help", cwd=elsewhere).startswith("usage: melanoma prepare ")
    assert "lite0" in run(command, "train", "--help", cwd=elsewhere)
    facts = "from importlib.resources import files; import melanoma_ray; r = files('melanoma_ray'); "
    facts += "assert (r / 'reports/templates/base.html').is_file(); print(melanoma_ray.__file__)"
    assert run(python, "-c", facts, cwd=elsewhere).startswith(where)


def test_every_package_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("melanoma_ray/**/__init__.py")}
    assert set(settings["packages"]) == found | {"melanoma_ray_jobs"}
