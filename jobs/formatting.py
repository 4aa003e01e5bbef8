"""The lines that jobs print: results in plain words, figures with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from melanoma_ray import storage
from melanoma_ray.api import DECISION_WORDS, NOTICE, SYNTHETIC_NOTICE, Prediction, describe_share
from melanoma_ray.dataset.prepared import DatasetInfo
from melanoma_ray.errors import DataError
from melanoma_ray.evaluation.wording import TOO_FEW, describe_scope
from melanoma_ray.model.checkpoint import read_manifest
from melanoma_ray.preparation.audit import AUDIT
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.schema import SPLITS
from melanoma_ray.serving.exposure import Address
from melanoma_ray.sources.files import TABLES
from melanoma_ray.triage.batch import TriageResult
from melanoma_ray.tuning.space import SPACE
from melanoma_ray.tuning.sweep import SweepResult
from melanoma_ray.wording import count

_ESTIMATES = ("accuracy", "balanced_accuracy", "melanoma_auroc", "sensitivity", "specificity")


def describe_dataset(info: DatasetInfo, output: str) -> str:
    """Return the number of images of a prepared dataset by diagnosis and split, and how many were left out and why."""
    lines = [f"{'':28}" + "".join(f"{split:>7}" for split in SPLITS)]
    for name, counts in info.count_by_diagnosis().items():
        lines.append(f"{name:28}" + "".join(f"{counts[split]:7}" for split in SPLITS))
    for title, counts in (
        ("dropped", info.num_dropped),
        ("quarantined", info.num_quarantined),
        (f"left out, because they are none of the {len(info.taxonomy)} diagnoses", info.num_left_out),
        ("files passed over", info.passed_over),
    ):
        if counts:
            lines.append(f"{title}: {_list_counts(counts)}")
    lines += [f"claimed to be {claims}: {_list_counts(ends)}" for claims, ends in info.num_conflicts.items()]
    if info.num_rows_without_file:
        lines.append(f"rows of the metadata table without a file: {info.num_rows_without_file}")
    lines += info.notes
    if info.is_synthetic:
        lines.append(SYNTHETIC_NOTICE)
    return "\n".join([*lines, f"prepared dataset: {output}", f"audit: {storage.join(output, AUDIT)}"])


def describe_run(run: RunDirectory) -> str:
    """Return a run's best epoch and where its results are; among equal epochs the last one, because Ray keeps that."""
    history = run.history()
    if not history:  # the run is an ensemble: each member has its own run, with a history, in the run's directory
        hint = f"\nto measure it: python -m jobs.evaluate --checkpoint {run.uri} --split folds …"
        return f"checkpoint: {run.best}" + (hint if read_manifest(run.best).ensemble_over == "folds" else "")
    best = max(reversed(history), key=lambda record: record.val_balanced_accuracy)
    return "\n".join(
        [
            f"best epoch {best.epoch}: validation accuracy {best.val_accuracy:.3f}, "
            f"balanced {best.val_balanced_accuracy:.3f}",
            f"curves: {storage.join(run.uri, 'curves.png')}",
            f"checkpoint: {run.best}",
        ]
    )


def describe_sweep(result: SweepResult) -> str:
    """Return a sweep's trials as a table, best first, and where the best settings are."""
    named = {dimension.name for dimension in SPACE if dimension.short}  # already in a trial's name
    others = [name for name in result.trials[0].settings if name not in named]
    width = max(len(trial.trial_id) for trial in result.trials)
    heads = [name.split(".")[-1] for name in others]
    lines = [f"{'trial':{width}} {'balanced':>9} {'epochs':>7}  {'status':13}" + "".join(f"  {head}" for head in heads)]
    for trial in result.trials:
        value = "–" if trial.value is None else f"{trial.value:.3f}"
        settings = "".join(
            f"  {_short(trial.settings[name]):>{len(head)}}" for name, head in zip(others, heads, strict=True)
        )
        lines.append(f"{trial.trial_id:{width}} {value:>9} {trial.num_epochs:>7}  {trial.status:13}{settings}")
    return "\n".join(
        [*lines, f"best settings: {result.best_json}", "  python -m jobs.train " + result.best_json + " …"]
    )


def describe_report(report: dict[str, Any], output: str, replaced: str | None = None) -> str:
    """Return an evaluation's figures with their 95 % intervals, and what earlier report it has replaced."""
    figures = report["figures"]
    which = describe_scope(report["split"], is_whole=report["is_whole_collection"])
    lines = [
        f"{which} {report['data']}: {count(figures['num_images'], 'image')} (95 % interval; * {TOO_FEW})",
        *_describe_known(report),
    ]
    if figures["num_unanswered"]:
        lines.append(
            f"THE NETWORK'S ANSWER ISN'T FINITE FOR {figures['num_unanswered']:,} IMAGES: a broken checkpoint?"
        )
    lines += [f"doubt: {doubt}" for doubt in report["model"]["calibration"]["doubts"]]
    for name in _ESTIMATES:
        if name in figures:
            e = figures[name]
            mark = " *" if e["is_sparse"] else ""
            lines.append(f"{name:18} {e['value']:.3f}  ({e['low']:.3f}–{e['high']:.3f}){mark}")
        else:
            lines.append(f"{name:18} not defined: {figures['undefined'].get(name, '')}")
    if report["thresholds_undefined"]:
        lines.append(report["thresholds_undefined"])
    if report["is_synthetic"]:
        lines.append(SYNTHETIC_NOTICE)
    return "\n".join([*lines, *([replaced] if replaced else []), f"report: {storage.join(output, 'report.html')}"])


def _describe_known(report: dict[str, Any]) -> list[str]:
    """Return what the figures are worth, given what the model knows of the images."""
    known = report["known_images"]
    left_out = sum(known["left_out"].values())
    lines = [f"left out, since the model knows them: {count(left_out, 'image')}"] if left_out else []
    if not known["is_told"]:
        return [*lines, "the checkpoint has no list of known images, so these weren't compared one by one"]
    if known["learnt"]:
        lines.append(f"THE MODEL LEARNT FROM {known['learnt']:,} OF THESE IMAGES: the figures praise it")
    if known["calibrated"]:
        lines.append(f"the model was calibrated on {known['calibrated']:,} of these images: the figures are optimistic")
    return lines


def describe_triage(result: TriageResult) -> str:
    """Return how many images got each decision, and where the results are."""
    lines = [f"{number:6} {DECISION_WORDS[decision]}" for decision, number in result.num_by_decision.items()]
    if result.num_unreadable:
        lines.append(f"{result.num_unreadable:6} Unreadable: the reason is in the column error")
    lines += [f"{number:6} passed over: {reason}" for reason, number in result.passed_over.items()]
    return "\n".join([*lines, *result.notes, f"predictions: {result.predictions}", f"worklist: {result.worklist}"])


def describe_answer(name: str, answer: Prediction) -> str:
    """Return the service's answer for one image as one line."""
    mark = " [synthetic model]" if answer.is_synthetic else ""
    if answer.melanoma_probability is None:
        return f"{name}: {DECISION_WORDS[answer.decision]}; no answer: {answer.error}{mark}"
    top, share = max(answer.probabilities.items(), key=lambda item: item[1])
    melanoma, threshold = describe_share(answer.melanoma_probability), describe_share(answer.decision_threshold)
    sure = f"{answer.referred_for} {melanoma} (threshold {threshold})"
    predicted = f"; predicted: {answer.diagnosis}" if answer.diagnosis not in {None, top} else ""
    likely = f"most probable: {top} {describe_share(share)}{predicted}"
    return f"{name}: {DECISION_WORDS[answer.decision]}; {sure}; {likely}{mark}"


def describe_service(address: Address) -> str:
    """Return the addresses of the service's page and of its HTTP interface."""
    shown = "127.0.0.1" if address.host in {"0.0.0.0", "::"} else address.host  # noqa: S104 - compared, not bound
    url = f"{'http' if address.tls is None else 'https'}://{shown}:{address.port}"
    return f"page: {url}/   API: {url}/docs\n{NOTICE}"


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        DataError: The path is a folder, or the file can't be read.
    """
    if path.is_dir():
        msg = f"{path}: a folder; give its images, such as {path}/*.jpg, or use python -m jobs.predict"
        raise DataError(msg)
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: {error.strerror}; give the path of an image"
        raise DataError(msg) from error


def _list_counts(counts: Mapping[str, int]) -> str:
    """Return what was counted, such as ``3 too_small, 1 truncated``; only tables are a plural among the reasons."""
    told = [count(number, "table") if name == TABLES else f"{number:,} {name}" for name, number in counts.items()]
    return ", ".join(told)


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
