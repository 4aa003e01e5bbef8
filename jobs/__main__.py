"""All jobs as one command: melanoma VERB, or python -m jobs VERB in a checkout."""

from __future__ import annotations

import importlib
import sys
import typing

VERBS = {
    "prepare": "images and tables → a prepared dataset, with an audit of what is in it",
    "tune": "search the settings of an experiment, by many short trainings",
    "train": "train a network on a prepared dataset → a checkpoint",
    "evaluate": "measure a checkpoint on images that it has never seen → report.html",
    "predict": "a folder of images → a worklist with the most urgent on top",
    "deploy": "serve a checkpoint: a page and an HTTP interface",
    "query": "ask a running service about images",
    "demo": "the whole flow on drawn lesions, in minutes",
}
"""In the order in which they are used."""
_COMMAND = "melanoma"


def describe_verbs() -> str:
    """Return the command's help."""
    lines = [f"  {verb:10}{what}" for verb, what in VERBS.items()]
    return "\n".join([f"usage: {_COMMAND} VERB …", "", *lines, "", f"{_COMMAND} VERB --help lists its settings."])


def main() -> None:
    """Run the verb that the command line begins with."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in {"-h", "--help"}:
        print(describe_verbs())
        return
    if verb not in VERBS:
        sys.exit(f"{describe_verbs()}\n\nerror: {repr(verb) + ' is no verb' if verb else 'which verb?'}")
    # Each job loads what it needs, such as PyTorch; the list of verbs must appear at once.
    console = importlib.import_module(".console", __package__)
    job = importlib.import_module(f".{verb}", __package__).main
    del sys.argv[1]
    console.run_job(job, typing.get_type_hints(job)["arguments"], program=f"{_COMMAND} {verb}")


if __name__ == "__main__":
    main()
