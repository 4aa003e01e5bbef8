"""The lines that jobs print: results in plain words, figures with their intervals."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from melanoma_ray import storage
from melanoma_ray.api import DECISION_WORDS, NOTICE, SYNTHETIC_NOTICE
from melanoma_ray.cluster.front import Address
from melanoma_ray.dataset.prepared import DatasetInfo
from melanoma_ray.evaluation.wording import TOO_FEW, describe_scope
from melanoma_ray.model.checkpoint import read_manifest
from melanoma_ray.preparation.audit import AUDIT
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.schema import SPLITS
from melanoma_ray.triage.batch import TriageResult
from melanoma_ray.triage.dicom_results import DicomResults
from melanoma_ray.triage.watching import Round
from melanoma_ray.tuning.dimension import SHORT_NAMES
from melanoma_ray.tuning.results import SweepResult
from melanoma_ray.wording import count, list_kinds

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
    ):
        if counts:
            lines.append(f"{title}: {_list_counts(counts)}")
    if info.passed_over:
        lines.append(f"files passed over: {list_kinds(info.passed_over)}")
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
        hint = f"\nto measure it: python -m jobs.evaluate --checkpoint {shlex.quote(run.uri)} --split folds …"
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
    others = [name for name in result.trials[0].settings if name not in SHORT_NAMES]  # those are in a trial's name
    width = max(len(trial.trial_id) for trial in result.trials)
    heads = [name.split(".")[-1] for name in others]
    has_latency = any(trial.latency_ms is not None for trial in result.trials)
    lines = [
        f"trials, best first, by {result.objective} on the validation split",
        f"{'trial':{width}} {'value':>9} {'epochs':>7}{'  ms an image' if has_latency else ''}  {'status':13}"
        + "".join(f"  {head}" for head in heads),
    ]
    for trial in result.trials:
        value = "–" if trial.value is None else f"{trial.value:.3f}"
        settings = "".join(
            f"  {_short(trial.settings[name]):>{len(head)}}" for name, head in zip(others, heads, strict=True)
        )
        latency = f"  {_in_ms(trial.latency_ms):>11}" if has_latency else ""
        lines.append(
            f"{trial.trial_id:{width}} {value:>9} {trial.num_epochs:>7}{latency}"
            f"  {trial.status.partition(':')[0]:13}{settings}"
        )
    return "\n".join(
        [
            *lines,
            *result.confirmation,
            f"best settings: {result.best_json}",
            f"  python -m jobs.train {shlex.quote(result.best_json)} …",
        ]
    )


def _in_ms(latency: float | None) -> str:
    return "–" if latency is None else f"{latency:.1f}"


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
    if result.num_copies:
        lines.append(f"{result.num_copies:6} Copies of another file, with its answer: the column copy_of")
    if result.num_kept:
        lines.append(f"{result.num_scored:6} Scored now; {result.num_kept:,} answered by an earlier call")
    if result.passed_over:
        lines.append(f"{sum(result.passed_over.values()):6} Files passed over: {list_kinds(result.passed_over)}")
    return "\n".join([*lines, *result.notes, f"predictions: {result.predictions}", f"worklist: {result.worklist}"])


def describe_round(found: Round) -> str:
    """Return what one look at a watched folder has led to, as one line without anything of an image."""
    if not found.num_answered:
        return found.trouble or "all is well again"
    parts = [f"{number} {DECISION_WORDS[decision].lower()}" for decision, number in found.num_by_decision.items()]
    if found.num_unreadable:
        parts.append(f"{found.num_unreadable} unreadable: the worklist says why")
    line = f"{count(found.num_answered, 'image')}: {', '.join(parts)}"
    if found.num_alerts is not None:
        line += f"; {count(found.num_alerts, 'new alert')}"
    line += _describe_without_report(found.without_report)
    return line + (f"; {found.num_waiting:,} wait" if found.num_waiting else "")


def describe_dicom(written: DicomResults) -> str:
    """Return how many DICOM objects there are of the answers, where, and why some images have none."""
    found = f"{count(written.num_reports, 'report')}, {count(written.num_overlays, 'overlay')}"
    return f"DICOM results: {written.directory} ({found}){_describe_without_report(written.without)}"


def _describe_without_report(without: Mapping[str, int]) -> str:
    """Return how many DICOM images have no report, and why, as the end of a line; empty: each has one."""
    if not without:
        return ""
    why = ", ".join(f"{number:,} {reason}" for reason, number in without.items())
    return f"; {count(sum(without.values()), 'DICOM image has', 'DICOM images have')} no report: {why}"


def describe_service(address: Address) -> str:
    """Return the addresses of the service's page and of its HTTP interface."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - compared, not bound
    url = replace(address, host=here).url
    return f"page: {url}/   API: {url}/docs\n{NOTICE}"


def _list_counts(counts: Mapping[str, int]) -> str:
    """Return what was counted, such as ``3 too_small, 1 truncated``."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
