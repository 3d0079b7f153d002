"""Public code of the compatibility methods learns from one image at a time: here the trainer does the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import double
from retrain import Retrain, study_of
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.judging.judge import class_accuracy

PER_SAMPLE = {
    "optimiser": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "images": "as_given",
    "center_images": False,
    "center_texts": False,
}
CERTAIN = torch.zeros(1, dtype=torch.float64)
"""A number that draws the only candidate."""


class PerSample:
    """The numbers of one file."""

    def __init__(self, name: str, file: dict[str, Any]):
        self.name, self.file = name, file
        self.given = self.file["inputs"]
        self.bounds = {"atol": self.file["tolerance"], "rtol": 0.0}

    @property
    def cases(self) -> list[Any]:
        """Every case with what is expected of it."""
        pairs = zip(self.given["cases"], self.file["expected"], strict=True)
        return [pytest.param(case, expected, id=f"case {number}") for number, (case, expected) in enumerate(pairs)]

    def initialise(self, images: Tensor, labels: Tensor, semantics: Tensor, start: Tensor, **settings: Any) -> Retrain:
        """A run on true labels from given maps (m, d, a)."""
        study = study_of(images, semantics, F.one_hot(labels).double())
        return Retrain(self.name, study, {**PER_SAMPLE, **settings}, {"weight": start})

    def columns(self, **settings: Any) -> Retrain:
        """A run from a file that stores images and classes as columns and holds one map."""
        labels = torch.tensor(self.given["y"])
        images, semantics = double(self.given["X"]).T, double(self.given["S"]).T
        return self.initialise(images, labels, semantics, double(self.given["W0"])[None], **settings)

    def cosines(self, run: Retrain, expected: dict[str, Any]) -> Tensor:
        """Scores of the unseen images, whose mean class accuracy must be as expected."""
        scores = run.logits(double(self.given["X_test"]).T, double(self.given["S_test"]).T)
        truth = torch.tensor(self.given["y_test"]).numpy()
        accuracy = class_accuracy(truth, scores.argmax(1).numpy(), range(scores.shape[1]))
        assert accuracy == pytest.approx(expected["acc_cosine_test"], abs=self.bounds["atol"])
        return scores


def the_map(run: Retrain) -> Tensor:
    """(d, a) the only map of a run as it is."""
    [weight] = run.state["weight"]
    return weight
