"""Composed configs without the second that Hydra takes for each: it composes every choice of groups once."""

import functools
import pickle

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from harmony import app

GROUPS = ("experiment", "data", "flow", "logger", "published", "method", "hydra/launcher")


def composed(*overrides, name="config"):
    """As `by_hydra`, but that a key there is not is OmegaConf's error."""
    words = OverridesParser.create().parse_overrides(list(overrides))
    chosen = tuple(word.input_line for word in words if word.key_or_group in GROUPS or word.package or word.is_delete())
    cfg = pickle.loads(_bytes(name, chosen, app.conf_folder()))
    for word in words:
        if word.input_line not in chosen:
            OmegaConf.update(cfg, word.key_or_group, word.value(), force_add=word.is_add() or word.is_force_add())
    return cfg


@functools.cache
def _bytes(name, chosen, _folder):
    return pickle.dumps(by_hydra(*chosen, name=name))


def by_hydra(*overrides, name="config"):
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        return compose(name, overrides=list(overrides))
