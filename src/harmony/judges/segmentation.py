"""Segment it: overlap, surface distance and volume of each structure in a harmonized image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harmony.core import DataError, Stack
from harmony.judges.contracts import ImageJudge, Truth
from harmony.metrics.labels import Outcome, mean_dice, score_labels, tissue_volumes

COUNTED: tuple[Outcome, ...] = ("missed", "invented", "absent")


class Segmentation(ImageJudge):
    """A trained segmenter and the structures that it is asked for.

    segmenter: (B, 1, H, W) -> logits (B, classes, H, W). structures: name -> label value, in network and truth alike.
    batch: most slices that are segmented together.

    `score` gives the means `dice`, `iou`, `hd95` (mm) over structures; for each structure NAME `dice_NAME`, `iou_NAME`,
    `hd95_NAME`, and `volume_NAME_ml` as predicted (a slice stands for the gap to the next); how many structures were
    `missed`, `invented`, `absent`. An absent one is in no mean and has no scores of its own (metrics.labels). Where the
    true labels are unknown, the volumes alone.
    """

    metric = "dice"
    baseline = "the whole brain one structure"

    def __init__(self, *, segmenter: nn.Module, structures: Mapping[str, int], batch: int) -> None:
        self.segmenter, self.structures, self.batch = segmenter.eval(), dict(structures), batch

    def score(self, stack: Stack, truth: Truth) -> dict[str, float]:
        labels, classes = self.labels(stack.image), self.structures.values()
        labels[~stack.with_brain.cpu()] = 0  # nothing is asked of a slice without brain
        volumes = tissue_volumes(labels, classes=classes, spacing=truth.spacing)
        if truth.labels is None:
            return {f"volume_{name}_ml": volumes[value] for name, value in self.structures.items()}
        scores = score_labels(truth.labels, labels, classes=classes, spacing=truth.spacing)
        found = {"dice": scores.dice, "iou": scores.iou, "hd95": scores.hd95}
        for name, value in self.structures.items():
            each = scores.structures[value]
            found |= {f"dice_{name}": each.dice, f"iou_{name}": each.iou, f"hd95_{name}": each.hd95}
            found[f"volume_{name}_ml"] = volumes[value]
        found = {metric: value for metric, value in found.items() if not math.isnan(value)}
        return found | {outcome: scores.count(outcome) for outcome in COUNTED}

    def trivial(self, stack: Stack, truth: Truth) -> float | None:
        """Mean Dice where every brain pixel is called the largest structure of the truth. DataError without a truth."""
        if truth.labels is None:
            cure = "set data.labels=, or leave the segmentation judges out of evaluation.judges="
            raise DataError("a segmentation is judged against a label map, and this scan has none", cure=cure,
                            subject=truth.name)  # fmt: skip
        labels = truth.labels
        largest = max(self.structures.values(), key=lambda value: int((labels == value).sum()))
        value = mean_dice(labels, stack.mask[:, 0].cpu() * largest, classes=self.structures.values())
        return None if math.isnan(value) else value

    @torch.no_grad()
    def labels(self, image: Tensor) -> Tensor:
        """(S, 1, H, W) -> (S, H, W) on the CPU, the likeliest class of each pixel."""
        parts = image.chunk(math.ceil(len(image) / self.batch))
        return torch.cat([self.segmenter(part).argmax(1) for part in parts]).cpu()
