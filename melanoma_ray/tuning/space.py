"""The search space of an experiment, under the dotted names of its settings."""

from __future__ import annotations

from typing import Any

from ray import tune

from melanoma_ray.config import Experiment


def build_space(experiment: Experiment) -> dict[str, Any]:
    """Return what is searched, around the experiment's own values.

    The learning rate decides most, over a factor of thirty; then how rare diagnoses are weighted and
    how much the network is held back.
    """
    rate = experiment.optimizer.learning_rate
    return {
        "optimizer.learning_rate": tune.loguniform(rate / 10, rate * 3),
        "optimizer.weight_decay": tune.choice([0.0, 0.01, 0.05]),
        "loss.class_weighting": tune.choice(["none", "sqrt", "balanced"]),
        "loss.label_smoothing": tune.uniform(0.0, 0.15),
        "model.dropout": tune.uniform(0.0, 0.4),
    }


def own_values(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment's own point in the space, tried first: a sweep must beat what it began from."""
    return {
        "optimizer.learning_rate": experiment.optimizer.learning_rate,
        "optimizer.weight_decay": _nearest(experiment.optimizer.weight_decay, (0.0, 0.01, 0.05)),
        "loss.class_weighting": experiment.loss.class_weighting,
        "loss.label_smoothing": min(experiment.loss.label_smoothing, 0.15),
        "model.dropout": min(experiment.model.dropout, 0.4),
    }


def _nearest(value: float, choices: tuple[float, ...]) -> float:
    return min(choices, key=lambda choice: abs(choice - value))
