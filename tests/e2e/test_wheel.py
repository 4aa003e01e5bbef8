"""The wheel as a user installs it: the command ``melanoma`` from any directory, and every file that is no module."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("melanoma_ray", "jobs")


def run(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def source_files() -> set[str]:
    """Each file that belongs into the wheel, named as it is there."""
    listed = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.splitlines() if not name.endswith(".md")]
    return {name.replace("jobs/", "melanoma_ray_jobs/", 1) if name.startswith("jobs/") else name for name in names}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout gets no build directory; with the setuptools that are here."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    files = ["pyproject.toml", "README.md", "LICENSE"]
    files += subprocess.run(
        ["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(copy),
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_checkout_and_no_package_that_could_collide(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == source_files()
    assert {name.split("/")[0] for name in names} == {"melanoma_ray", "melanoma_ray_jobs"}
    assert {"melanoma_ray/py.typed", "melanoma_ray/taxonomy.csv", "melanoma_ray/serving/static/page.js"} <= names


@pytest.mark.slow
def test_the_installed_command_works_from_any_directory(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", str(environment), cwd=tmp_path)
    python, site = str(environment / "bin" / "python"), sysconfig.get_path("purelib")
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    Path(where, "dependencies.pth").write_text(site + "\n")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    command = str(environment / "bin" / "melanoma")
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
