"""Guess the age."""

from __future__ import annotations

import torch

from harmony.core import Stack
from harmony.downstream.judge import Judge, Truth
from harmony.networks import AgeNet


class BrainAge(Judge):
    """A trained age network. mean_age: of the training subjects, what the trivial answer says.

    `score` gives `age_predicted`, and where the age is known `age_error` = |predicted - true| and `age_signed_error` =
    predicted - true, in years.
    """

    metric = "age_error"
    baseline = "the mean training age"

    def __init__(self, *, network: AgeNet, mean_age: float) -> None:
        self.network, self.mean_age = network.eval(), mean_age

    @torch.no_grad()
    def score(self, stack: Stack, truth: Truth) -> dict[str, float]:
        volume = torch.zeros(len(stack), dtype=torch.long, device=stack.image.device)
        predicted = float(self.network(stack.image, volume)[0])
        if truth.age is None:
            return {"age_predicted": predicted}
        error = predicted - truth.age
        return {"age_predicted": predicted, "age_error": abs(error), "age_signed_error": error}

    def trivial(self, stack: Stack, truth: Truth) -> float | None:
        return None if truth.age is None else abs(self.mean_age - truth.age)
