"""A sweep (-m): a bad job does not stop the others, and at the end one table and an exit code that tells.

Each job leaves a record in the sweep's folder, whatever launcher runs it, wherever. The folder's name comes from the
command's own words: the same command, started again or beside itself, is the same sweep.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from harmony.app.runs import Runs
from harmony.core import ConfigError, DamagedError, HarmonyError, read_rows
from harmony.core.digests import read_sealed, read_yaml, write_sealed
from harmony.core.locks import claim
from harmony.core.runs import RunFolder, fingerprint

if TYPE_CHECKING:
    from harmony.analysis import SweepJob


def folder_override(words: list[str]) -> list[str]:
    """The override that gives a sweep its folder; none for a single run, or where the command names one."""
    own = sorted(word for word in words if not word.startswith(("-", "hydra")))
    if not {"-m", "--multirun"} & set(words) or any(word.startswith("hydra.sweep.dir=") for word in words):
        return []
    named = [word.split("=", 1)[1] for word in own if re.fullmatch(r"experiment=\w+", word)] or ["sweep"]
    return [f"hydra.sweep.dir=${{runs}}/sweeps/{named[0]}-{fingerprint({'words': own})}"]


class Job:
    """One job of a sweep and its record: state is running, done, failed or interrupted."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.path = folder / "jobs" / f"{fingerprint({'overrides': overrides})}.json"
        self.overrides = overrides

    @classmethod
    def current(cls) -> Job | None:
        """The job that Hydra is running; None outside a sweep."""
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN:
            return None
        return cls(Path(str(hydra.sweep.dir)).expanduser(), list(hydra.overrides.task))

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """False where another process that runs the same sweep has this job in hand."""
        with claim(self.path.with_suffix(".lock"), wait=False) as mine:
            yield mine

    def record(self, state: str, *, problem: str | None = None, runs: Mapping[str, Path] | None = None) -> None:
        """runs: stage, or evaluate -> run folder."""
        found = {stage: str(path.absolute()) for stage, path in (runs or {}).items()}
        content = {"overrides": self.overrides, "state": state, "problem": problem, "runs": found}
        write_sealed(self.path, content)


def objective(cfg: DictConfig, runs: Runs) -> float | None:
    """What a search over settings minimises or maximises: `cfg.objective`, or the last trained network's score."""
    if cfg.objective is None:
        trained = [path for stage, path in runs.items() if stage != "evaluate"]
        return float(RunFolder(trained[-1]).summary()["score"]) if trained else None
    if "evaluate" not in runs:
        raise ConfigError(f"objective={cfg.objective} is a result, and nothing was evaluated -> add evaluate to stages")
    from harmony.analysis import result_table

    table = result_table(read_rows(runs["evaluate"] / "results.csv"))
    found = table.flat_means() | table.query_means()
    if cfg.objective not in found:
        raise ConfigError(f"objective={cfg.objective}: not a result of this run; there are {', '.join(found)}")
    return found[cfg.objective]


class Summary(Callback):
    """What Hydra calls when the sweep has ended: the table, what failed, where everything is."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(str(config.hydra.sweep.dir)).expanduser()
        records = read_records(folder)
        jobs = [finished(record) for record in records if record["state"] == "done"]
        from harmony.reports import print_sweep, report_page

        if jobs:
            print_sweep(jobs, title=f"{config.name}: {data_of(records)}, {len(jobs)} of {len(records)} jobs")
        for record in records:
            where = [record["problem"]] if record["problem"] else list(record["runs"].values())[-1:]
            print(" ", f"{record['state']}:", words(record, records), "", *where)
        if any("evaluate" in record["runs"] for record in records):
            try:
                report_page([folder], folder / "report.html")
                print(f"sweep: its page is {folder / 'report.html'}")
            except HarmonyError as error:  # scored on different data: no page, but the sweep is as it is
                print(f"sweep: no page of it: {error}")
        states = Counter(record["state"] for record in records)
        print(
            f"sweep: {', '.join(f'{count} {state}' for state, count in states.items())}; records in {folder / 'jobs'}"
        )
        if states["failed"]:
            print("start the same command again: what is done is reused, what failed is tried again", file=sys.stderr)
            sys.exit(1)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of a sweep's jobs, in the order of their overrides. A damaged one is named and left out."""
    found = []
    for path in (folder / "jobs").glob("*.json"):
        try:
            found.append(read_sealed(path, ("overrides", "state", "problem", "runs")))
        except DamagedError as error:
            print(f"sweep: {error}", file=sys.stderr)
    return sorted(found, key=lambda record: [natural(word) for word in record["overrides"]])


def data_of(records: list[dict[str, Any]]) -> str:
    """The titles of the data of the done jobs."""
    folders = [Path(run) for each in records if each["state"] == "done" for run in list(each["runs"].values())[-1:]]
    return "; ".join(dict.fromkeys(str(read_yaml(folder / "config.yaml")["data"]["title"]) for folder in folders))


def finished(record: dict[str, Any]) -> SweepJob:
    """The scores and results that a done job's run folders hold."""
    runs = {stage: RunFolder(Path(path)) for stage, path in record["runs"].items()}
    results = runs.pop("evaluate", None)
    from harmony.analysis import SweepJob, result_table

    return SweepJob(
        overrides=dict(word.split("=", 1) for word in record["overrides"]),
        scores={stage: run.summary()["score"] for stage, run in runs.items()},
        results=None if results is None else result_table(read_rows(results.path / "results.csv")),
    )


def words(record: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """The overrides that not all jobs share, and the seed."""
    shared = set.intersection(*(set(each["overrides"]) for each in records))
    return " ".join(word for word in record["overrides"] if word not in shared or word.startswith("seed="))


def natural(word: str) -> tuple[str, float, str]:
    """Sorts seed=10 behind seed=9."""
    key, _, value = word.partition("=")
    try:
        return key, float(value), ""
    except ValueError:
        return key, 0.0, value
