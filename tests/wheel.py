"""The wheel, built from what git knows of, and an environment of its own that has it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("melanoma_ray", "jobs")


def run(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build it from a copy, so that the checkout gets no build directory; with the setuptools that are here."""
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


def install_wheel(wheel: Path, environment: Path) -> str:
    """Make an environment with the wheel and with the packages that are here, and return its Python."""
    run(sys.executable, "-m", "venv", str(environment), cwd=wheel.parent)
    python = str(environment / "bin" / "python")
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=wheel.parent).strip()
    Path(where, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=wheel.parent)
    return python
