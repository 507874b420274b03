"""What the entry points share: the configuration, safe construction, one clear error, runs and their models."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file
from yaml import YAMLError

from harmony import __version__
from harmony.core import (
    REFERENCE,
    CheckpointError,
    ConfigError,
    DataError,
    HarmonyError,
    Scan,
    interrupts,
    read_rows,
)
from harmony.core.locks import claim
from harmony.core.reference import VERSION as REFERENCE_VERSION
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder, content_key, fingerprint, stages_of
from harmony.core.vocabulary import MEAN, TRAINING
from harmony.data import QueryScanner, SliceDataModule, query_scanner
from harmony.downstream import entropy
from harmony.methods import Method
from harmony.reports import result_table
from harmony.sweep import Job, folder_override

# What a config may build: public classes and factories of the rooms, and these few of others. Anything else
# (`os.system`, `pathlib.Path.unlink`) is refused before a single object is made.
_ALLOWED = re.compile(
    r"harmony\.(data|distances|downstream|flows|methods|networks|tasks)\.[A-Z]\w*"
    r"|harmony\.flows\.(spline_flow|harmonizing_flow)|harmony\.networks\.segmentation_unet|harmony\.methods\.chain"
    r"|torch\.optim\.[A-Z]\w*|lightning\.pytorch\.Trainer|lightning\.pytorch\.loggers\.(WandbLogger|CSVLogger)"
)

# ${without:${data.real},${data.sites}}: every query site but the reference's own.
OmegaConf.register_new_resolver(
    "without", lambda names, left_out: ListConfig([n for n in names if n not in (left_out or ())]), replace=True
)

# Arguments that would read a config from outside the config folder.
_ELSEWHERE = re.compile(
    r"[+~]*(experiment|data|flow|task|method|judge|corruption|trainer|logger|published|stop)(@[\w.]*)?=(/|.*\.\.)"
    r"|.*hydra\.searchpath|--config|-c[dpn]"
)

# Trainer settings that say where to train, and not what comes out but for rounding: no part of a model's fingerprint.
_MACHINE = ("accelerator", "devices", "num_nodes", "strategy")
_MACHINE_DEFAULTS = {"accelerator": "auto", "devices": 1}


def conf_folder() -> str:
    """The configs: beside `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parent
    return str(next(conf for conf in (package / "conf", package.parents[1] / "conf") if conf.exists()))


Runs = dict[str, Path]  # stage, or evaluate -> run folder


def entry_point(run: Callable[[DictConfig], Runs | None], config: str = "config") -> Callable[[], None]:
    """A Hydra program around `run`: quiet libraries, user errors in one line with exit code 2, signals as 128 + n.

    In a sweep (-m) a job that fails is named at once, and the others go on.
    """

    def checked(cfg: DictConfig) -> Runs | None:
        interrupts.check()
        refuse_foreign_targets(cfg)
        if config == "config":
            check(cfg)
        return run(cfg)

    def guarded(cfg: DictConfig) -> float | None:
        _quiet()
        interrupts.watch()
        job = Job.current() if config == "config" and not rank() else None
        environment = dict(os.environ)
        try:
            if job is not None:
                with job.alone() as mine, _command_of(job):
                    return one_of_many(cfg, checked, job) if mine else None
            checked(cfg)
        except interrupts.Interrupted as stop:
            sys.exit(_stopped(stop, job))
        except Exception as error:
            message = _explain(error)
            if message is None:
                raise
            sys.exit(_fail(message))
        finally:
            _finish_log()
            _leave_group(environment)
        return None

    def program() -> None:
        _refuse_elsewhere(sys.argv[1:])
        if config == "config":
            sys.argv += folder_override(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=conf_folder(), config_name=config)(guarded)()

    return program


def _refuse_elsewhere(words: list[str]) -> None:
    for word in words:
        if _ELSEWHERE.match(word):
            sys.exit(_fail(ConfigError(f"{word}: '..' and configs from elsewhere are not allowed")))


def one_of_many(cfg: DictConfig, run: Callable[[DictConfig], Runs | None], job: Job) -> float | None:
    """One job of a sweep. Returns its objective, for a sweeper that searches; None where it failed."""
    job.record("running")
    try:
        runs = run(cfg) or {}
        value = objective(cfg, runs)
    except Exception as error:
        message = _explain(error)
        if message is None:
            traceback.print_exc()
        problem = message or f"{type(error).__name__}: {error}"
        print(f"error: job {' '.join(job.overrides)}: {problem}", file=sys.stderr, flush=True)
        job.record("failed", problem=problem)
        return None
    job.record("done", runs=runs)
    return value


def objective(cfg: DictConfig, runs: Runs) -> float | None:
    """What a search over settings minimises or maximises: `cfg.objective`, or the last trained network's score."""
    if cfg.objective is None:
        trained = [path for stage, path in runs.items() if stage != "evaluate"]
        return float(RunFolder(trained[-1]).summary()["score"]) if trained else None
    if "evaluate" not in runs:
        raise ConfigError(f"objective={cfg.objective} is a result, and nothing was evaluated -> add evaluate to stages")
    table = result_table(read_rows(runs["evaluate"] / "results.csv"))
    found = table.flat_means() | table.query_means()
    if cfg.objective not in found:
        raise ConfigError(f"objective={cfg.objective}: not a result of this run; there are {', '.join(found)}")
    return found[cfg.objective]


def check(cfg: DictConfig) -> None:
    """Refuse what cannot work before anything is read, trained or written."""
    known = {
        "stages": [*cfg.tasks, "evaluate"],
        "methods": list(cfg.method),
        "evaluation.judges": list(cfg.judge),
        "data.query": [*cfg.data.scanners, *cfg.data.real],
    }
    for key, names in known.items():
        unknown = [name for name in OmegaConf.select(cfg, key) if name not in names]
        if unknown:
            raise ConfigError(f"{key}={unknown}: unknown; there are {', '.join(names)}")
    check_real(cfg)
    for stage, task in cfg.tasks.items():
        if "query" in task and task.query not in cfg.data.scanners:
            scanners = ", ".join(cfg.data.scanners)
            raise ConfigError(f"tasks.{stage}.query={task.query}: unknown; there are {scanners}")
    height, width = cfg.data.preprocess.size
    unit = 2**cfg.flow.levels
    if height % unit or width % unit:
        fitting = f"[{-(-height // unit) * unit},{-(-width // unit) * unit}]"
        raise ConfigError(
            f"data.preprocess.size=[{height},{width}]: a flow of {cfg.flow.levels} levels needs sizes divisible by "
            f"{unit} -> use data.preprocess.size={fitting}"
        )


def check_real(cfg: DictConfig) -> None:
    """Refuse real query domains that are not said clearly, or would be adapted to but for the scans that are scored."""
    for name, node in cfg.data.real.items():
        where = f"data.real.{name}"
        if name in (REFERENCE, MEAN) or name in cfg.data.scanners:
            raise ConfigError(f"{where}: there is another domain of this name -> name it otherwise")
        said = isinstance(node, DictConfig) and set(node) == {"source", "paired"}
        if not said or not isinstance(node.source, DictConfig) or not isinstance(node.paired, bool):
            raise ConfigError(f"{where}: needs source: {{...}} and paired: true or false, and nothing else")
        missing = OmegaConf.missing_keys(node)  # merged over data.source they would quietly be the reference's
        if missing:
            raise ConfigError(f"{where}: the command must say {', '.join(f'{key}=' for key in sorted(missing))}")
        asked = cfg.evaluation
        if name in cfg.data.query and asked.adapt_on != asked.part:
            raise ConfigError(
                f"evaluation.adapt_on={asked.adapt_on}: all scans of {where} are scored, and there are no others to "
                f"adapt to -> use evaluation.adapt_on={asked.part}, or leave {name} out of data.query"
            )


def build(cfg: DictConfig, **objects: Any) -> Any:
    """Instantiate a config node whose every `_target_` is on the allow-list; containers become dicts and lists."""
    refuse_foreign_targets(cfg)
    return hydra.utils.instantiate(cfg, _convert_="all", **objects)


def refuse_foreign_targets(cfg: Any, where: str = "") -> None:
    if isinstance(cfg, DictConfig):
        target = cfg.get("_target_")
        if target is not None and not _ALLOWED.fullmatch(str(target)):
            raise ConfigError(f"{where or 'config'}._target_={target}: not something harmony may build")
        for key in cfg:
            if not OmegaConf.is_missing(cfg, key):
                refuse_foreign_targets(cfg[key], f"{where}.{key!s}".lstrip("."))
    elif isinstance(cfg, ListConfig):
        for item in cfg:
            refuse_foreign_targets(item, where)


def plain(cfg: DictConfig | ListConfig) -> Any:
    """The resolved config as dicts and lists."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def build_data(cfg: DictConfig, task: DictConfig | None = None) -> SliceDataModule:
    """The data module of `cfg.data`, with the batches of a training task."""
    query = None if task is None else task.get("query")
    whole = task is not None and task.get("all_slices", False)
    return SliceDataModule(
        source=build(cfg.data.source),
        preprocess=build(cfg.data.preprocess),
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


def model_run(cfg: DictConfig, data: SliceDataModule, stage: str) -> RunFolder:
    """Where the network of this stage is, or will be: found by what decides its weights, wherever the files lie."""
    query = cfg.tasks[stage].get("query")
    settings = {
        "version": __version__,
        "seed": cfg.seed,
        "task": plain(cfg.tasks[stage]) | ({"scanner": plain(cfg.data.scanners[query])} if query else {}),
        "trainer": {key: plain(cfg.trainer)[key] for key in cfg.trainer if key not in _MACHINE} | _MACHINE_DEFAULTS,
        "reference": [plain(cfg.reference), REFERENCE_VERSION],
        "data": data_identity(cfg, data),
    }
    return RunFolder(Path(cfg.runs).expanduser() / "models" / f"{stage}-{fingerprint(settings)}")


def experiment_run(cfg: DictConfig, data: SliceDataModule) -> RunFolder:
    """The folder of this experiment: config, results, figures, log."""
    chosen = {name: plain(cfg.method[name]) for name in cfg.methods}
    settings = {
        "models": [model_run(cfg, data, stage).path.name for stage in models_wanted(cfg)],
        "methods": [list(cfg.methods), chosen],
        "evaluation": plain(cfg.evaluation),
        "judges": {name: plain(cfg.judge[name]) for name in cfg.evaluation.judges},
        "query": [plain(cfg.data.query), plain(cfg.data.scanners)],
    }
    real = [name for name in cfg.data.query if name in cfg.data.real]
    if real:
        settings["real"] = {
            name: [cfg.data.real[name].paired, [scan_identity(scan) for scan in real_scans(cfg, name)]] for name in real
        }
    return RunFolder(Path(cfg.runs).expanduser() / cfg.name / f"seed{cfg.seed}-{fingerprint(settings)}")


def alone(run: RunFolder) -> AbstractContextManager[bool]:
    """Hold a run's folder: another process that wants the same run waits, then finds it done. A group holds it once."""
    return nullcontext(True) if rank() else claim(run.path / ".lock", wait=True)


def models_wanted(cfg: DictConfig) -> list[str]:
    """The stages whose networks the chosen methods and judges use; the flow, which scores every image, is the first."""
    users = [cfg.method[name] for name in cfg.methods]
    users += [cfg.judge[name] for name in OmegaConf.select(cfg, "evaluation.judges") or []]
    wanted = [stage for user in users for stage in stages_of(user)]
    return list(dict.fromkeys(["flow", *wanted]))


def data_identity(cfg: DictConfig, data: SliceDataModule) -> dict[str, Any]:
    """What is in the data, not where: every scan of each part with its files' content, and how it is preprocessed."""
    return {
        "preprocess": data.preprocess.settings(),
        "slices": [cfg.data.count, cfg.data.step],
        "scans": {part: [scan_identity(scan) for scan in scans] for part, scans in data.split().items()},
    }


def scan_identity(scan: Scan) -> list[Any]:
    files = [path for path in (scan.path, scan.mask, scan.labels, scan.lesions) if path is not None]
    return [scan.name, scan.age, *(content_key(path) if path.is_file() else None for path in files)]


def load_network(cfg: DictConfig, data: SliceDataModule, stage: str) -> torch.nn.Module:
    """The trained network of a stage, frozen and in eval mode."""
    run = model_run(cfg, data, stage)
    if not run.done:
        raise CheckpointError(
            f"{run.path}: no finished {stage} for this configuration -> train it first: "
            f"python -m harmony.train experiment={cfg.name} 'stages=[{stage}]' with the same overrides"
        )
    return load_run(run.path, stage)


def load_run(run: Path, stage: str) -> torch.nn.Module:
    """The trained network of a run folder, from nothing but the folder; frozen and in eval mode."""
    try:
        trained = OmegaConf.load(run / "config.yaml")
        network = build(trained.tasks[stage].network)
    except (OSError, YAMLError, AttributeError, ConfigKeyError) as error:
        raise CheckpointError(f"{run}: not the run folder of a trained {stage} ({error})") from error
    load_weights(network, run / "model.safetensors")
    return network.to(device()).eval().requires_grad_(False)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load safetensors weights; another architecture is one clear error."""
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}) -> delete its run folder and train again") from error
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]
        raise CheckpointError(
            f"{path}: weights of another architecture than the config's `flow` -> use the config that the run was "
            f"trained with ({path.parent / 'config.yaml'}). First difference: {first}"
        ) from error


def build_task(cfg: DictConfig, **at_hand: Any) -> Any:
    """A task of what it asks for among the objects at hand."""
    partial = build(cfg)
    wanted = inspect.signature(partial.func).parameters
    return partial(**{name: value for name, value in at_hand.items() if name in wanted})


def build_methods(
    cfg: DictConfig, networks: Mapping[str, torch.nn.Module], reference: Reference, reference_bpd: float
) -> dict[str, Method]:
    """The chosen methods by name. The flow (`density`), its bpd on held-out reference images and the reference
    statistics go to the constructors that ask for them."""
    at_hand = {"density": networks["flow"], "reference": reference, "reference_bpd": reference_bpd}
    return {name: build_method(plain(cfg.method[name]), networks, at_hand) for name in cfg.methods}


def build_method(node: dict[str, Any], networks: Mapping[str, torch.nn.Module], at_hand: dict[str, Any]) -> Method:
    """`models` in a method's config names the stages whose networks its constructor gets (null: none); `steps`, the
    configs of the methods that it is made of."""
    models = {argument: stage for argument, stage in node.get("models", {}).items() if stage is not None}
    own = at_hand | {argument: networks[stage] for argument, stage in models.items()}
    own["steps"] = {name: build_method(step, networks, at_hand) for name, step in node.get("steps", {}).items()}
    if "judge" in models:
        own["judge"] = functools.partial(entropy, networks[models["judge"]])
    partial = build(OmegaConf.create({key: value for key, value in node.items() if key not in ("models", "steps")}))
    wanted = inspect.signature(partial.func).parameters
    return partial(**{key: value for key, value in own.items() if key in wanted})


def build_logger(cfg: DictConfig, run: RunFolder) -> Any:
    """The experiment's logger. W&B is offline without a key, and goes on in the same run after a resume."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_DATA_DIR", str(Path(cfg.runs).expanduser().absolute() / ".wandb"))
    partial = build(cfg.logger)
    if cfg.logger._target_.endswith("CSVLogger"):
        return partial(save_dir=str(run.path), name="log")
    run.path.mkdir(parents=True, exist_ok=True)
    identity = f"{cfg.name}-{run.path.name}"
    logger = partial(
        name=identity,
        id=identity,
        save_dir=str(run.path),
        offline=not os.environ.get("WANDB_API_KEY"),
        config=plain(cfg),
        group=cfg.name,
        tags=[cfg.name, f"data:{cfg.data.source._target_.split('.')[-1].lower()}", f"seed:{cfg.seed}", *cfg.methods],
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning sets it, and W&B warns of it at every start
    for name, metric in TRAINING.items():  # the best validation is what runs are sorted by; the step is the optimizer's
        best = {"lower": "min", "higher": "max", None: "last"}[metric.better] if "/val_" in name else "last"
        logger.experiment.define_metric(name, step_metric="trainer/global_step", summary=best)
    return logger


def rank() -> int:
    """Of the processes that train together (DDP): this one's number. Only 0 prints, writes, evaluates."""
    return int(getattr(rank_zero_only, "rank", 0))


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _explain(error: Exception) -> str | None:
    """The one line for a mistake that the user can mend; None for a bug, which deserves its traceback."""
    if isinstance(error, HarmonyError | OmegaConfBaseException):
        return str(error)
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, HarmonyError | TypeError | ValueError):
        return f"{error.__cause__} ({str(error).splitlines()[-1]})"
    return None


def _stopped(stop: interrupts.Interrupted, job: Job | None) -> int:
    """What is left to do after a signal. The exit code."""
    if job is not None:
        job.record("interrupted", problem=str(stop))
    interrupts.requeue(stop)
    if rank():
        return 0  # Lightning kills the whole group when one of its processes fails
    print(f"stopped by {stop}: start the same command again to go on", file=sys.stderr)
    return stop.exit_code


def _fail(message: object) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


@contextmanager
def _command_of(job: Job) -> Iterator[None]:
    """The command line of this one job: what Lightning starts the other processes of a group with."""
    whole = sys.argv
    sys.argv = [whole[0], *job.overrides]
    try:
        yield
    finally:
        sys.argv = whole


def _leave_group(environment: Mapping[str, str]) -> None:
    """Undo what Lightning did to this process when it started a group: the next job of a sweep starts its own."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        if name not in environment:
            os.environ.pop(name, None)


def _finish_log() -> None:
    """Close the W&B run, if there is one: the next job of a sweep is a run of its own. An offline one can be seen."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        folder, offline = Path(wandb.run.dir).parents[1], wandb.run.offline
        wandb.finish()
        if offline and not rank():
            print(f"to see the log: wandb leet {folder}; to upload it: wandb sync {folder}/offline-run-*")


def _quiet() -> None:
    if rank():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("harmony").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|monai|torch")
