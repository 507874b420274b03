"""Harmonize a scan or a BIDS folder: python -m harmony.harmonize input=IN output=OUT [model=RUN] [method=NAME]"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from harmony import app
from harmony.core import ConfigError
from harmony.delivery import Outcome, Request, deliver, read_filter

PASSED = ("mask", "participants", "sessions", "workers", "skip_done", "skip_bad", "original_scale", "bits_per_dim")


def harmonize(cfg: DictConfig) -> None:
    """Every scan of the input into the output. Exits with code 1 where one could not be harmonized."""
    applied = app.load_applied(cfg)
    outcome = deliver(requested(cfg, applied.card.contrast), applied, command())
    if outcome is not None:
        tell(outcome, cfg.output)


def requested(cfg: DictConfig, contrast: str) -> Request:
    """The config as plain values. Raises ConfigError for values that cannot be."""
    plain = app.plain(cfg)
    if not isinstance(cfg.workers, int) or cfg.workers < 1:
        raise ConfigError(f"workers={cfg.workers}: a whole number, at least 1")
    if cfg.original_scale not in (True, False, None):
        raise ConfigError(f"original_scale={cfg.original_scale}: not true, false or null")
    sources, wanted = plain["input"], cfg.bids_filter_file
    return Request(
        sources=[Path(each).expanduser() for each in (sources if isinstance(sources, list) else [sources])],
        output=Path(cfg.output).expanduser(),
        method=cfg.method_name,
        settings=plain["method"],
        bids_filter=wanted and read_filter(Path(wanted).expanduser(), contrast),
        **{name: plain[name] for name in PASSED},
    )


def command() -> list[str]:
    """What starts a further process of this call."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)  # a `${...}` stays one
    return [sys.executable, "-m", "harmony.harmonize", *cast("list[str]", typed)]


def tell(outcome: Outcome, output: str) -> None:
    """How it went, on screen. Exits with code 1 for a bad scan."""
    counts = f"{outcome.harmonized} scans harmonized, {outcome.done} were done, {len(outcome.bad)} bad"
    print(f"{counts}; peak memory {peak_memory_gb():.1f} GB")
    print(f"results in {output}" + (f", quality page {outcome.page}" if outcome.page else ""))
    for error in outcome.bad:
        print(f"bad: {error}", file=sys.stderr)
    if outcome.bad:
        sys.exit(1)


def peak_memory_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


main = app.entry_point(harmonize, config="harmonize")

if __name__ == "__main__":
    main()
