"""A simple classifier that tells slices of one scanner from slices of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from harmony.core import Stack


class Probe:
    """Logistic regression on a few numbers of each slice. 0.5: it cannot tell the scanners apart; 1: every slice.

    quantiles: of the intensities inside the brain. scales: pixels over which the image is averaged before the energy of
    its gradient is taken. penalty: L2, on standardized features. folds: of subjects, when it is fitted again.

    The answers are balanced accuracies of slices by subject: half the share of the subject's query slices that were
    called query, and half that of its reference slices called reference. Their mean over subjects is the balanced
    accuracy of the probe where all have as many slices.
    """

    def __init__(self, *, quantiles: Sequence[float], scales: Sequence[int], penalty: float, folds: int) -> None:
        self.quantiles, self.scales, self.penalty, self.folds = list(quantiles), list(scales), penalty, folds

    def features(self, stack: Stack) -> Tensor:
        """(S, F) of the slices with brain: position, quantiles, log gradient energies, tilts along rows and columns."""
        kept = stack.mask.flatten(1).any(1)
        slices = zip(stack.image[kept, 0].cpu(), stack.mask[kept, 0].cpu(), stack.position[kept].cpu(), strict=True)
        return torch.stack([self._slice(image, mask, float(position)) for image, mask, position in slices])

    def fit(self, reference: Sequence[Tensor], query: Sequence[Tensor]) -> Pipeline:
        """A classifier that says 1 for query; one (S, F) per subject."""
        x = torch.cat([*reference, *query]).numpy()
        y = np.repeat([0, 1], [sum(map(len, reference)), sum(map(len, query))])
        regression = LogisticRegression(C=1 / self.penalty, class_weight="balanced", max_iter=1000)
        return make_pipeline(StandardScaler(), regression).fit(x, y)

    @staticmethod
    def ask(classifier: Pipeline, reference: Sequence[Tensor], query: Sequence[Tensor]) -> list[float]:
        """Balanced accuracy by subject; reference and query are of the same subjects, in the same order."""
        return [
            float(1 - classifier.predict(r.numpy()).mean() + classifier.predict(q.numpy()).mean()) / 2
            for r, q in zip(reference, query, strict=True)
        ]

    def retrained(self, reference: Sequence[Tensor], query: Sequence[Tensor]) -> list[float]:
        """The same, each subject by a classifier that was fitted to the subjects of the other folds; two or more."""
        count = len(reference)
        answers = np.empty(count)
        for held_out in np.array_split(np.arange(count), min(self.folds, count)):
            rest = np.setdiff1d(np.arange(count), held_out)
            classifier = self.fit([reference[k] for k in rest], [query[k] for k in rest])
            answers[held_out] = self.ask(classifier, [reference[k] for k in held_out], [query[k] for k in held_out])
        return answers.tolist()

    def retrained_unpaired(self, reference: Sequence[Tensor], query: Sequence[Tensor]) -> list[float]:
        """The same for query subjects who are others than the reference subjects; two or more of each.

        The folds are of both. Half of an answer is the subject's own; the other half is the share of all held-out
        reference slices that were called reference, so intervals over subjects leave out that half's spread. That the
        people differ, and not only the scanners, is in it.
        """
        folds = min(self.folds, len(query), len(reference))
        parts = [np.array_split(np.arange(len(group)), folds) for group in (reference, query)]
        answers = np.empty(len(query))
        for ours, theirs in zip(*parts, strict=True):
            rest = [
                [features for k, features in enumerate(group) if k not in held_out]
                for group, held_out in ((reference, ours), (query, theirs))
            ]
            classifier = self.fit(*rest)
            mistaken = classifier.predict(torch.cat([reference[k] for k in ours]).numpy()).mean()
            answers[theirs] = [(1 - mistaken + classifier.predict(query[k].numpy()).mean()) / 2 for k in theirs]
        return answers.tolist()

    def _slice(self, image: Tensor, mask: Tensor, position: float) -> Tensor:
        inside = image[mask]
        rows, columns = (place.to(image) for place in mask.nonzero().T)
        tilts = [((inside - inside.mean()) * _standard(place)).mean() for place in (rows, columns)]
        energies = [_gradient_energy(image, mask, scale) for scale in self.scales]
        quantiles = inside.quantile(torch.tensor(self.quantiles))
        return torch.cat([torch.tensor([position]), quantiles, torch.stack(energies), torch.stack(tilts)])


def _gradient_energy(image: Tensor, mask: Tensor, scale: int) -> Tensor:
    """log of the mean squared difference of neighbours inside the brain, of the image averaged over scale x scale."""
    x = F.avg_pool2d(image[None, None], scale)[0, 0]
    inside = F.avg_pool2d(mask[None, None].to(image), scale)[0, 0] == 1
    down = (x[1:] - x[:-1])[inside[1:] & inside[:-1]]
    right = (x[:, 1:] - x[:, :-1])[inside[:, 1:] & inside[:, :-1]]
    steps = torch.cat([down, right])
    return (steps.square().sum() / max(len(steps), 1) + 1e-6).log()  # 1e-6: a flat slice has an energy too


def _standard(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std(correction=0).clamp(min=1e-6)
