"""Adam in the units of other parameters: the published dose, whatever units the weights are kept in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch.nn import Parameter
from torch.optim import Adam, Optimizer


def adam_in_units(optimizer: Callable[..., Optimizer], units: Mapping[Parameter, float]) -> Optimizer:
    """The optimizer whose steps on w are k times Adam's steps on w' = w / k. units: w -> k.

    dL/dw' = k dL/dw =: k g. Adam's moments of w' are k m and k^2 v, so that its step is

        dw' = -rate k m / (k sqrt(v) + eps)          dw = k dw' = -(k rate) m / (sqrt(v) + eps / k)

    which is Adam on w with rate k rate and epsilon eps / k. Raises ValueError for another optimizer, or weight decay.
    """
    made = optimizer([{"params": [w for w in units if units[w] == k], "unit": k} for k in sorted(set(units.values()))])
    if type(made) is not Adam or any(group["weight_decay"] for group in made.param_groups):
        raise ValueError("units: grey_levels is worked out for torch.optim.Adam without weight decay")
    for group in made.param_groups:
        group["lr"] *= group["unit"]
        group["eps"] /= group["unit"]
    return made
