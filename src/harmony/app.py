"""What the entry points share: the configuration, safe construction, one clear error, runs and their models."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file

from harmony import __version__
from harmony.core import CheckpointError, ConfigError, HarmonyError, interrupts
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder, fingerprint
from harmony.data import SliceDataModule
from harmony.flows import ImageDensity
from harmony.methods import Method

# What a config may build: public names of the rooms, and these few of others. Anything else (`os.system`,
# `pathlib.Path.unlink`) is refused before a single object is made.
_ALLOWED = re.compile(
    r"harmony\.(data|distances|downstream|flows|methods|networks|tasks)\.[A-Za-z]\w*"
    r"|torch\.optim\.[A-Z]\w*|lightning\.pytorch\.Trainer|lightning\.pytorch\.loggers\.(WandbLogger|CSVLogger)"
)


STAGES = ("flow", "evaluate")


def conf_folder() -> str:
    """The configs: beside `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parent
    checkout = package.parents[1] / "conf"
    return str(checkout if (checkout / "config.yaml").exists() else package / "conf")


def entry_point(run: Callable[[DictConfig], None]) -> Callable[[], None]:
    """A Hydra program around `run`: quiet libraries, user errors in one line with exit code 2, signals as 128 + n."""

    def guarded(cfg: DictConfig) -> None:
        _quiet()
        interrupts.watch()
        try:
            check(cfg)
            run(cfg)
        except (HarmonyError, OmegaConfBaseException) as error:
            sys.exit(_fail(error))
        except InstantiationException as error:
            if isinstance(error.__cause__, HarmonyError | TypeError | ValueError):
                sys.exit(_fail(error.__cause__, where=str(error).splitlines()[-1]))
            raise
        except interrupts.Interrupted as signal:
            print(f"stopped by {signal}: start the same command again to go on", file=sys.stderr)
            sys.exit(signal.exit_code)

    def program() -> None:
        for argument in sys.argv[1:]:
            if ".." in argument.split("=", 1)[-1] and re.match(
                r"[+~]*[\w/@.]*experiment\b|--config|-c[dpn]\b", argument
            ):
                sys.exit(_fail(ConfigError(f"{argument}: '..' is not allowed in the name of a config")))
        hydra.main(version_base="1.3", config_path=conf_folder(), config_name="config")(guarded)()

    return program


def check(cfg: DictConfig) -> None:
    """Refuse what cannot work before anything is read, trained or written."""
    refuse_foreign_targets(cfg)
    known = {"stages": STAGES, "methods": list(cfg.method), "data.query": list(cfg.data.scanners)}
    for key, names in known.items():
        unknown = [name for name in OmegaConf.select(cfg, key) if name not in names]
        if unknown:
            raise ConfigError(f"{key}={unknown}: unknown; there are {', '.join(names)}")
    height, width = cfg.data.preprocess.size
    unit = 2**cfg.flow.levels
    if height % unit or width % unit:
        fitting = f"[{-(-height // unit) * unit},{-(-width // unit) * unit}]"
        raise ConfigError(
            f"data.preprocess.size=[{height},{width}]: a flow of {cfg.flow.levels} levels needs sizes divisible by "
            f"{unit} -> use data.preprocess.size={fitting}"
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


def build_data(cfg: DictConfig) -> SliceDataModule:
    """The data module of `cfg.data`, with the batch size of flow training."""
    return SliceDataModule(
        source=build(cfg.data.source),
        preprocess=build(cfg.data.preprocess),
        cache_dir=Path(cfg.data.cache).expanduser(),
        shares=plain(cfg.data.shares),
        split_seed=cfg.data.split_seed,
        count=cfg.data.count,
        step=cfg.data.step,
        batch_size=cfg.tasks.flow.batch_size,
        seed=cfg.seed,
    )


def flow_run(cfg: DictConfig, data: SliceDataModule) -> RunFolder:
    """Where the flow of this config is, or will be. Found by what decides its weights, wherever the files lie."""
    settings = {
        "version": __version__,
        "seed": cfg.seed,
        "flow": plain(cfg.flow),
        "task": plain(cfg.tasks.flow),
        "trainer": plain(cfg.trainer),
        "reference": plain(cfg.reference),
        "data": data_identity(cfg, data),
    }
    return RunFolder(Path(cfg.runs) / "models" / f"flow-{fingerprint(settings)}")


def experiment_run(cfg: DictConfig, data: SliceDataModule) -> RunFolder:
    """The folder of this experiment: config, results, figures, log."""
    chosen = {name: plain(node) for name, node in cfg.method.items() if name in cfg.methods}
    settings = {
        "flow": flow_run(cfg, data).path.name,
        "stages": plain(cfg.stages),
        "methods": [list(cfg.methods), chosen],
        "evaluation": plain(cfg.evaluation),
        "query": [plain(cfg.data.query), plain(cfg.data.scanners)],
    }
    return RunFolder(Path(cfg.runs) / cfg.name / f"seed{cfg.seed}-{fingerprint(settings)}")


def data_identity(cfg: DictConfig, data: SliceDataModule) -> dict[str, Any]:
    """What is in the data, not where: the scans of each part and how they are preprocessed."""
    return {
        "preprocess": plain(cfg.data.preprocess),
        "slices": [cfg.data.count, cfg.data.step],
        "scans": {part: [scan.name for scan in scans] for part, scans in data.split().items()},
    }


def load_density(run: RunFolder, cfg: DictConfig) -> ImageDensity:
    """The trained flow of a run, frozen and in eval mode."""
    if not run.done:
        raise CheckpointError(
            f"{run.path}: no finished flow for this configuration -> train it first: "
            f"python -m harmony.train experiment={cfg.name} with the same overrides"
        )
    density = build(cfg.flow)
    load_weights(density, run.path / "model.safetensors")
    return density.to(device()).eval().requires_grad_(False)


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


def build_methods(cfg: DictConfig, density: ImageDensity, reference: Reference) -> dict[str, Method]:
    """The chosen methods by name. A constructor gets of (density, reference) what it asks for."""
    at_hand = {"density": density, "reference": reference}
    methods = {}
    for name in cfg.methods:
        partial = build(cfg.method[name])
        wanted = inspect.signature(partial.func).parameters
        methods[name] = partial(**{key: value for key, value in at_hand.items() if key in wanted})
    return methods


def build_logger(cfg: DictConfig, run: RunFolder) -> Any:
    """The experiment's logger. W&B is offline without a key, and goes on in the same run after a resume."""
    os.environ.setdefault("WANDB_SILENT", "true")
    partial = build(cfg.logger)
    if cfg.logger._target_.endswith("CSVLogger"):
        return partial(save_dir=str(run.path), name="log")
    run.path.mkdir(parents=True, exist_ok=True)
    identity = f"{cfg.name}-{run.path.name}"
    return partial(
        name=identity,
        id=identity,
        save_dir=str(run.path),
        offline=not os.environ.get("WANDB_API_KEY"),
        config=plain(cfg),
    )


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _fail(error: BaseException, where: str = "") -> int:
    print(f"error: {error}" + (f" ({where})" if where else ""), file=sys.stderr)
    return 2


def _quiet() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("harmony").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|monai|torch")
