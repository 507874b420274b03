"""Guess the age."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import torch

from harmony.core import ConfigError, Stack
from harmony.judges.contracts import ImageJudge, Truth
from harmony.networks import AgeNet


class BrainAge(ImageJudge):
    """A trained age network. training_ages: of the subjects it learned from, whose mean is the trivial answer.

    `score` gives `age_predicted`, and where the age is known `age_error` = |predicted - true| and `age_signed_error` =
    predicted - true, in years.
    """

    metric = "age_error"
    baseline = "the mean training age"

    def __init__(self, *, network: AgeNet, training_ages: Sequence[float]) -> None:
        if not training_ages:
            raise ConfigError(
                "evaluation.judges: a judge of age needs ages, and no training subject has one -> leave it out"
            )
        self.network, self.mean_age = network.eval(), mean(training_ages)

    @torch.no_grad()
    def score(self, stack: Stack, truth: Truth) -> dict[str, float]:
        image = stack.image[stack.with_brain]
        if not len(image):
            return {}
        volume = torch.zeros(len(image), dtype=torch.long, device=image.device)
        predicted = float(self.network(image, volume)[0])
        if truth.age is None:
            return {"age_predicted": predicted}
        error = predicted - truth.age
        return {"age_predicted": predicted, "age_error": abs(error), "age_signed_error": error}

    def trivial(self, stack: Stack, truth: Truth) -> float | None:
        return None if truth.age is None else abs(self.mean_age - truth.age)
