"""Plain values into objects: what a run folder or a method's config says, without a config library."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from harmony.core import ConfigError
from harmony.core.runs import WORDS, stages_of

# A stranger's file may name public classes and factories of these rooms, and optimizers; nothing else is looked up.
ALLOWED = re.compile(
    r"harmony\.(distances|flows|methods|networks)\.[A-Z]\w*"
    r"|harmony\.flows\.(spline_flow|harmonizing_flow)|harmony\.networks\.segmentation_unet|harmony\.methods\.chain"
    r"|torch\.optim\.[A-Z]\w*"
)


def construct(node: Any) -> Any:
    """A mapping with `_target_` -> what that makes of the rest (with `_partial_: true`, what will make it of more);
    other mappings and lists: their values constructed. Raises ConfigError for a target that is not allowed."""
    if isinstance(node, Mapping):
        values = {key: construct(value) for key, value in node.items() if key not in (*WORDS, "_target_", "_partial_")}
        if "_target_" not in node:
            return values
        made = partial(located(str(node["_target_"])), **values)
        return made if node.get("_partial_") else made()
    return [construct(value) for value in node] if isinstance(node, list) else node


def located(target: str) -> Callable[..., Any]:
    """The class or function of a dotted name."""
    if not ALLOWED.fullmatch(target):
        raise ConfigError(f"_target_={target}: not something harmony may build")
    module, _, name = target.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def construct_method(node: Mapping[str, Any], parts: Mapping[str, Any], at_hand: Mapping[str, Any]) -> Any:
    """A method of its config. `models` there names the parts (argument -> STAGE, or STAGE/NAME) that its constructor
    gets, `steps` the methods that it is made of; of the objects at hand it gets those that it asks for by name."""
    given = {argument: parts[part] for argument, part in node.get("models", {}).items() if part is not None}
    steps = {name: construct_method(step, parts, at_hand) for name, step in node.get("steps", {}).items()}
    maker = construct({key: value for key, value in node.items() if key not in ("models", "steps")})
    wanted = set(inspect.signature(maker.func).parameters) - set(maker.keywords)  # what its config says stands
    return maker(**{name: value for name, value in {**at_hand, **given, "steps": steps}.items() if name in wanted})


def takes_density(node: Mapping[str, Any]) -> bool:
    """Whether a method, or one of its steps, is given the flow."""
    own = "density" in inspect.signature(located(node["_target_"])).parameters or "flow" in stages_of(node)
    return own or any(takes_density(step) for step in node.get("steps", {}).values())
