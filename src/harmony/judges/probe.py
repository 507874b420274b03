"""A simple classifier that tells slices of one scanner from slices of another.

A probe that has seen a person knows the person, and needs no scanner to tell that person's scans apart. So everything
goes by subject: a fold holds people, with all their scans on both scanners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from harmony.core import Stack

Scans = Mapping[str, Sequence[Tensor]]  # subject -> the features (S, F) of each of the subject's scans
LEAST = 3  # people on each scanner: of fewer, none are left to choose a penalty with


class Probe:
    """Logistic regression on a few numbers of each slice. 0.5: it cannot tell the scanners apart; 1: every slice.

    quantiles: of the intensities inside the brain. scales: pixels over which the image is averaged before the energy of
    its gradient is taken. penalties: L2, on standardized features; the one with the least log loss on people left out
    is taken, anew in every fold. folds: of people.

    An answer is the balanced accuracy of slices for one query scan: half the share of its slices that were called
    query, and half the share of reference slices that were called reference. The latter are the same person's where
    there are any, or else those of people dealt to this one, so that the answers of different people share no scan as
    long as there are at least as many people on the reference scanner. That the people differ, and not only the
    scanners, is then in them.
    """

    def __init__(
        self, *, quantiles: Sequence[float], scales: Sequence[int], penalties: Sequence[float], folds: int
    ) -> None:
        self.quantiles, self.scales = list(quantiles), list(scales)
        self.penalties, self.folds = sorted(penalties), folds

    def features(self, stack: Stack) -> Tensor:
        """(S, F) of the slices with brain: position, quantiles, log gradient energies, tilts along rows and columns."""
        kept = stack.with_brain
        slices = zip(stack.image[kept, 0].cpu(), stack.mask[kept, 0].cpu(), stack.position[kept].cpu(), strict=True)
        return torch.stack([self._slice(image, mask, float(position)) for image, mask, position in slices])

    def fit(self, reference: Scans, query: Scans) -> Pipeline:
        """A classifier that says 1 for query, with the penalty that does best on people left out."""
        losses = np.zeros(len(self.penalties))
        if min(len(reference), len(query)) > 1:
            for rest, held_out in folds(reference, query, self.folds):
                x, y, weight = _slices(*held_out)
                for k, penalty in enumerate(self.penalties):
                    query_probability = _classifier(penalty, *rest).predict_proba(x)[:, 1]
                    losses[k] += log_loss(y, query_probability, sample_weight=weight, labels=[0, 1])
        best = np.flatnonzero(losses == losses.min())[-1]  # of equals the strongest
        return _classifier(self.penalties[best], reference, query)

    @staticmethod
    def ask(classifier: Pipeline, reference: Scans, query: Scans) -> dict[str, list[float]]:
        """Query subject -> an answer for each of the subject's scans."""
        mistaken = {name: classifier.predict(torch.cat([*scans]).numpy()).mean() for name, scans in reference.items()}
        dealt = _partners(sorted(reference), sorted(query))
        return {
            name: [
                float(1 - np.mean([mistaken[other] for other in dealt[name]]) + classifier.predict(x.numpy()).mean())
                / 2
                for x in scans
            ]
            for name, scans in query.items()
        }

    def retrained(self, reference: Scans, query: Scans) -> dict[str, list[float]]:
        """The same, each person by a classifier that was fitted to the people of the other folds.

        Nothing for fewer than 3 people on either scanner. The answers share what they were fitted to: their mean has a
        wider interval (`analysis.mean_interval`, cross_validated).
        """
        found: dict[str, list[float]] = {}
        if min(len(reference), len(query)) >= LEAST:
            for rest, held_out in folds(reference, query, self.folds):
                found |= self.ask(self.fit(*rest), *held_out)
        return {name: found[name] for name in query if name in found}

    def _slice(self, image: Tensor, mask: Tensor, position: float) -> Tensor:
        inside = image[mask]
        rows, columns = (place.to(image) for place in mask.nonzero().T)
        tilts = [((inside - inside.mean()) * _standard(place)).mean() for place in (rows, columns)]
        energies = [_gradient_energy(image, mask, scale) for scale in self.scales]
        quantiles = inside.quantile(torch.tensor(self.quantiles))
        return torch.cat([torch.tensor([position]), quantiles, torch.stack(energies), torch.stack(tilts)])


def folds(reference: Scans, query: Scans, count: int) -> Iterator[tuple[tuple[Scans, Scans], tuple[Scans, Scans]]]:
    """(fitted to, held out) for each of `count` folds of people, or as many as both scanners have people.

    A person of both scanners is in one fold with all scans. Those people come first on either scanner, so that the
    others spread over the folds too, and every fold has people of both.
    """
    count = min(count, len(reference), len(query))
    orders = [_common_first(list(side), other) for side, other in ((reference, query), (query, reference))]
    fold_of = [{name: k % count for k, name in enumerate(order)} for order in orders]

    def chosen(fold: int, *, held_out: bool) -> tuple[Scans, Scans]:
        ours, theirs = (
            {name: scans for name, scans in side.items() if (where[name] == fold) == held_out}
            for side, where in zip((reference, query), fold_of, strict=True)
        )
        return ours, theirs

    for fold in range(count):
        yield chosen(fold, held_out=False), chosen(fold, held_out=True)


def _partners(reference: list[str], query: list[str]) -> dict[str, list[str]]:
    """Query person -> whose reference slices stand against them: the person's own, or people dealt in turn."""
    own = {name: [name] for name in query if name in reference}
    alone = [name for name in query if name not in own]
    free = [name for name in reference if name not in own] or reference
    dealt = {name: free[k :: len(alone)] or [free[k % len(free)]] for k, name in enumerate(alone)}
    return own | dealt


def _common_first(names: list[str], others: Scans) -> list[str]:
    return sorted(names, key=lambda name: (name not in others, name))


def _slices(reference: Scans, query: Scans) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, F) of all slices, (N,) 0 for reference and 1 for query, (N,) weights that add up to 1/2 for each."""
    sides = [torch.cat([x for scans in side.values() for x in scans]).numpy() for side in (reference, query)]
    counts = list(map(len, sides))
    return np.concatenate(sides), np.repeat([0, 1], counts), np.repeat([0.5 / n for n in counts], counts)


def _classifier(penalty: float, reference: Scans, query: Scans) -> Pipeline:
    """Both scanners count alike, however many slices they have."""
    x, y, _ = _slices(reference, query)
    regression = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(x, y)


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
