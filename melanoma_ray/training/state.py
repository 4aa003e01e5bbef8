"""The state of a training run (network, moving average, optimizer, place in the plan), saved without a pickle.

The state of dropout's random numbers needn't be saved: they are seeded again at each step from (seed, step, worker).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from melanoma_ray.config import Experiment
from melanoma_ray.model.checkpoint import WEIGHTS
from melanoma_ray.model.networks import Classifier, build_classifier
from melanoma_ray.runs.history import EpochRecord, StepFigures, StepRecord
from melanoma_ray.runs.progress import TRAINED, Progress, parse_tensors, read_progress
from melanoma_ray.training.schedule import build_optimizer


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """Network, moving average, optimizer and place in the plan."""

    classifier: Classifier
    average: ModelEmaV3 | None
    """Moving average of the network's weights; none: the weights themselves are evaluated."""
    optimizer: torch.optim.Optimizer
    batch_index: int = 0
    """Batch index of the next batch."""
    step: int = 0
    """Number of optimizer steps done."""
    history: list[EpochRecord] = field(default_factory=list)
    """One record for each finished epoch."""
    steps: list[StepRecord] = field(default_factory=list)
    """Records of about a thousand steps of the run, evenly spread."""
    tally: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Sums of the epoch that has begun, over all workers, as ``Tally.sums`` gives them."""

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average where there is one."""
        return self.classifier if self.average is None else self.average.module

    def note_step(self, figures: StepFigures, *, every: int) -> None:
        """Record the step that was just done, if its number is a multiple of ``every``."""
        if self.step % every == 0:
            rate = max(float(group["lr"]) for group in self.optimizer.param_groups)
            loss = figures.loss_sum / figures.num_images
            self.steps.append(StepRecord(step=self.step, loss=loss, learning_rate=rate, ended_at=time.time()))

    def save(self, directory: Path) -> None:
        """Write a progress directory: the evaluated weights, and the state from which the run continues."""
        save_file(_contiguous(self.evaluated.state_dict()), directory / WEIGHTS)
        tensors = {f"network.{name}": tensor for name, tensor in self.classifier.state_dict().items()}
        for parameter_name, parameter in self.classifier.named_parameters():
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{moment}.{parameter_name}"] = torch.as_tensor(value)
        save_file(_contiguous(tensors), directory / TRAINED)
        Progress(
            batch_index=self.batch_index,
            step=self.step,
            tally=self.tally.tolist(),
            history=self.history,
            steps=self.steps,
        ).write(directory)

    def load(self, directory: Path) -> None:
        """Restore the state from a progress directory."""
        tensors = parse_tensors(str(directory / TRAINED))
        self.classifier.load_state_dict(_below(tensors, "network."))
        if self.average is not None:
            self.average.module.load_state_dict(parse_tensors(str(directory / WEIGHTS)))
        self._load_moments(_below(tensors, "optimizer."))
        progress = read_progress(str(directory))
        self.batch_index, self.step = progress.batch_index, progress.step
        self.tally = np.array(progress.tally)
        self.history, self.steps = progress.history, progress.steps

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        """Restore the optimizer's moments by their parameters' names.

        Its own numbering would not do: it depends on settings, such as the weight decay, which another trial that goes
        on from here may have changed.
        """
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        numbers = {id(parameter): number for number, parameter in enumerate(parameters)}
        named = {name: numbers[id(one)] for name, one in self.classifier.named_parameters() if id(one) in numbers}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            first, rest = name.split(".", 1)
            # Until November 2026 the number of a run's own parameter stood where its name is now.
            number, moment = (int(first), rest) if first.isdigit() else (named.get(rest), first)
            if number is not None:  # one that isn't trained any more has no moments
                state.setdefault(number, {})[moment] = _laid_out_as(parameters[number], tensor)
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})


def build_state(experiment: Experiment, num_diagnoses: int, device: torch.device) -> TrainingState:
    """Return the state at the start of a run; the experiment's seed decides the initial weights."""
    torch.manual_seed(experiment.seed)
    classifier = build_classifier(experiment.model, num_diagnoses).to(device)
    decay = experiment.optimizer.ema_decay
    average = None if decay is None else ModelEmaV3(classifier, decay=decay, use_warmup=True)
    return TrainingState(
        classifier=classifier, average=average, optimizer=build_optimizer(classifier, experiment.optimizer)
    )


def _laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """Return a moment in its parameter's memory format, because the fused optimizer runs over both in memory order."""
    if moment.shape != parameter.shape:  # not a moment but the parameter's number of steps
        return moment
    return torch.empty_like(parameter, requires_grad=False).copy_(moment)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
