"""Evaluated runs, read from their folders and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harmony.analysis.identity import judges_asked, settings_of, stages_used
from harmony.core import DataError, Row, read_rows
from harmony.core.digests import check_contents, read_sealed, read_yaml


@dataclass(frozen=True)
class EvaluatedRun:
    """One run folder with results.csv and config.yaml; what else is missing is empty."""

    path: Path
    config: dict[str, Any]
    rows: list[Row]
    summary: dict[str, Any]
    environment: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> EvaluatedRun:
        """Raises DataError for files that are not what an evaluation writes."""
        try:
            check_contents(path)
            config = read_yaml(path / "config.yaml")
            settings_of(config)
            rows = read_rows(path / "results.csv")
            environment = _json(path / "environment.json", needs=("python", "packages", "cpu", "gpu", "cores"))
            run = cls(path, config, rows, _json(path / "summary.json"), environment)
            strange = {row.method for row in rows} - {*config["methods"], *run.judges}
        except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:
            raise DataError(
                f"not the folder of an evaluation ({type(error).__name__}: {error})",
                cure="give folders that harmony.evaluate wrote, with config.yaml and results.csv",
                path=path,
            ) from error
        if not rows:
            raise DataError("no results in results.csv", cure="evaluate again", path=path)
        if strange:
            problem = f"results of {', '.join(sorted(strange))}, which its config.yaml does not name"
            raise DataError(problem, cure="evaluate again", path=path / "results.csv")
        return run

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def judges(self) -> list[str]:
        return judges_asked(self.config)

    @property
    def stages(self) -> list[str]:
        return stages_used(self.config)

    @property
    def trained(self) -> dict[str, dict[str, Any]]:
        """Stage -> summary of its training: kept by newer runs, else read beside the run, else only the name."""
        kept: dict[str, dict[str, Any]] = self.summary.get("trained", {})
        models = self.path.absolute().parents[1] / "models"
        return {
            stage: {"name": name} | (kept.get(stage) or _json(models / name / "summary.json"))
            for stage, name in self.summary.get("models", {}).items()
        }


class Found(NamedTuple):
    """Finished evaluations, and the run folders that have no results (with what is known about why)."""

    runs: list[EvaluatedRun]
    unfinished: dict[str, str]


def find_runs(folders: Sequence[Path]) -> Found:
    """Each folder is a run, a sweep (`jobs/*.json` say what became of each job), or holds runs.

    Raises DataError for anything else.
    """
    runs: dict[Path, EvaluatedRun] = {}
    unfinished: dict[str, str] = {}
    for folder in folders:
        candidates, without = _candidates(folder)
        unfinished |= without
        for path in candidates:
            if (path / "results.csv").exists():
                runs[path.resolve()] = EvaluatedRun.load(path)
            else:
                stopped = (path / "INTERRUPTED").exists()
                unfinished[path.name] = (
                    "stopped; the same command goes on" if stopped else "no results in it: not evaluated, or failed"
                )
        if not candidates:
            raise DataError(
                "no evaluated run in it", cure="give folders with results.csv, as harmony.evaluate writes", path=folder
            )
    if not runs:
        raise DataError(
            f"nothing was evaluated: {'; '.join(f'{name}: {why}' for name, why in unfinished.items())}",
            cure="finish with harmony.evaluate",
            path=folders[0],
        )
    return Found(list(runs.values()), unfinished)


def _candidates(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The run folders of a folder, and the jobs that have none."""
    if not folder.is_dir():
        raise DataError("no such folder", cure="give run folders, or the folder of a sweep", path=folder)
    candidates = [folder] if _is_run(folder) else sorted(filter(_is_run, folder.iterdir()))
    without: dict[str, str] = {}
    for path in sorted((folder / "jobs").glob("*.json")):
        job = read_sealed(path, needs=("overrides", "state", "problem", "runs"))
        if "evaluate" in job["runs"]:
            candidates.append(Path(job["runs"]["evaluate"]))
        else:
            without[" ".join(job["overrides"])] = job["problem"] or f"{job['state']}, nothing evaluated"
    return candidates, without


def _is_run(path: Path) -> bool:
    named = path.is_dir() and path.name.startswith("seed")
    return (path / "results.csv").exists() or (named and not (path / "model.safetensors").exists())


def _json(path: Path, needs: Collection[str] = ()) -> dict[str, Any]:
    return read_sealed(path, needs) if path.exists() else {}
