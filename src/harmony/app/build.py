"""Objects from the config: built once, here at the edge; the rooms below get finished ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf

from harmony.app.guard import NEEDED, refuse_foreign_targets
from harmony.core import ConfigError, DataError, Scan, of_subjects
from harmony.core.reference import Reference
from harmony.core.runs import parts_of, without_words
from harmony.data import QueryScanner, query_scanner

if TYPE_CHECKING:  # imported where they are used: judging takes what harmonizing does not wait for
    from harmony.data import SliceDataModule
    from harmony.evaluation import EvaluationSettings, Panel, QueryDomain, RealScanner
    from harmony.judges import CohortJudge, ImageJudge
    from harmony.methods import Method


def build(cfg: DictConfig, **objects: Any) -> Any:
    """Instantiate a config node whose every `_target_` is on the allow-list; containers become dicts and lists."""
    refuse_foreign_targets(cfg)
    return hydra.utils.instantiate(without_words(plain(cfg)), _convert_="all", **objects)


def plain(cfg: DictConfig | ListConfig) -> Any:
    """The resolved config as dicts and lists."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def inject(constructor: partial[Any], at_hand: Mapping[str, Any]) -> Any:
    """Call it with those of the objects at hand that it asks for by name, and that its config does not give it."""
    wanted = set(inspect.signature(constructor.func).parameters) - set(constructor.keywords)
    return constructor(**{name: value for name, value in at_hand.items() if name in wanted})


def build_data(cfg: DictConfig, task: DictConfig | None = None) -> SliceDataModule:
    """The data module of `cfg.data`, with the batches of a training task, and its own labels where it has any."""
    from harmony.data import SliceDataModule

    labels = None if task is None else task.get("labels")
    query = None if task is None else task.get("query")
    whole = task is not None and task.get("all_slices", False)
    return SliceDataModule(
        source=build(cfg.data.source) if labels is None else build(cfg.data.source, labels=labels),
        preprocess=build(cfg.data.preprocess, only_plausible=cfg.data.only_plausible),
        cache_dir=Path(cfg.data.cache).expanduser(),
        shares=plain(cfg.data.shares),
        split_seed=cfg.data.split_seed,
        count=None if whole else cfg.data.count,
        step=1 if whole else cfg.data.step,
        batch_size=1 if task is None else task.batch_size,
        whole_volumes=task is not None and task.get("whole_volumes", False),
        seed=cfg.seed,
        skip_bad=cfg.data.skip_bad,
        query=None if query is None else scanner(cfg, query),
        paired=task is None or task.get("paired", True),
    )


def scanner(cfg: DictConfig, name: str) -> QueryScanner:
    """A simulated query scanner of `data.scanners`."""
    return query_scanner(name, **plain(cfg.data.scanners[name]), percentile=cfg.data.preprocess.percentile)


def real_scans(cfg: DictConfig, name: str) -> list[Scan]:
    """The scans of a query domain of `data.real`: its source is `data.source` with its own settings over it, or, with a
    `_target_`, its own altogether."""
    own = cfg.data.real[name].source
    source: Any = own if "_target_" in own else OmegaConf.merge(cfg.data.source, own)
    try:
        scans: list[Scan] = build(source).scans()
    except DataError as error:
        cure = error.cure.replace("data.", f"data.real.{name}.source.")  # the settings that it names
        raise DataError(error.problem, cure=cure, path=error.path, subject=error.subject) from error
    except InstantiationException as error:
        if isinstance(error.__cause__, ConfigError):
            raise ConfigError(f"data.real.{name}.source: {error.__cause__}") from error
        raise
    return scans


def query_scanners(cfg: DictConfig) -> list[QueryScanner | RealScanner]:
    """Those of `data.query`, simulated or real."""
    from harmony.evaluation import RealScanner

    return [
        RealScanner(name, real_scans(cfg, name), cfg.data.real[name].paired)
        if name in cfg.data.real
        else scanner(cfg, name)
        for name in cfg.data.query
    ]


def refuse_unlabelled(cfg: DictConfig, stages: Sequence[str]) -> None:
    """Refuse, before anything is trained, what simulated scanners could not make of scans without tissue labels.

    Raises DataError for the first such scan.
    """
    parts = {stage: ("train", "val") for stage in stages if stage != "evaluate" and "query" in cfg.tasks[stage]}
    asked = [(scanner(cfg, cfg.tasks[stage].query), parts[stage], None) for stage in parts]
    if "evaluate" in stages:
        scored = dict.fromkeys((cfg.evaluation.part, cfg.evaluation.adapt_on))
        names = [name for name in cfg.data.query if name in cfg.data.scanners]
        asked += [(scanner(cfg, name), tuple(scored), cfg.evaluation.subjects) for name in names]
    asked = [each for each in asked if each[0].needs_tissues]
    split = build_data(cfg).split() if asked else {}
    for query, used, subjects in asked:
        for scan in (scan for part in used for scan in of_subjects(split[part], subjects, lambda scan: scan.subject)):
            if scan.labels is None or cfg.data.preprocess.get("label_map") is not None:
                raise DataError(
                    f"the query scanner {query.name!r} needs labels 1 CSF, 2 grey matter, 3 white matter",
                    cure=f"set data.labels= to a tissue map, or leave {query.name} out of data.query=",
                    path=scan.path,
                    subject=scan.subject,
                )


def evaluation_settings(cfg: DictConfig) -> EvaluationSettings:
    from harmony.evaluation import Cut, EvaluationSettings

    asked = cfg.evaluation
    return EvaluationSettings(
        part=asked.part,
        adapt_on=asked.adapt_on,
        subjects=asked.subjects,
        include_reference=asked.include_reference,
        figure_subjects=asked.figure_subjects,
        cut=Cut(cfg.data.count, cfg.data.step, asked.lesion_ring),
    )


def build_task(cfg: DictConfig, **at_hand: Any) -> Any:
    """A task of what it asks for among the objects at hand."""
    return inject(build(cfg), at_hand)


def parts_wanted(cfg: DictConfig) -> list[str]:
    """What the chosen methods and judges name under `models`, see `parts_of`; the flow, which scores every image, is
    the first."""
    users = [cfg.method[name] for name in cfg.methods]
    users += [cfg.judge[name] for name in OmegaConf.select(cfg, "evaluation.judges") or []]
    return list(dict.fromkeys(["flow", *(part for user in users for part in parts_of(user))]))


def models_wanted(cfg: DictConfig) -> list[str]:
    """The stages that these are parts of."""
    return list(dict.fromkeys(part.partition("/")[0] for part in parts_wanted(cfg)))


def build_methods(
    cfg: DictConfig, networks: Mapping[str, Any], reference: Reference, reference_bpd: float | None
) -> dict[str, Method]:
    """The chosen methods by name. networks: by the names of `parts_wanted`. To the constructors that ask for them go
    the flow (`density`), its bpd on held-out reference images, the reference statistics, and of `cfg.data` how the
    networks' images were scaled (`percentile`) and which slices they learned from (`count`, `step`)."""
    at_hand = {
        "density": networks["flow"],
        "reference": reference,
        "reference_bpd": reference_bpd,
        "percentile": cfg.data.preprocess.percentile,
        "count": cfg.data.count,
        "step": cfg.data.step,
    }
    return {name: _with_models(plain(cfg.method[name]), networks, at_hand) for name in cfg.methods}


def expand_stages(cfg: DictConfig) -> None:
    """`needed` in `stages` -> the stages of `models_wanted`, in its place, each once."""
    stages = [stage for name in cfg.stages for stage in (models_wanted(cfg) if name == NEEDED else [name])]
    cfg.stages = list(dict.fromkeys(stages))


class BuiltJudges(NamedTuple):
    """judges: they see every method's image. rivals: they see the unharmonized one."""

    judges: dict[str, ImageJudge | CohortJudge]
    rivals: dict[str, ImageJudge | CohortJudge]


def build_judges(cfg: DictConfig, networks: Mapping[str, Any], at_hand: Mapping[str, Any]) -> BuiltJudges:
    """Those of `evaluation.judges`. Raises ConfigError for judges that could not do their task in this evaluation."""
    from harmony.judges import AdaptiveJudge, CohortJudge, ImageJudge

    built = BuiltJudges({}, {})
    for name in cfg.evaluation.judges:
        node = plain(cfg.judge[name])
        group = {"harmonized": built.judges, "query": built.rivals}[node.pop("sees")]
        group[name] = _with_models(node, networks, at_hand)
    for name, judge in built.judges.items():
        if isinstance(judge, AdaptiveJudge):
            raise ConfigError(f"judge.{name}.sees=harmonized: it adapts to a scanner -> judge.{name}.sees=query")
    measured = any(isinstance(judge, ImageJudge) for judge in built.judges.values())
    for name in [name for name, judge in built.rivals.items() if isinstance(judge, CohortJudge)]:
        if "none" not in cfg.methods:
            raise ConfigError(f"evaluation.judges: {name} starts from unharmonized scans -> add none to methods")
        if not measured:
            raise ConfigError(f"evaluation.judges: {name} needs what others measure -> add tissue or age")
    return built


def build_panel(
    cfg: DictConfig, networks: Mapping[str, Any], data: SliceDataModule, domains: Sequence[QueryDomain]
) -> Panel:
    """The judges of `evaluation.judges`, examined on the scored subjects' untouched reference scans."""
    from harmony.evaluation import Case, Panel, examples, first_people

    settings = evaluation_settings(cfg)
    ages = [scan.age for scan in data.split()["train"] if scan.age is not None]
    at_hand = {"examples": examples(data, domains, settings), "training_ages": ages}
    volumes = first_people(data.volumes(settings.part), settings.subjects)
    reference = [Case(volume, volume).slices(settings.cut) for volume in volumes]
    return Panel(*build_judges(cfg, networks, at_hand), reference)


def _with_models(node: dict[str, Any], networks: Mapping[str, Any], at_hand: Mapping[str, Any]) -> Any:
    """`models` in the config of a method or judge names the stages whose networks its constructor gets, or STAGE/NAME
    for what that stage learned beside it (null: none); `steps`, the configs of the methods that it is made of."""
    models = {argument: part for argument, part in node.get("models", {}).items() if part is not None}
    own = {**at_hand, **{argument: networks[part] for argument, part in models.items()}}
    own["steps"] = {name: _with_models(step, networks, at_hand) for name, step in node.get("steps", {}).items()}
    rest = {key: value for key, value in node.items() if key not in ("models", "steps")}
    return inject(build(OmegaConf.create(rest)), own)
