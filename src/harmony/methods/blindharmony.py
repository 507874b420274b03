"""BlindHarmony (Jeong et al. 2023): the image of the reference domain whose structure is the query's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harmony.core import Harmonized, Stack
from harmony.core.progress import within
from harmony.core.reference import Reference
from harmony.distances import StructuralDistance
from harmony.methods.base import Method
from harmony.methods.solvers import Iterates, Solver

if TYPE_CHECKING:
    from harmony.flows import ImageDensity

log = logging.getLogger(__name__)


class BlindHarmony(Method):
    """x_h = argmin_x D(x, x_q) + alpha |f(x)|^2, started from the mean reference slice at the same position.

    Where no reference brain is (at the rim of larger heads) it starts from the query: from 0 no step leads on.

    density: a flow trained on the reference domain, used frozen and in eval mode.
    batch: slices solved together; it bounds the memory and does not change the result. Where it is more than the card
        holds it is halved, and stays so. Slices without brain are alike (0 at the start and ever after), and one of
        them is solved for all.
    """

    def __init__(
        self, *, density: ImageDensity, reference: Reference, distance: StructuralDistance, solver: Solver, batch: int
    ) -> None:
        self.density = density.eval().requires_grad_(False)
        self.reference, self.distance, self.solver, self.batch = reference, distance, solver, batch

    @torch.no_grad()
    def harmonize(self, stack: Stack) -> Harmonized:
        different, row = _alike(stack)
        solved: list[Iterates] = []
        done = 0
        with within("slices", len(different)) as told:
            while done < len(different):
                part = different[done : done + self.batch]
                try:
                    solved.append(self._solve(stack.image[part], stack.mask[part], stack.position[part]))
                except torch.OutOfMemoryError:
                    if self.batch == 1:
                        raise
                    self.batch //= 2
                    log.warning("out of memory: from here on %d slices at a time", self.batch)
                    continue
                done += len(part)
                told(len(part))
        traces = [result.traces() for result in solved]
        trace = {name: torch.cat([t[name] for t in traces], dim=1)[:, row.cpu()] for name in traces[0]}
        return Harmonized(torch.cat([result.image for result in solved])[row], trace)

    def _solve(self, image: Tensor, mask: Tensor, position: Tensor) -> Iterates:
        start = self.reference.start(position, image.shape[2:]).to(image)
        start = torch.where(start > 0, start, image)
        return self.solver.solve(self.density, self.distance.to(image, mask), start, mask)


def _alike(stack: Stack) -> tuple[Tensor, Tensor]:
    """The slices with brain and the first of those without, in their order; (S,), which of them each slice is like."""
    brain = stack.with_brain
    chosen = brain | (~brain & ((~brain).cumsum(0) == 1))
    place = chosen.cumsum(0) - 1
    empty = torch.where(~brain & chosen, place, 0).sum()
    return chosen.nonzero().flatten(), torch.where(brain, place, empty)
