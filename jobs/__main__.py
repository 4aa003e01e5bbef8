"""All jobs as one command: melanoma VERB, or python -m jobs VERB in a checkout."""

from __future__ import annotations

import importlib
import sys
import typing

from .interruption import end_at_once

VERBS = {
    "prepare": "turn images and tables into a prepared dataset, with an audit of what is in it",
    "tune": "search for better settings of an experiment, by many short trainings",
    "train": "train a network on a prepared dataset and write a checkpoint",
    "evaluate": "evaluate a checkpoint on images that it wasn't trained on, and write report.html",
    "recalibrate": "fit a checkpoint's probabilities and threshold on a part of a clinic's own images",
    "predict": "predict a folder of images, and write a worklist with the most urgent first",
    "watch": "predict each image that arrives in a folder, and alert people within seconds",
    "export": "write a checkpoint's networks as ONNX files for other programs",
    "alerts": "look at alerts, send them and acknowledge them",
    "deploy": "serve a checkpoint: a page and an HTTP interface",
    "keys": "make, list and revoke the keys that a service asks for",
    "audit_log": "check that no line of a service's audit log was changed or taken out",
    "drift": "tell how far the images that are served have moved away from the validation split",
    "deidentify": "copy DICOM images without what tells whose they are",
    "query": "send images to a running service and print its answers",
    "demo": "run all of these on drawn lesions, in minutes",
}
"""Name and description of each job, in the order in which they are used."""
_COMMAND = "melanoma"


def describe_verbs() -> str:
    """Return the help of the command."""
    lines = [f"  {verb:12}{what}" for verb, what in VERBS.items()]
    return "\n".join([f"usage: {_COMMAND} VERB …", "", *lines, "", f"{_COMMAND} VERB --help lists its settings."])


def main() -> None:
    """Run the job that the first word of the command line names."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in {"-h", "--help"}:
        print(describe_verbs())
        return
    if verb not in VERBS:
        sys.exit(f"{describe_verbs()}\n\nerror: {repr(verb) + ' is no verb' if verb else 'which verb?'}")
    # Imported only now, because jobs import PyTorch and the like, and the help must appear at once.
    end_at_once()
    console = importlib.import_module(".console", __package__)
    job = importlib.import_module(f".{verb}", __package__).main
    del sys.argv[1]
    console.run_job(job, typing.get_type_hints(job)["arguments"], program=f"{_COMMAND} {verb}")


if __name__ == "__main__":
    main()
