"""A job's command line, made from its dataclass, with defaults from environment variables and melanoma.toml.

A job that has data, storage, name or url takes it from its command line, else from an environment variable such as
MELANOMA_DATA, else from melanoma.toml in the working directory. A value that isn't from the command line is printed.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import tyro

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range
from melanoma_ray.recipes import RECIPES
from melanoma_ray.settings import experiment_from_dict

Arguments = TypeVar("Arguments")

SETTINGS_FILE = "melanoma.toml"
SETTINGS = ("data", "storage", "name", "url")
"""Settings that the file and environment variables may give."""
WAIT_MINUTES = 30.0
WaitMinutes = Annotated[float, Range(above=0)]
"""Minutes that a job waits for free CPUs and GPUs on a cluster, where starting a node takes minutes."""
_HELP_FLAGS = {"-h", "--help"}


def parse(arguments: type[Arguments], program: str | None = None) -> Arguments:
    """Return a job's arguments from the command line and the defaults around it.

    Args:
        arguments: Dataclass of the job's arguments.
        program: Name of the job in its help; by default the command that started it.

    Raises:
        ConfigError: melanoma.toml has an unknown key, or can't be read.
    """
    words = sys.argv[1:]
    given = read_settings([field.name for field in fields(cast("Any", arguments))], words)
    if not _HELP_FLAGS.intersection(words):
        for name, (value, source) in given.items():
            print(f"{name}={value} (from {source})", file=sys.stderr)
    defaults = [word for name, (value, _) in given.items() for word in (f"--{name}", value)]
    return tyro.cli(
        arguments,
        prog=program or _program(),
        args=[*defaults, *words],
        config=(tyro.conf.CascadeSubcommandArgs,),
    )


def _program() -> str:
    """Return the command that started this process, such as ``python -m jobs.train``, not the path of a file."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec else Path(sys.argv[0]).name


def read_settings(names: Sequence[str], words: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return value and source of each of ``SETTINGS`` that a job has and its command line doesn't give.

    Args:
        names: Names of the job's arguments.
        words: Words of the job's command line.

    Raises:
        ConfigError: melanoma.toml has an unknown key or a value that isn't text, or isn't TOML.
    """
    found = {name: (value, SETTINGS_FILE) for name, value in _read_file().items()}
    for name in SETTINGS:
        variable = f"MELANOMA_{name.upper()}"
        if value := os.environ.get(variable):
            found[name] = (value, variable)
    flags = {word.split("=")[0] for word in words}
    if "--images" in flags:  # of a job that takes images in place of data
        flags.add("--data")
    return {name: value for name, value in found.items() if name in names and f"--{name}" not in flags}


def _read_file() -> dict[str, str]:
    path = Path(SETTINGS_FILE)
    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{SETTINGS_FILE}: not a TOML file ({error})"
        raise ConfigError(msg) from error
    for name, value in content.items():
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(SETTINGS)}"
            msg = f"{SETTINGS_FILE}: unknown key {name!r}: {hint}"
            raise ConfigError(msg)
        if not isinstance(value, str):
            msg = f'{SETTINGS_FILE}: {name}={value!r}: expected text, such as {name} = "…"'
            raise ConfigError(msg)
    return content


def experiment_choice() -> object:
    """Return the type of the EXPERIMENT argument: one subcommand for each recipe, and one for a JSON file if given."""
    choices: dict[str, Experiment] = {name: build() for name, build in RECIPES.items()}
    descriptions = {name: _first_line(build) for name, build in RECIPES.items()}
    file = find_experiment_file(sys.argv[1:])
    if file is not None:
        choices[file] = read_experiment(file)
    else:
        choices[_ANY_FILE] = choices["lite0"]  # for the help only: a name that ends like this is read as a file
        descriptions[_ANY_FILE] = "Experiment in the best.json of a sweep or the manifest.json of a checkpoint."
    return tyro.extras.subcommand_type_from_defaults(choices, descriptions, prefix_names=False)


def find_experiment_file(words: Sequence[str]) -> str | None:
    """Return the word of a command line that is an experiment's JSON file; none: it has a recipe, or neither.

    Other JSON files, such as a search space, are values of flags.

    >>> find_experiment_file(["lite0", "--space", "space.json"])
    >>> find_experiment_file(["--data", "prepared", "best.json", "--space", "default", "space.json"])
    'best.json'
    """
    loose: list[str] = []
    values: list[str] = []
    flag = ""
    for word in words:
        if word.startswith("-"):
            flag = "" if "=" in word else word
        elif flag != "--space":  # the only flag that takes several words
            (values if flag else loose).append(word)
            flag = ""
    if RECIPES.keys() & set(loose):
        return None
    # A flag without a value, such as --use-gpu, may stand before it.
    files = [word for word in (*loose, *values) if word.endswith(".json")]
    return files[0] if files else None


_ANY_FILE = "FILE.json"


def _first_line(build: Callable[[], Experiment]) -> str:
    return (build.__doc__ or "").strip().splitlines()[0]


ExperimentArgument = Annotated[Experiment, tyro.conf.arg(name="", constructor_factory=experiment_choice)]
"""EXPERIMENT on a command line, with its fields as flags: a recipe, a sweep's best.json or a manifest.json."""


def read_experiment(name: str) -> Experiment:
    """Return the experiment in a sweep's best.json or a checkpoint's manifest.json.

    Raises:
        DataError: There is no such file, or it isn't JSON.
        ConfigError: The file has no experiment, or one with unknown settings.
    """
    content = storage.read_json(name)
    if "experiment" not in content:
        msg = f"{name}: has no experiment; give the best.json of a sweep or the manifest.json of a checkpoint"
        raise ConfigError(msg)
    return experiment_from_dict(content["experiment"])
