"""The items of TRIPOD+AI (Collins 2024, doi:10.1136/bmj-2023-078378), each with what an evaluation can say to it.

What a program can't know (funding, ethics, who the users are) comes from the publisher's own statements, and is named
as not done without them.
"""

from __future__ import annotations

from melanoma_ray.api import describe_share
from melanoma_ray.documents.evidence import Evidence
from melanoma_ray.documents.guidelines.items import Guideline, Item
from melanoma_ray.evaluation.participants import count_participants
from melanoma_ray.evaluation.wording import Words, describe_scope, describe_unseen, fitted_on, short
from melanoma_ray.metrics.intervals import SPARSE_BELOW


def _objective(evidence: Evidence) -> str:
    about = evidence.subject.manifest.referred_for
    return f"To refer images of skin lesions that may be {'melanoma' if about == 'melanoma' else 'malignant'}."


def _sources(evidence: Evidence) -> str:
    images = evidence.subject.images
    roots = ", ".join(sorted(images["source"].astype(str).unique()))
    makers = sorted(images["attribution"].dropna().astype(str).unique())
    by = f" Attributed to: {'; '.join(makers)}." if makers else " The tables name no maker of the images."
    return f"{len(images):,} images from {roots}.{by}"


def _eligibility(evidence: Evidence) -> str:
    steps = count_participants(evidence.subject)
    return (
        f"Every readable image with one of the taxonomy's diagnoses; of {steps['found']:,} found, "
        f"{steps['evaluated']:,} were evaluated (flow in item 20)."
    )


def _preparation(evidence: Evidence) -> str:
    config = evidence.subject.dataset.info.config
    side = config.image.side
    return (
        f"Crops of {side}×{side} pixels ({config.image.aspect}); identical images: {config.duplicates}; "
        f"near-duplicates: {config.near_duplicates}; split: {config.split.method}. The same for all images."
    )


def _outcome(evidence: Evidence) -> str:
    names = ", ".join(sorted(set(evidence.scored.truth.astype(str))))
    return f"Diagnosis as the collection's folders and tables say: {names}. The program doesn't know how it was made."


def _predictors(evidence: Evidence) -> str:
    model = evidence.subject.manifest.experiment.model
    more = ", and age, sex and site where they are known" if model.uses_metadata else "; no metadata"
    return f"The pixels of one image, {model.image_side}×{model.image_side}{more}."


def _sample_size(evidence: Evidence) -> str:
    melanoma = evidence.scored.is_melanoma
    groups = len(set(evidence.scored.group[melanoma]))
    words = Words.of(evidence.scored.about)
    return (
        f"All images at hand: {int(melanoma.sum()):,} {words.many} in {groups:,} groups of {len(melanoma):,} images. "
        f"Below {SPARSE_BELOW} groups of either kind a figure is called too few to say. No sample size was planned."
    )


def _missing(evidence: Evidence) -> str:
    images = evidence.subject.images
    shares = ", ".join(f"{name} {describe_share(images[name].isna().mean())}" for name in ("age", "sex", "site"))
    return f"Missing: {shares}. They are encoded as unknown; nothing is imputed. Unreadable images are in item 20."


def _partition(evidence: Evidence) -> str:
    return describe_unseen(evidence.subject)[0]


def _building(evidence: Evidence) -> str:
    manifest = evidence.subject.manifest
    number = f"{manifest.num_members} networks" if manifest.num_members > 1 else "one network"
    return (
        f"{manifest.experiment.model.network}, {number}, at most {manifest.experiment.num_epochs} epochs; every "
        "setting is in the checkpoint's manifest.json."
    )


def _measures(evidence: Evidence) -> str:
    return (
        "Accuracy, balanced accuracy, AUROC, average precision, sensitivity, specificity, PPV, NPV, Brier score, "
        "calibration error (debiased), slope and intercept, net benefit; 95 % intervals over groups. "
        f"Not defined here: {', '.join(evidence.figures.undefined) or 'none'}."
    )


def _calculated(evidence: Evidence) -> str:
    calibration = evidence.subject.manifest.calibration
    bias = "a bias a diagnosis" if calibration.bias else "no biases"
    return (
        f"Mean logits over {evidence.subject.manifest.experiment.model.num_views} views, divided by the temperature "
        f"{calibration.temperature:.4g}, {bias}, softmax. The evaluation changed none of them."
    )


def _updating(evidence: Evidence) -> str:
    manifest = evidence.subject.manifest
    if manifest.parent is None:
        return "None: the checkpoint is as its training left it."
    return (
        f"Temperature, biases and thresholds were fitted anew {fitted_on(manifest)[0]}, on "
        f"{manifest.calibration.num_validation_images:,} images; the weights are those of checkpoint {manifest.parent}."
    )


def _updated(evidence: Evidence) -> str:
    found, parent = evidence.comparison, evidence.subject.manifest.parent
    if parent is None:
        return "Nothing was updated."
    if found is None or found.other["checkpoint_id"] != parent or found.referral is None:
        return "The parent wasn't compared on these images."
    referral = found.referral
    told = [
        f"{name} {one.first:.3f} before and {one.second:.3f} after, difference {short(one.difference)}"
        for name, one in (("sensitivity", referral.melanomas), ("specificity", referral.others))
    ]
    return f"{'; '.join(told).capitalize()}."


def _imbalance(evidence: Evidence) -> str:
    experiment = evidence.subject.manifest.experiment
    return (
        f"Sampling {experiment.sampling}, class weighting {experiment.loss.class_weighting}, logit adjustment "
        f"{experiment.loss.logit_adjustment:g}; probabilities were calibrated on "
        f"{fitted_on(evidence.subject.manifest)[1]}."
    )


def _fairness(evidence: Evidence) -> str:
    titles = ", ".join(one.title.lower() for one in evidence.subgroups)
    return (
        f"Figures by {titles}, with tests of gaps (report.html)."
        if titles
        else "Nothing that is known of the images divides them."
    )


def _output(evidence: Evidence) -> str:
    manifest = evidence.subject.manifest
    return (
        f"Probabilities of {', '.join(manifest.diagnoses)}; refer from {manifest.calibration.decision_threshold:.4g}, "
        f"chosen for a sensitivity of {manifest.experiment.decision.target_sensitivity:.0%} on "
        f"{fitted_on(manifest)[1]}; unassessable where the image is unlike those of training."
    )


def _difference(evidence: Evidence) -> str:
    subject = evidence.subject
    same = subject.dataset.info.fingerprint == subject.manifest.data_fingerprint
    scope = describe_scope(subject.split, is_whole=subject.is_whole_collection)
    return (
        f"The {scope} the prepared dataset of the training."
        if same
        else "Another prepared dataset than that of the training; setting and selection may differ."
    )


def _flow(evidence: Evidence) -> str:
    steps = count_participants(evidence.subject)
    lines = [f"{name.replace('_', ' ')}: {value:,}" for name, value in steps.items() if isinstance(value, int)]
    for name in ("other_diagnoses", "unreadable", "dropped"):
        counts = steps[name]
        if counts:
            lines.append(f"{name.replace('_', ' ')}: " + ", ".join(f"{k} {v:,}" for k, v in counts.items()))
    return "; ".join(lines) + "."


def _specification(evidence: Evidence) -> str:
    by = evidence.scored.predictions.runtime
    return "The checkpoint: model.safetensors and manifest.json hold the whole model." + (
        f" These answers were computed by {by}." if by else ""
    )


def _performance(evidence: Evidence) -> str:
    figures = evidence.figures
    told = [f"{name.replace('_', ' ')} {short(estimate)}" for name, estimate in figures.estimates.items()]
    return "; ".join(told or ["none of the main figures is defined"]) + ". All others are in report.json."


def _limitations(evidence: Evidence) -> str:
    sentence, is_praise = describe_unseen(evidence.subject)
    said = [sentence] if is_praise else []
    sparse = [name.replace("_", " ") for name, one in evidence.figures.estimates.items() if one.is_sparse]
    if sparse:
        said.append(f"Too few groups to say more than the interval: {', '.join(sparse)}.")
    if evidence.figures.num_unknown:
        said.append(f"{evidence.figures.num_unknown:,} images have diagnoses that the model doesn't have.")
    number = evidence.subject.images["source"].nunique()
    readers = "no reader study, no" if evidence.readers is None else "readings as they were given, no"
    said.append(f"Images of {'one source' if number == 1 else f'{number:,} sources'}; {readers} prospective use.")
    return " ".join(said)


def _poor_input(evidence: Evidence) -> str:
    share = evidence.figures.referral.unassessable
    return (
        "Unreadable images get no answer and are told apart; images unlike those of training are unassessable: "
        f"{short(share)} of these."
    )


_ITEMS = (
    Item("1", "Title: a prediction model, its population and outcome", _objective),
    Item("2", "Abstract"),
    Item("3a", "Healthcare context and rationale"),
    Item("3b", "Target population, intended purpose and users"),
    Item("3c", "Known health inequalities"),
    Item("4", "Objectives", _objective),
    Item("5a", "Sources of data", _sources),
    Item("5b", "Dates of the data"),
    Item("6a", "Setting and number of centres"),
    Item("6b", "Eligibility", _eligibility),
    Item("6c", "Treatments received"),
    Item("7", "Data preparation", _preparation),
    Item("8a", "Outcome and how it was assessed", _outcome),
    Item("8b", "Qualifications of those who assessed the outcome"),
    Item("8c", "Blinding of the assessment of the outcome"),
    Item("9a", "Choice of predictors", _predictors),
    Item("9b", "Definition and timing of predictors", _predictors),
    Item("9c", "Qualifications of those who assessed predictors"),
    Item("10", "Sample size", _sample_size),
    Item("11", "Missing data", _missing),
    Item("12a", "How the data were used: partition", _partition),
    Item("12b", "How predictors were handled", _preparation),
    Item("12c", "Type of model, building and internal validation", _building),
    Item("12d", "Heterogeneity across clusters", _fairness),
    Item("12e", "Measures and plots of performance", _measures),
    Item("12f", "Updating of the model, such as recalibration", _updating),
    Item("12g", "How predictions were calculated", _calculated),
    Item("13", "Class imbalance", _imbalance),
    Item("14", "Fairness", _fairness),
    Item("15", "Output of the model and thresholds", _output),
    Item("16", "Differences between development and evaluation data", _difference),
    Item("17", "Ethical approval"),
    Item("18a", "Funding"),
    Item("18b", "Conflicts of interest"),
    Item("18c", "Protocol"),
    Item("18d", "Registration"),
    Item("18e", "Availability of the data"),
    Item("18f", "Availability of the code"),
    Item("19", "Patient and public involvement"),
    Item("20a", "Flow of participants", _flow),
    Item("20b", "Characteristics of participants", _fairness),
    Item("20c", "Comparison with the development data", _difference),
    Item("21", "Numbers in each analysis", _sample_size),
    Item("22", "Full specification of the model", _specification),
    Item("23a", "Performance with intervals, in key subgroups too", _performance),
    Item("23b", "Heterogeneity of performance", _fairness),
    Item("24", "Results of updating", _updated),
    Item("25", "Interpretation"),
    Item("26", "Limitations", _limitations),
    Item("27a", "Poor or unavailable input when it is used", _poor_input),
    Item("27b", "Interaction with users and their expertise"),
    Item("27c", "Next steps for research"),
)
TRIPOD_AI = Guideline(name="TRIPOD+AI", source="Collins 2024, doi:10.1136/bmj-2023-078378", items=_ITEMS)
"""All 27 items with their parts."""
