"""A simulated scanner as the new reference, from some of its scans: rows for results.csv.

python experiments/reference_in_a_minute/run.py data.root=/path/to/ixi-hh [references=[tissue,bias,blur,noise,mix,coil]]
    [queries=[reference,tissue,bias,blur,log,mix]] [scans=[8,20,50]] [people=22] [labels=true] > rows.csv

Training people as the new reference scanner sees them, without labels, through the installed tissue network (`harmony
reference`); test people as a query scanner sees them, brought to what the new reference scanner makes of them.
Methods: none; histogram_matching and scanner_inversion with the reference of N scans (_N), or with what all labelled
training scans of that scanner say through the same network (_labels); truth_without_noise, where the reference is
noisy: what no method is nearer than, that does not know the noise itself. domain: QUERY into REFERENCE; metric psnr,
all slices.
"""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harmony import app
from harmony.app.references import load_tissue_model
from harmony.cohort.learning import LearnedScanner
from harmony.core.reference import Reference
from harmony.core.results import COLUMNS
from harmony.data import query_scanner
from harmony.methods import HistogramMatching, ScannerInversion
from harmony.metrics import psnr
from harmony.scanner import given_labels

ABOUT = ("says", "cites", "models", "_target_", "_partial_")
DEFAULTS = {
    "references": ["tissue", "bias", "blur", "noise", "mix", "coil"],
    "queries": ["reference", "tissue", "bias", "blur", "log", "mix"],
    "scans": [8, 20, 50],
    "people": 22,
    "labels": True,
}


class Trial:
    """What does not change with the reference scanner: people, tissue network, settings of the methods."""

    def __init__(self, words: list[str]) -> None:
        asked = OmegaConf.merge(DEFAULTS, OmegaConf.from_dotlist([word for word in words if _ours(word)]))
        with initialize_config_dir(app.conf_folder(), version_base="1.3"):
            rest = [word for word in words if not _ours(word)]
            self.cfg = compose("config", overrides=["experiment=ixi_inversion", *rest])
            base = compose("reference", overrides=["input=-", "output=-"])
        self.asked, self.base, self.margin = asked, load_tissue_model(base), base.margin
        data = app.build_data(self.cfg)
        parts, most = data.split(), None if asked.labels else max(asked.scans)
        self.train = [data.preprocess(scan) for scan in parts["train"][:most]]
        self.test = [data.preprocess(scan) for scan in parts["test"][: asked.people]]

    def scanner(self, name: str):
        return (lambda volume: volume) if name == "reference" else app.scanner(self.cfg, name)

    def without_noise(self, name: str):
        """The scanner, but for its noise; None for one that has none."""
        node = {} if name == "reference" else app.plain(self.cfg.data.scanners[name])
        strength = node.get("strength")
        amounts = strength if isinstance(strength, dict) else {node.get("kind"): strength}
        if "noise" not in amounts:
            return None
        rest = {kind: amount for kind, amount in amounts.items() if kind != "noise"}
        percentile = self.cfg.data.preprocess.percentile
        return query_scanner(name, kind="mix", strength=rest, seed=node["seed"], percentile=percentile)

    def labelled(self, volumes) -> LearnedScanner:
        """From labels, as a training there would end, with the installed network's weights."""
        learner = self.base.learner(self.margin)
        reference = Reference.of(volumes, positions=learner.positions, quantiles=learner.quantiles)
        prior = learner.calibration.learn(
            volumes, [], network=learner.network, labelling=given_labels, reference=reference,
            tissues=learner.known.tissues, scanners=learner.known.scanners, known=learner.known,
        )  # fmt: skip
        return LearnedScanner(prior, reference)

    def methods(self, name: str, learned: LearnedScanner):
        """Histogram matching and scanner inversion with this reference."""
        node = app.plain(self.cfg.method.scanner_inversion)
        settings = {key: value for key, value in node.items() if key not in ABOUT}
        settings.setdefault("percentile", self.cfg.data.preprocess.percentile)
        inversion = ScannerInversion(
            map_network=self.base.network, prior=learned.prior, reference=learned.reference, **settings
        )
        matching = HistogramMatching(reference=learned.reference)
        return {f"histogram_matching_{name}": matching, f"scanner_inversion_{name}": inversion}


def main(words: list[str]) -> None:
    trial = Trial(words)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    for new in trial.asked.references:
        scanner = trial.scanner(new)
        methods: dict[str, Any] = {}
        seen = [scanner(volume) for volume in trial.train]
        for count in trial.asked.scans:
            begin = time.perf_counter()
            learned = trial.base.learner(trial.margin).learn([replace(volume, labels=None) for volume in seen[:count]])
            print(f"{new}: {count} scans in {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
            methods |= trial.methods(str(count), learned)
        if trial.asked.labels:
            methods |= trial.methods("labels", trial.labelled(seen))
        clean = trial.without_noise(new)
        for query in (name for name in trial.asked.queries if name != new):
            for volume in trial.test:
                table.writerows(rows(f"{query} into {new}", volume, trial.scanner(query), scanner, methods, clean))
                sys.stdout.flush()


@torch.no_grad()
def rows(domain, volume, query, scanner, methods, clean):
    """A person's row for each method. clean: the scanner without its noise, or None."""
    asked, truth = query(volume), scanner(volume)
    stack = asked.stack(torch.arange(len(asked.image)))
    images = {"none": stack.image, **{name: method.harmonize(stack).image for name, method in methods.items()}}
    images |= {} if clean is None else {"truth_without_noise": clean(volume).image[:, None]}
    who = volume.scan.subject
    for name, image in images.items():
        yield [name, domain, who, volume.scan.name, "psnr", f"{float(psnr(image, truth.image[:, None])):.6g}"]


def _ours(word: str) -> bool:
    return word.partition("=")[0] in DEFAULTS


if __name__ == "__main__":
    main(sys.argv[1:])
