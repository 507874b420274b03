"""Three ways to find x_h = argmin_x D(x, x_q) + alpha |f(x)|^2, and what they share.

`alternating` is BlindHarmony's published heuristic; `image_space` and `latent_space` descend the objective itself.
Every solver works on (B, 1, H, W), treats each image on its own, and starts from the given image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from harmony.flows import ImageDensity


_TINY = 1e-12  # of a black image
Distance = Callable[[Tensor], Tensor]  # (B, 1, H, W) -> (B,)


@dataclass
class Iterates:
    """Keeps the current images valid and writes the trace: one entry per iteration and image."""

    mask: Tensor
    image: Tensor
    fallback: Tensor = field(init=False)
    trace: dict[str, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.image = torch.where(self.mask, self.image.clamp(0, 1), 0)

    def accept(self, proposal: Tensor) -> Tensor:
        """The proposal clipped to [0, 1] and re-masked; an image with a non-finite pixel keeps its former value."""
        self.fallback = ~proposal.isfinite().flatten(1).all(1)
        proposal = torch.where(per_image(self.fallback), self.image, proposal)
        self.image = torch.where(self.mask, proposal.clamp(0, 1), 0)
        return self.image

    def record(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.trace.setdefault(name, []).append(value.detach().float())  # left where it is: nothing waits for it

    def traces(self) -> dict[str, Tensor]:
        """name -> (iterations, B), on the CPU."""
        return {name: torch.stack(values).cpu() for name, values in self.trace.items()}


class Solver(ABC):
    """Minimises the objective of BlindHarmony from a start image."""

    @abstractmethod
    def solve(self, density: ImageDensity, distance: Distance, start: Tensor, mask: Tensor) -> Iterates: ...


@dataclass(frozen=True, kw_only=True)
class Alternating(Solver):
    """The published solver. Per iteration an image step and a latent step:

        x <- x - grad D(x, x_q);     z <- (1 - alpha) f(x);     x <- clip(f^-1(z), 0, 1)

    The latent step is a unit gradient step on (alpha / 2) |z|^2 taken in latent space.

    keep_level: after it each image gets back the norm |x| that it started with. NCC is blind to a gain, and the image
    step hardly changes |x| (it is orthogonal to x): else the flow alone decides how bright an image becomes, and step
    by step it darkens slices with little brain, which are mostly background. False: as published.
    """

    iterations: int
    alpha: float
    keep_level: bool

    def solve(self, density: ImageDensity, distance: Distance, start: Tensor, mask: Tensor) -> Iterates:
        state = Iterates(mask, start)
        level = _norm(state.image)
        for _ in range(self.iterations):
            with torch.enable_grad():
                x = state.image.detach().requires_grad_()
                value = distance(x)
                (gradient,) = torch.autograd.grad(value.sum(), x)
            stepped = x.detach() - gradient
            with torch.no_grad():
                encoded = density.encode(stepped)
                decoded = state.accept(density.decode((1 - self.alpha) * encoded.z))
                if self.keep_level:
                    state.image = (decoded * per_image(level / _norm(decoded).clamp(min=_TINY))).clamp(0, 1)
            bpd = density.encoded_bits_per_dim(encoded)
            state.record(distance=value, bpd=bpd, fallback=state.fallback)
        return state


@dataclass(frozen=True, kw_only=True)
class ImageSpace(Solver):
    """Gradient descent on D(x, x_q) + alpha |f(x)|^2 over the image x, through the flow. The best iterate is kept.

    first_step: the largest change of a pixel in the first step; the later steps are Barzilai-Borwein's.
    """

    iterations: int
    alpha: float
    first_step: float

    def solve(self, density: ImageDensity, distance: Distance, start: Tensor, mask: Tensor) -> Iterates:
        def point(variable: Tensor) -> Point:
            x = torch.where(mask, variable.clamp(0, 1), 0)  # the image that is optimised is the one that is returned
            encoded = density.encode(x)
            return Point(x, encoded.z, density.encoded_bits_per_dim(encoded))

        state = Iterates(mask, start)
        _descend(state, state.image, point, distance, self)
        return state


@dataclass(frozen=True, kw_only=True)
class LatentSpace(Solver):
    """Gradient descent on D(f^-1(z), x_q) + alpha |z|^2 over the latent z, through the inverse. Best iterate kept.

    first_step: the largest change of a latent in the first step; the later steps are Barzilai-Borwein's.
    """

    iterations: int
    alpha: float
    first_step: float

    def solve(self, density: ImageDensity, distance: Distance, start: Tensor, mask: Tensor) -> Iterates:
        def point(variable: Tensor) -> Point:
            return Point(torch.where(mask, density.decode(variable).clamp(0, 1), 0), variable, None)

        state = Iterates(mask, start)
        with torch.no_grad():
            z = density.encode(state.image).z
        _descend(state, z, point, distance, self)
        return state


class Point(NamedTuple):
    """An image, its latent, and its bits per dimension where the encoding gave it for free."""

    x: Tensor
    z: Tensor
    bpd: Tensor | None


def _descend(
    state: Iterates,
    start: Tensor,
    point: Callable[[Tensor], Point],
    distance: Distance,
    solver: ImageSpace | LatentSpace,
) -> None:
    """Barzilai-Borwein descent from `start`; keeps, per image, the iterate of least objective."""
    variable, steps = start.detach(), BarzilaiBorwein(solver.first_step)
    best, kept = torch.full_like(start[:, 0, 0, 0], torch.inf), state.image
    for _ in range(solver.iterations):
        with torch.enable_grad():
            variable = variable.detach().requires_grad_()
            x, z, bpd = point(variable)
            value = distance(x)
            objective = value + solver.alpha * z.flatten(1).square().sum(1)
            (gradient,) = torch.autograd.grad(objective.sum(), variable)
        state.accept(x.detach())
        better = (objective.detach() < best) & ~state.fallback
        best = torch.where(better, objective.detach(), best)
        kept = torch.where(per_image(better), state.image, kept)
        known = {} if bpd is None else {"bpd": bpd}
        state.record(distance=value, objective=objective, fallback=state.fallback, **known)
        variable = steps.next(variable.detach(), torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0))
    state.image = kept


class BarzilaiBorwein:
    """Gradient steps whose length is the secant estimate of 1 / curvature, for each image on its own:

        t_k = <s, y> / <y, y>,    s = x_k - x_{k-1},    y = grad_k - grad_{k-1}        (Barzilai & Borwein 1988)

    The problem has curvatures of many sizes (the flow stretches some directions a thousandfold) and no natural unit,
    which a fixed rate or Adam's equal steps do not suit. A step is at most four times the former one.
    """

    def __init__(self, first_step: float) -> None:
        self.first_step = first_step
        self.former: tuple[Tensor, Tensor, Tensor] | None = None

    def next(self, variable: Tensor, gradient: Tensor) -> Tensor:
        if self.former is None:
            length = self.first_step / gradient.flatten(1).abs().amax(1).clamp(min=1e-30)
        else:
            s, y = (variable - self.former[0]).flatten(1), (gradient - self.former[1]).flatten(1)
            secant = (s * y).sum(1).abs() / y.square().sum(1).clamp(min=1e-30)
            length = torch.minimum(secant, 4 * self.former[2])
        self.former = variable, gradient, length
        return variable - per_image(length) * gradient


def _norm(image: Tensor) -> Tensor:
    """(B, 1, H, W) -> (B,)."""
    return image.flatten(1).norm(dim=1)


def per_image(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return values[:, None, None, None]
