"""What an evaluation keeps of its images, so that a page can be built from the run folder alone.

panels/DOMAIN/SUBJECT/NAME.png   one slice, 8-bit grey: `query`, every method, and `truth` where there is one
panels/DOMAIN/SUBJECT-brain.png  the brain in that slice, white
traces/DOMAIN/SUBJECT.json       method -> quantity -> mean over slices at each iteration
histograms/DOMAIN/SUBJECT.csv    per image, pixels inside the brain in BINS bins of equal width over [0, 1]
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.image import imread, imsave

from harmony.core import Harmonized, Stack
from harmony.core.files import atomic_path, write_atomic
from harmony.reports.figures import upright

BINS = 64
SCALE = 0.3  # the difference, of the robust maximum, at the ends of the colour scale
BELOW, ABOVE = np.array([0.3, 0.65, 1.0]), np.array([1.0, 0.6, 0.15])  # told apart with any colour vision
Traces = dict[str, dict[str, list[float | None]]]


def keep(
    run: Path,
    domain: str,
    subject: str,
    query: Stack,
    truth: Stack | None,
    outcomes: Mapping[str, Harmonized],
    *,
    shown: int,
    panels: bool,
) -> None:
    """The histograms of every subject; images of slice `shown` and traces where `panels`.

    `none` is the query, and not kept twice.
    """
    made = {name: outcome.image for name, outcome in outcomes.items() if name != "none"}
    images = {"query": query.image, **({} if truth is None else {"truth": truth.image}), **made}
    masks = {} if truth is None else {"truth": truth.mask}
    counts = {name: np.histogram(image[masks.get(name, query.mask)], BINS, (0, 1))[0] for name, image in images.items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *(f"{k / BINS:g}" for k in range(BINS))])
    writer.writerows([name, *map(int, row)] for name, row in counts.items())
    write_atomic(run / "histograms" / domain / f"{subject}.csv", text.getvalue())
    if not panels:
        return
    folder = run / "panels" / domain
    pictures = {folder / subject / f"{name}.png": image for name, image in images.items()}
    pictures[folder / f"{subject}-brain.png"] = query.mask.float()
    for path, image in pictures.items():
        with atomic_path(path) as temporary:
            grey = np.rint(255 * upright(image[shown, 0])).astype(np.uint8)
            imsave(temporary, np.stack([grey] * 3, axis=-1), format="png")
    traces: Traces = {
        name: {quantity: _finite(trace.mean(1).tolist()) for quantity, trace in outcome.trace.items()}
        for name, outcome in outcomes.items()
        if outcome.trace
    }
    if traces:
        write_atomic(run / "traces" / domain / f"{subject}.json", json.dumps(traces) + "\n")


def read_histograms(run: Path, domain: str) -> dict[str, np.ndarray]:
    """Image name -> (BINS,) pixels, summed over the subjects; empty where none were kept."""
    total: dict[str, np.ndarray] = {}
    for path in sorted((run / "histograms" / domain).glob("*.csv")):
        with path.open(newline="") as file:
            for name, *counts in list(csv.reader(file))[1:]:
                total[name] = total.get(name, np.zeros(BINS)) + np.array(counts, dtype=float)
    return total


def read_traces(run: Path, domain: str) -> dict[str, Traces]:
    """Subject -> traces."""
    found = sorted((run / "traces" / domain).glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in found}


def read_panels(run: Path, domain: str) -> dict[str, dict[str, Path]]:
    """Subject -> image name -> PNG."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted((run / "panels" / domain).glob("*/*.png")):
        found.setdefault(path.parent.name, {})[path.stem] = path
    return found


def read_brain(run: Path, domain: str, subject: str) -> np.ndarray:
    """(H, W) 0 and 1: the brain in the slice of the subject's panels."""
    return (imread(run / "panels" / domain / f"{subject}-brain.png")[..., 0] > 0.5).astype(np.uint8)


def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def difference(image: Path, truth: Path) -> bytes:
    """A PNG of image - truth: BELOW, black where equal, ABOVE; full colour at +-SCALE."""
    change = ((imread(image)[..., 0] - imread(truth)[..., 0]) / SCALE).clip(-1, 1)[..., None]
    png = io.BytesIO()
    imsave(png, np.where(change > 0, change * ABOVE, -change * BELOW), format="png")
    return png.getvalue()


def _finite(values: list[float]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values]
