"""The code and the machines of a run, which run.json has besides the settings."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import ray

from melanoma_ray import __version__
from melanoma_ray.model.checkpoint import library_versions


def describe_provenance() -> dict[str, Any]:
    """Return code version, library versions and hardware, as plain values."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]] if ray.is_initialized() else []
    return {
        "code_version": _code_version(),
        "code_sha256": _code_digest(),
        "versions": library_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "nodes": [
            {"num_cpus": node.get("CPU", 0), "num_gpus": node.get("GPU", 0), "memory_bytes": node.get("memory", 0)}
            for node in nodes
        ],
        "accelerators": sorted({name for node in nodes for name in node if name.startswith("accelerator_type:")}),
    }


def _code_version() -> str:
    """Return git's description of the checkout that runs, or the package's version where there is no checkout."""
    directory = Path(__file__).resolve().parents[2]
    if not (directory / ".git").exists():  # such as a job's working directory on a cluster
        return __version__
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - our words
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__


def _code_digest() -> str:
    """Return a SHA-256 over the package's source, because a job's working directory on a cluster has no git."""
    package, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _processor() -> str:
    """Return the processor's name; Linux has it only in /proc/cpuinfo."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
