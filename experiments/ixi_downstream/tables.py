"""The record's tables, from results.csv alone: python experiments/ixi_downstream/tables.py results.csv

ComBat's rows are made here from the volumes and ages in it, where the evaluation did not ask for them.
"""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from harmony.core import REFERENCE, Row, read_rows
from harmony.core.vocabulary import describe
from harmony.judges import Cohort, FeatureComBat
from harmony.reports import result_table

METRICS = ("psnr", "dice", "hd95", "iou", "age_error", "site_frozen", "site_retrained")
TISSUES = ("csf", "gm", "wm")


def main(path: Path) -> None:
    rows = read_rows(path)
    table = result_table([*rows, *combat(rows)])
    domains = list(dict.fromkeys(row.domain for row in rows))
    methods = list(dict.fromkeys(key[1] for key in table.cells))
    for metric in METRICS:
        of_metric(table, metric, domains, methods)
    queries = [domain for domain in domains if domain != REFERENCE]
    print("\n### Share of the lost Dice that came back, %\n")
    heading(queries)
    for method in methods:
        shares = [table.recovered(domain, method) for domain in queries]
        line(method, [100 * share.mean if share else None for share in shares], 0)
    print("\n### Volumes as segmented, ml: mean |difference| to those of the untouched reference scan\n")
    wanted = [(tissue, domain) for tissue in TISSUES for domain in ("bias", "noise", "mix")]
    heading([f"{tissue} on {domain}" for tissue, domain in wanted])
    for method in methods:
        line(method, [off(table, domain, method, f"volume_{tissue}_ml") for tissue, domain in wanted], 1)


def combat(rows):
    if any(row.method == "combat" for row in rows):
        return
    judge, measured = FeatureComBat(empirical_bayes=True), defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row.method == "none":
            measured[row.domain][row.subject][row.metric] = row.value
    kept = {
        domain: {subject: judge.observe(None, None, found) for subject, found in subjects.items()}
        for domain, subjects in measured.items()
    }
    for domain in [name for name in kept if name != REFERENCE]:
        for metric, values in judge.conclude(Cohort(domain, kept[domain], kept[REFERENCE])).items():
            yield from (Row("combat", domain, subject, metric, value) for subject, value in values.items())


def of_metric(table, metric, domains, methods):
    words = describe(metric)
    print(f"\n### {words.label}\n\n{words.meaning.split(' [@')[0]}.\n")
    heading([*domains, "mean of the query scanners"])
    for method in methods:
        cells = {domain: table.cells.get((domain, method, metric)) for domain in domains}
        query = [cell.mean for domain, cell in cells.items() if cell and domain != REFERENCE]
        line(method, [*(cell and cell.mean for cell in cells.values()), fmean(query) if query else None], words.digits)


def off(table, domain, method, metric):
    values = table.values.get((domain, method, metric), {})
    true = table.values[REFERENCE, "none", metric]
    return fmean(abs(value - true[name]) for name, value in values.items()) if values else None


def heading(columns):
    print("| method |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|")


def line(method, values, digits):
    if any(value is not None for value in values):
        print("|", method, "|", " | ".join("-" if v is None else f"{v:.{digits}f}" for v in values), "|")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
