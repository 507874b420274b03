"""What was used, in words that can be pasted into a paper, with the numbers of the run's own config.

A config node says what it is (`says`) and whom to cite for it (`cites`); both come from its YAML. A node that says
nothing (of an older run, or not ours) is named with its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harmony.analysis import Comparison, EvaluatedRun, Group
from harmony.core.vocabulary import describe
from harmony.reports.citations import uncited

# torch's own, which have no YAML.
OPTIMIZERS = {"torch.optim.Adam": "Adam [@kingma2015]", "torch.optim.AdamW": "AdamW [@loshchilov2019]"}

SCANNERS = {
    "exp": "e^x",
    "log": "log(1 + 3x)",
    "gamma": "x^g",
    "tissue": "a gain of its own for each tissue",
    "bias": "a smooth shading",
    "blur": "a Gaussian blur",
    "noise": "Rician noise [@gudbjartsson1995]",
    "mix": "tissue contrast, shading, blur and Rician noise [@gudbjartsson1995] together",
}


def methods_text(comparison: Comparison) -> list[str]:
    """Paragraphs with `[@...]` citations, of one run of each group."""
    groups = [paragraph for group in comparison.groups for paragraph in _of_group(group)]
    return [_data(comparison), *groups, _scores(comparison)]


def words(node: Mapping[str, Any]) -> str:
    """What a config node is, and the nodes in it."""
    if _trains(node):
        return f"{OPTIMIZERS[node['_target_']]} at learning rate {node['lr']:g}"
    adapts = node.get("trainable", "all") is not None  # without it, the optimizer and the stopping rule have no use
    return ", ".join([said(node), *(_inside(node) if adapts else [])])


def said(node: Mapping[str, Any]) -> str:
    """Its own words with `[@...]` citations."""
    if "says" not in node:
        plain = ", ".join(
            f"{key} {value}" for key, value in node.items() if key[0] != "_" and isinstance(value, int | float | str)
        )
        return str(node["_target_"]).rsplit(".", 1)[-1] + (f" ({plain})" if plain else "")
    cites = "; ".join(f"@{key}" for key in node.get("cites", []))
    return f"{str(node['says']).strip()}{f' [{cites}]' if cites else ''}"


def briefly(node: Mapping[str, Any]) -> str:
    """Its own words without citations, and without what stands in brackets at their end: the numbers."""
    own = re.sub(r" \(.*\)$", "", uncited(said(node)))
    steps = ", then ".join(briefly(step) for step in node.get("steps", {}).values())
    return f"{own}: {steps}" if steps else own


def data_name(run: EvaluatedRun) -> str:
    """The data in a few words, for a title."""
    data = run.config["data"]
    return str(data.get("title") or said(_told(data)))


def _inside(node: Mapping[str, Any]) -> Iterator[str]:
    for value in node.values():
        if isinstance(value, Mapping):
            if "says" in value or _trains(value):
                yield words(value)
            else:
                yield from _inside(value)


def _trains(node: Mapping[str, Any]) -> bool:
    """An optimizer with a rate of its own: the one of a guidance's walk is a detail of its words."""
    return node.get("_target_") in OPTIMIZERS and "lr" in node


def _data(comparison: Comparison) -> str:
    config, data = comparison.runs[0].config, comparison.runs[0].config["data"]
    shares, part = data["shares"], config["evaluation"]["part"]
    real = [name for name in data["query"] if name not in data["scanners"]]
    simulated = "; ".join(f"{name} ({_scanner(data['scanners'][name])})" for name in data["query"] if name not in real)
    scanners = [
        f"Query scanners were simulated from the {part} scans, whose originals are the truth: {simulated}."
    ] * bool(simulated) + [f"{name} is a scanner of its own: {_real(data, name)}." for name in real]
    scored_all = comparison.runs[0].summary.get("slices") == "all"
    whole = ", in training and as the middle slices of the scores; all slices of the brain were harmonized and scored"
    whole = whole if scored_all else ""
    corrected = " Shading was corrected by N4 [@tustison2010]." if data["preprocess"].get("n4") else ""
    return (
        f"Data. We used {said(_told(data))}{_which(data['source'])}, split by subject into {shares['train']:.0%} for "
        f"training, {shares['val']:.0%} for validation and {shares['test']:.0%} for test; {len(comparison.subjects)} "
        f"{part} subjects were scored.{corrected} {said(data['preprocess'])}, {data['count'] or 'all'} slices a "
        f"subject, {data['step']} apart{whole}. {' '.join(scanners)}"
    )


def _of_group(group: Group) -> Iterator[str]:
    run = group.runs[0]
    label = f" ({group.label})" if group.label else ""
    yield f"Networks{label}. {' '.join(_stage(run, stage) for stage in run.stages)}"
    chosen = [f"{name}: {words(run.config['method'][name])}" for name in run.config["methods"]]
    adapted = ""
    if any((run.path / "adaptation").glob("*.json")):
        seen = run.summary.get("adapt_on") or run.config["evaluation"].get("adapt_on", "scored")
        adapted = f" Methods that adapt saw the unlabelled query scans of the {seen} subjects."
    yield f"Methods{label}. {'; '.join(chosen)}.{adapted}"
    if run.judges:
        asked = [f"{name}: {words(run.config['judge'][name])}" for name in run.judges]
        yield f"Judges{label}. {'; '.join(asked)}."


def _scores(comparison: Comparison) -> str:
    meanings = {describe(name).meaning: describe(name).label for name in reversed(comparison.metrics)}  # a family once
    metrics = [f"{label}, {meaning}" for meaning, label in reversed(meanings.items()) if meaning]
    tests = (
        "Each method was compared with no harmonization on the same subjects by the two-sided Wilcoxon signed-rank "
        "test [@wilcoxon1945]; p-values were adjusted by Holm's procedure [@holm1979] over all methods and query "
        "scanners of a metric, the untouched reference left out."
        if comparison.tests
        else ""
    )
    folds = (
        "; of values that are cross-validated they allow for the folds' shared subjects [@nadeau2003]"
        if any(describe(name).cross_validated for name in comparison.metrics)
        else ""
    )
    seeds = comparison.groups[0].seeds
    pooled = "Values are means over the seeds, per subject. " if len(seeds) > 1 else ""
    packages = comparison.runs[0].environment.get("packages", {})
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("harmony-mri", "torch", "lightning", "monai") if name in packages
    )
    return (
        f"Scores. {'; '.join(metrics)}. {pooled}Intervals are Student's 95 % intervals [@student1908] of the "
        f"mean over subjects, from 3 subjects on; a subject's scans count once, with their mean{folds}. {tests} "
        f"Random seeds: {', '.join(map(str, seeds))}. Software: {versions or 'not recorded'}."
    )


def _stage(run: EvaluatedRun, stage: str) -> str:
    """`flow: a ..., trained for 400 steps of 16 with Adam ..., validation flow/val_bpd 2.819 (seed 1)`."""
    node = run.config["tasks"][stage]
    trained = run.trained.get(stage, {})
    parts = [f"{stage.replace('_', ' ').capitalize()}: {said(node if 'says' in node else node['network'])}"]
    if "parameters" in trained:
        parts.append(f"{trained['parameters']:,} parameters")
    unit = "volumes" if node.get("whole_volumes") else "slices"
    training = f"trained for {node['max_steps']} steps of {node['batch_size']} {unit}"
    if "query" in node:
        training += f" from the query scanner {node['query']}"
    extra = list(_inside(node["module"]))
    parts.append(training + (f" ({', '.join(extra)})" if extra else ""))
    if "score" in trained:
        parts.append(f"validation {trained.get('monitor', 'score')} {trained['score']:.3f} (seed {run.seed})")
    return ", ".join(parts) + "."


def _told(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node with the words about the data: the data set's, or, of an older run, its source."""
    return data if "says" in data else data["source"]


def _which(source: Mapping[str, Any]) -> str:
    """` (HH, IOP)`: the sites, the scanner, or the name of the folder."""
    folder = str(source.get("root") or source.get("path") or "")
    named = source.get("sites") or source.get("scanner") or Path(folder).name
    return f" ({named if isinstance(named, str) else ', '.join(named)})" if named else ""


def _real(data: Mapping[str, Any], name: str) -> str:
    """Where its scans are from, and what they are compared with."""
    node = data["real"][name]
    own = "_target_" in node["source"]
    source = node["source"] if own else data["source"] | node["source"]
    truth = "the truth is the same subject's reference scan" if node["paired"] else "of other people, so without truth"
    return f"{said(source if own else _told({**data, 'source': source}))}{_which(source)}; {truth}"


def _scanner(settings: Mapping[str, Any]) -> str:
    kind, strength = settings["kind"], settings["strength"]
    known = SCANNERS.get(kind, kind)
    if isinstance(strength, Mapping):
        return f"{known}, strengths {', '.join(f'{k} {v:g}' for k, v in strength.items())}"
    if strength is None:
        return known
    return f"{known}, {'g =' if kind == 'gamma' else 'strength'} {strength:g}"
