"""Secrets, read from a file or from the environment when they are used, so that they are in no setting and no log."""

from __future__ import annotations

import os
from pathlib import Path

from melanoma_ray import storage
from melanoma_ray.errors import ConfigError


def read_secret(sink: str, name: str, file: str | None, variable: str | None) -> str | None:
    """Return a secret without the white space around it; none: neither a file nor a variable is named.

    Args:
        sink: Name of the sink, for messages.
        name: What the secret is, such as password.
        file: File that has it.
        variable: Environment variable that has it.

    Raises:
        ConfigError: The file can't be read, the variable isn't set, or there is nothing in it.
    """
    if file is not None:
        secret, place = _read(sink, name, file), f"{name}_file={file!r}"
    elif variable is not None:
        secret, place = os.environ.get(variable, ""), f"{name}_env={variable!r}"
    else:
        return None
    if not secret.strip():
        msg = f"sink {sink!r}: {place}: there is no {name} in it"
        raise ConfigError(msg)
    return secret.strip()


def _read(sink: str, name: str, file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        msg = f"sink {sink!r}: {name}_file: {storage.explain(error, file)}"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"sink {sink!r}: {name}_file={file!r}: isn't text"
        raise ConfigError(msg) from error
