"""Build the W&B workspace that compares runs: python -m harmony.dashboard entity=NAME"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from harmony import app
from harmony.core import ConfigError
from harmony.core.files import write_atomic
from harmony.core.vocabulary import PICTURES, is_known

STEP = "trainer/global_step"


def dashboard(cfg: DictConfig) -> None:
    """Save the workspace where there is a key; otherwise write its spec as JSON."""
    sections = spec(cfg)
    if os.environ.get("WANDB_API_KEY"):
        print(f"dashboard: {save(cfg, sections)}")
        return
    path = Path(cfg.output).expanduser()
    content = {"name": cfg.name, "entity": cfg.entity, "project": cfg.project, "sections": sections}
    write_atomic(path, json.dumps(content, indent=2) + "\n")
    print(f"dashboard: no WANDB_API_KEY, so nothing was sent; {path} says what it holds")
    print("  to build it: set WANDB_API_KEY, upload the runs with `wandb sync`, and start the same command again")


def spec(cfg: DictConfig) -> list[dict[str, Any]]:
    """Sections of panels, `{method}` written out. Raises ConfigError for a metric that no run logs."""
    sections = app.plain(cfg.sections)
    for section in sections:
        for panel in section["panels"]:
            metrics = [metric.format(method=method) for metric in panel["metrics"] for method in cfg.methods]
            panel["metrics"] = list(dict.fromkeys(metrics))
            for metric in panel["metrics"]:
                if not (is_picture(metric) if panel["kind"] == "media" else is_known(metric)):
                    raise ConfigError(f"{section['name']}, {panel['title']}: no run logs {metric}")
    return sections


def is_picture(key: str) -> bool:
    return any(key == name or (name.endswith("/*") and key.startswith(name[:-1])) for name in PICTURES)


def save(cfg: DictConfig, sections: list[dict[str, Any]]) -> str:
    """Save the workspace; its address. Raises ConfigError without the package."""
    try:
        import wandb_workspaces.reports.v2 as reports
        from wandb_workspaces import workspaces
    except ImportError as error:
        raise ConfigError("a dashboard needs another package -> pip install 'harmony-mri[dashboard]'") from error
    kinds: dict[str, Callable[[dict[str, Any]], Any]] = {
        "line": lambda panel: reports.LinePlot(title=panel["title"], x=STEP, y=panel["metrics"]),
        "bar": lambda panel: reports.BarPlot(title=panel["title"], metrics=panel["metrics"]),
        "media": lambda panel: reports.MediaBrowser(title=panel["title"], media_keys=panel["metrics"]),
    }
    workspace = workspaces.Workspace(
        name=cfg.name,
        entity=cfg.entity or "",
        project=cfg.project,
        sections=[
            workspaces.Section(
                name=section["name"], panels=[kinds[panel["kind"]](panel) for panel in section["panels"]], is_open=True
            )
            for section in sections
        ],
    )
    return str(workspace.save().url)


main = app.entry_point(dashboard, config="dashboard")

if __name__ == "__main__":
    main()
