"""Which runs belong together: what decides a score, and what sets one configuration apart from another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harmony.core.runs import stages_of

# What does not decide a score: where a run lies, what it was called, the words about it. Methods, judges and tasks
# are asked for by name below.
_ASIDE = (
    "seed", "runs", "cache", "stages", "logger", "name", "methods", "flow", "tasks", "method", "judge", "published",
)  # fmt: skip
_ASIDE_OF_DATA = ("data.cache", "data.source.folder", "data.title")
WORDS = ("says", "cites")  # what a config node is, for a reader
_SHORT = {"data.sites": "reference"}  # what a sweep's settings are called


def stages_used(config: Mapping[str, Any]) -> list[str]:
    """The stages whose networks were used by methods and judges; the flow scores every image."""
    users = [config["method"][name] for name in config["methods"]]
    users += [config["judge"][name] for name in judges_asked(config)]
    return list(dict.fromkeys(["flow", *(stage for user in users for stage in stages_of(user))]))


def judges_asked(config: Mapping[str, Any]) -> list[str]:
    return list(config["evaluation"].get("judges") or [])


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a run that decides a score: dotted key -> value. Its own seed is left out wherever it went."""
    asked = {key: value for key, value in config.items() if key not in _ASIDE}
    asked["method"] = {name: config["method"][name] for name in config["methods"]}
    asked["judge"] = {name: config["judge"][name] for name in judges_asked(config)}
    asked["tasks"] = {stage: config["tasks"][stage] for stage in stages_used(config)}
    seed = int(config["seed"])
    return {
        key: value
        for key, value in _flatten(asked)
        if not (key.endswith(".seed") and not key.startswith("data.") and value == seed)
        and key not in _ASIDE_OF_DATA
        and not set(key.split(".")) & set(WORDS)
    }


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all of these."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({str(each.get(key)) for each in settings}) > 1]


def labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """`steps=4, hidden_channels=48`: at most three of the settings that differ; empty for a single one."""
    found = []
    for each in settings:
        said = {
            name: f"{name}={each[key]}"
            for key in differing(settings)
            if key in each and (name := key.removeprefix("method.").removeprefix("tasks."))
        }
        found.append(", ".join(list(said.values())[:3]))
    return found


def job_settings(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Of the jobs of a sweep: jobs with the same text differ by the seed alone."""
    own = [{key: value for key, value in each.items() if key != "seed"} for each in overrides]
    varied = differing(own)
    return [" ".join(f"{_SHORT.get(key, key)}={each[key]}" for key in varied if key in each) for each in own]


def reference_of(settings: str) -> str:
    """The reference site that a job's settings name: jobs of others were scored on other truths."""
    return next((word for word in settings.split() if word.startswith(f"{_SHORT['data.sites']}=")), "")


def decides_data(key: str) -> bool:
    """Whether runs that differ in this setting were scored on different data."""
    return key.startswith(("data.source.", "data.preprocess.", "data.shares.", "evaluation.part")) or key in (
        "data.count", "data.step", "data.split_seed",
    )  # fmt: skip


def _flatten(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flatten(value, f"{where}.{key}".lstrip("."))
    else:
        yield where, node
