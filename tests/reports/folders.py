"""Run folders as an evaluation leaves them, made up: two methods, two domains, three subjects."""

import json
import shutil

import torch
from configs import composed
from omegaconf import OmegaConf

from harmony.core import Harmonized, Row, Stack, write_rows
from harmony.core.runs import RunFolder
from harmony.reports import PlanePicture, QualityEntry, before_after_figure, keep, quality_page
from harmony.reports.study import StudyPage, StudyScan, StudyTable, study_page

METHODS = ["none", "histogram_matching", "blindharmony", "harmonizing_flows"]
SUBJECTS = ["sub-1", "sub-2", "sub-3"]
DOMAINS = ["reference", "gamma_0.7"]


def config(*overrides):
    return composed("name=made_up", f"methods=[{','.join(METHODS)}]", *overrides)


def value(seed, method, domain, subject):
    """PSNR: better by 1, 2, 3 dB for the k-th method, plus a little per subject and seed."""
    return 20.0 + METHODS.index(method) + 0.1 * SUBJECTS.index(subject) + 0.01 * seed - 2 * (domain == "reference")


def run_folder(root, seed=1, *overrides, name=None, rows=None):
    """One finished run with everything kept."""
    cfg = config(f"seed={seed}", "data.query=[gamma_0.7]", "evaluation.subjects=3", *overrides)
    run = RunFolder(root / "made_up" / (name or f"seed{seed}-0123abcd"))
    run.begin(OmegaConf.to_yaml(cfg, resolve=True))
    write_rows(run.path / "results.csv", made_up_rows(seed) if rows is None else rows)
    for domain in DOMAINS:
        for subject in SUBJECTS:
            keep(run.path, domain, subject, *images(seed), shown=1, panels=subject == SUBJECTS[0])
        record = {
            "trajectory": [[3.2, 0.1, 0.5, 9.0], [3.1, 0.1, float("nan"), 8.0]], "kept": 1, "reason": "made up",
            "outcome": "adapted", "adapt_on": "test", "subjects": SUBJECTS, "psnr": [20.0, 21.0],
        }  # fmt: skip
        path = run.path / "adaptation" / f"harmonizing_flows-{domain}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))
    trained = {"score": 2.819, "monitor": "flow/val_bpd", "parameters": 569540, "seconds": 1110.4}
    run.finish({"models": {"flow": "flow-1"}, "trained": {"flow": trained}, "skipped": ["sub-broken"]})
    return run.path


def quality_folder(root):
    """The quality page of three scans: one changed a little, one left alone, one changed much."""
    plane = made_up_plane(reference=True)
    histograms = {name: torch.rand(64).numpy() for name in ("before", "after", "reference")}
    facts = [
        ("decision", "outside of what is known"),
        ("gains", "csf 0.96 ± 0.02, grey 1.08 ± 0.03, white 0.89 ± 0.01"),
    ]
    changes = {"little_T1w": 0.01, "much_T1w": 0.12, "alone_T1w": 0.0}
    (root / "figures").mkdir()
    before_after_figure(root / "figures" / "one.png", [plane] * 3, histograms)
    for name in changes:
        shutil.copy(root / "figures" / "one.png", root / "figures" / f"{name}.png")
    entries = [
        QualityEntry(
            name, change, root / "figures" / f"{name}.png",
            left_alone="nothing was needed" if name == "alone_T1w" else None, facts=facts,
            settings={"Method": "x" * 9, "Model": "ixi-hh", "MethodSettings": {"matching": 0.3}},
        )
        for name, change in changes.items()
    ]  # fmt: skip
    quality_page(root / "quality.html", entries, ["[sub-9] broken <b>"])
    return root / "quality.html"


def made_up_study(root):
    """The page of a study of three sites: its widest table, a long name, a picture."""
    before_after_figure(root / "one.png", [made_up_plane(reference=True)] * 3, {"before": torch.rand(48).numpy()})
    metrics = ["grey/white contrast", "fluid/white contrast", "volume of fluid, ml"]
    columns = ["site", "people", *(f"{name}, {when}" for name in metrics for when in ("before", "after"))]
    rows = [[f"Siemens Magnetom Prisma {k}", "12", *["0.713 ± 0.021"] * 6] for k in range(3)]
    shares = torch.rand(3, 48).numpy()
    histograms = {when: {row[0]: each for row, each in zip(rows, shares, strict=True)} for when in ("before", "after")}
    scan = StudyScan(
        "sub-OAS30001_ses-M00_acq-mprage_run-01", rows[0][0], "contrast 0.5, the others 0.7", root / "one.png"
    )
    page = StudyPage(
        "harmony: 3 sites into Siemens Magnetom Prisma 0", ["age follows the site (mean years: A 40, B 60)"],
        ["B: not told from A any more (balanced accuracy 0.51 [0.40, 0.62], before 0.98 [0.93, 1.00])."],
        [StudyTable("Contrast", "Medians.", columns, rows)], histograms, (0.0, 1.6), [scan], ["sub-9: truncated"],
    )  # fmt: skip
    study_page(root / "study.html", page)
    return root / "study.html"


def made_up_plane(*, reference):
    """A plane of the first scan of `images`."""
    query, truth, outcomes = images(1)
    before, after, mask = (each[1, 0].numpy() for each in (truth.image, outcomes["none"].image, truth.mask))
    return PlanePicture(("L", "R"), before, after, mask, query.image[1, 0].numpy() if reference else None)


def made_up_rows(seed):
    rows = []
    for method in METHODS:
        for domain in DOMAINS:
            for subject in SUBJECTS:
                psnr = value(seed, method, domain, subject)
                found = {"psnr": psnr, "bpd": 60 / psnr, "warp_factor": psnr / 7, "hd95_wm": psnr / 9, "seconds": 2.0}
                rows += [Row(method, domain, subject, metric, v) for metric, v in found.items()]
    return rows


def images(seed):
    """A bright disc under three gains, and the trace of two iterations."""
    place = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 32), indexing="ij"))
    mask = (place.square().sum(0) < 0.8).expand(3, 1, -1, -1)
    slices = torch.tensor([0.8, 1.0, 0.9])[:, None, None, None]
    image = torch.where(mask, slices * (0.5 + 0.3 * torch.cos(5 * place.sum(0))), 0)
    truth, query = (Stack(gain * image, mask, torch.linspace(0, 1, 3)) for gain in (1.0, 0.6))
    trace = {"bpd": torch.full((2, 3), 3.0), "fallback": torch.zeros(2, 3)}
    gains = dict(zip(METHODS, (0.6, 0.7, 0.8 + 0.01 * seed, 0.9), strict=True))
    outcomes = {m: Harmonized(gain * image, trace if m == "blindharmony" else {}) for m, gain in gains.items()}
    return query, truth, outcomes
