"""The rows of several runs as one table, to six digits. Runs of several reference sites are told apart: `B into A`.

python experiments/rows.py runs/ixi_judges/seed1-* > experiments/ixi_judges/results.csv
python experiments/rows.py runs/ixi_unseen/seed1-* | gzip -9n > experiments/ixi_unseen/results.csv.gz    (above 2 MB)
"""

import csv
import sys
from pathlib import Path

from omegaconf import OmegaConf

from harmony.core import read_rows
from harmony.core.results import COLUMNS


def main(runs):
    sites = {run: "+".join(OmegaConf.load(run / "config.yaml").data.get("sites") or []) for run in runs}
    found = {}
    for run, own in sites.items():
        for row in read_rows(run / "results.csv"):
            domain = row.domain
            if len(set(sites.values())) > 1:
                domain = f"{own if domain == 'reference' else domain} into {own}"
            key = row.method, domain, row.subject, row.scan, row.metric
            if found.setdefault(key, row.value) != row.value:
                sys.exit(f"{run}: another value than before for {', '.join(key)}")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows((*key, f"{value:.6g}") for key, value in found.items())


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
