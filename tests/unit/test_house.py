"""Rules of the house that no linter holds: who catches everything, who knows Ray's inside, and what importing does."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import melanoma_ray

ROOT = Path(__file__).parents[2]
CATCH_EVERYTHING = {
    (
        "melanoma_ray/inference/agreement.py",
        "_compile",
    ): "OpenVINO raises all kinds; PyTorch computes the rest",
    ("melanoma_ray/imaging/decoding.py", "_decode_any"): "Pillow's plug-ins raise what they like on damaged files",
    ("melanoma_ray/imaging/decoding.py", "_decode_with_pillow"): "a damaged header makes Pillow raise anything",
    ("melanoma_ray/serving/boundary.py", "RequestBoundary.__call__"): "no caller may see the service's inside",
    ("melanoma_ray/serving/second.py", "Shadow._compare"): "no shadow may end its thread, nor be missed in silence",
    ("jobs/console.py", "_run"): "a job's last boundary: what nobody could foresee is raised again",
    ("melanoma_ray/cluster/waiting.py", "_Outcome.take"): "whatever ends the call is raised on the thread that asked",
    ("melanoma_ray/alerts/dispatcher.py", "SinkWorker._send"): "no alert may end the sending of the others",
    ("melanoma_ray/alerts/dispatcher.py", "Dispatcher._run"): "whatever ends a thread is raised where it was started",
    ("melanoma_ray/alerts/database.py", "OutboxFile._transaction"): "half a change is undone, whatever ends it",
    ("melanoma_ray/tuning/study.py", "Study.__init__"): "Optuna's parser stumbles over a damaged file in many ways",
    ("melanoma_ray/storage.py", "_write"): "a half-written file goes whatever ends the writing, and that goes on",
}
"""Who may catch every error, and why; whoever joins them says so here and in a docstring or comment."""
ALL_ERRORS = {"Exception", "BaseException"}


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for file in sorted((ROOT / room).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def catches_everything(node: ast.AST) -> bool:
    """Tell ``except:``, ``except Exception``, ``except (…, Exception)`` and ``suppress(Exception)``."""
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or any(name in ALL_ERRORS for name in names_in(node.type))
    if isinstance(node, ast.Call) and "suppress" in names_in(node.func):
        return any(name in ALL_ERRORS for argument in node.args for name in names_in(argument))
    return False


def names_in(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name | ast.Attribute):
            yield part.id if isinstance(part, ast.Name) else part.attr


def places(node: ast.AST, function: str = "") -> Iterator[str]:
    """Yield the dotted name of the function around each place that catches everything."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
    if catches_everything(node):
        yield function
    for child in ast.iter_child_nodes(node):
        yield from places(child, function)


def test_only_those_with_a_reason_catch_every_error() -> None:
    found = {(file, function) for file, tree in sources("melanoma_ray", "jobs") for function in places(tree)}
    assert found - CATCH_EVERYTHING.keys() == set(), "catch the errors that are meant, or give the reason above"
    assert CATCH_EVERYTHING.keys() - found == set(), "these no longer catch everything: strike them out above"


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_inside_of_ray(module: str) -> bool:
    first, *others = module.split(".")
    return first == "ray" and any(part in {"_internal", "_private"} for part in others)


def test_what_is_ray_s_own_inside_is_used_by_the_cluster_s_room_alone() -> None:
    users = {
        file
        for file, tree in sources("melanoma_ray", "jobs")
        if any(map(is_inside_of_ray, imported(tree))) and not file.startswith("melanoma_ray/cluster/")
    }
    assert users == set(), "an upgrade of Ray may break these: put what they need into cluster/workarounds.py"


IMPORT_EVERYTHING = '''
import importlib, json, pkgutil, sys
import melanoma_ray

(OURS,) = melanoma_ray.__path__
TOUCHES = {"open", "os.mkdir", "os.listdir", "os.scandir", "os.remove", "socket.connect", "subprocess.Popen"}
touched = []

def is_ours():
    """Tell whether the innermost frame that isn't the standard library's is one of ours, and imports nothing."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return True
        if file.startswith("<frozen importlib") or "site-packages" in file:
            return False
        frame = frame.f_back
    return False

def audit(event, arguments):
    if event in TOUCHES and is_ours():
        touched.append(f"{event} {arguments[0]}")

sys.addaudithook(audit)
modules = [module.name for module in pkgutil.walk_packages(melanoma_ray.__path__, "melanoma_ray.")]
for name in modules:
    importlib.import_module(name)
import ray
print(json.dumps({"modules": modules, "touched": touched, "has_started_ray": ray.is_initialized()}))
'''


def test_importing_starts_no_ray_and_touches_no_file(tmp_path: Path) -> None:
    """What libraries read and write when they are imported is theirs; ours find nothing on a disk to read."""
    finished = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(melanoma_ray.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert len(found["modules"]) > 50
    assert found["touched"] == []
    assert not found["has_started_ray"]
    assert list(tmp_path.iterdir()) == []
