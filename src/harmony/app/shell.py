"""What every entry point stands in: a Hydra program with one clear error, signals as exit codes, jobs of a sweep."""

from __future__ import annotations

import itertools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from errno import EDQUOT, EIO, ENOSPC, EROFS

import hydra
import torch
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from harmony.app import launch  # noqa: F401  nothing is composed without it
from harmony.app.build import expand_stages
from harmony.app.configs import conf_folder, expand_groups
from harmony.app.guard import refuse_elsewhere, refuse_foreign_targets, refuse_impossible
from harmony.app.log import close_logs
from harmony.app.runs import Runs, rank
from harmony.app.sweep import Job, folder_override, objective
from harmony.core import ConfigError, HarmonyError, StorageError, interrupts
from harmony.core.machine import keep_memory


def entry_point(run: Callable[[DictConfig], Runs | None], config: str = "config") -> Callable[[], None]:
    """A Hydra program around `run`: quiet libraries, user errors in one line with exit code 2, signals as 128 + n.

    In a sweep (-m) a job that fails is named at once, and the others go on.
    """

    def checked(cfg: DictConfig) -> Runs | None:
        interrupts.check()
        refuse_foreign_targets(cfg)
        if config == "config":
            refuse_impossible(cfg)
            expand_groups(cfg)
            expand_stages(cfg)
        return run(cfg)

    def guarded(cfg: DictConfig) -> float | None:
        _quiet()
        keep_memory()
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
            close_logs()
            _leave_group(environment)
        return None

    return lambda: _start(guarded, config)


def _start(run: Callable[[DictConfig], float | None], config: str) -> None:
    """Let Hydra compose the config of the command line, and run it; exit code 2 where it cannot."""
    _refuse_words(sys.argv[1:])
    if config == "config":
        sys.argv += folder_override(sys.argv[1:])
    interrupts.watch()  # a signal that comes while the config is composed is as good as one that comes later
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise what is wrong with the words, in place of an exit with code 1
    try:
        hydra.main(version_base="1.3", config_path=conf_folder(), config_name=config)(run)()
    except Exception as error:
        message = _explain(error) or _hydra_says(error)
        if message is None:
            raise
        sys.exit(_fail(message))


def _refuse_words(words: list[str]) -> None:
    try:
        refuse_elsewhere(words)
    except ConfigError as error:
        sys.exit(_fail(error))


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


def _explain(error: Exception) -> str | None:
    """The one line for a mistake that the user can mend; None for a bug, which deserves its traceback."""
    if isinstance(error, HarmonyError):
        return str(error)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}= must be said"
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error)
    if isinstance(error, OSError) and error.errno and (error.filename or error.errno in (ENOSPC, EDQUOT, EIO, EROFS)):
        return str(StorageError(error.filename or "the disk", error.strerror or str(error)))
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, HarmonyError | TypeError | ValueError):
        return f"{error.__cause__} ({str(error).splitlines()[0].rstrip(':')})"
    return None


def _hydra_says(error: Exception) -> str | None:
    """Hydra's words for a mistake in the command line; None for an error of another kind."""
    if isinstance(error, InstantiationException) or not isinstance(error, HydraException):
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = itertools.takewhile(lambda line: not line.startswith("Config search path"), lines)
    return " ".join(said).replace("\t", " ")


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


def _quiet() -> None:
    if rank():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("harmony").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|monai|torch")
