"""What each stopping rule would have kept, read off adaptations that ran all their passes; and those passes.

python experiments/ixi_harmonizing_flows/rules.py runs/ixi_harmonizing_flows/seed1-... [reference bpd]
"""

import json
import sys
from pathlib import Path

from harmony.methods import Budget, Evidence, LowestEntropy, Plateau, ReferenceLevel


def main(run: Path, reference_bpd: float) -> None:
    adaptations = {path.stem: json.loads(path.read_text()) for path in sorted((run / "adaptation").glob("*.json"))}
    whole = {name: found for name, found in adaptations.items() if "budget" in found["reason"]}
    kept_table(whole, reference_bpd)
    print()
    passes_table(whole)


def kept_table(adaptations, reference_bpd):
    print("| query | method | no adaptation | all passes | entropy | reference level | plateau | best (unknowable) |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in adaptations.items():
        trajectory, psnr = [Evidence(*each) for each in found["trajectory"]], found["psnr"]
        passes = len(trajectory) - 1
        rules = (
            Budget(passes=passes),
            LowestEntropy(passes=passes, patience=3),
            ReferenceLevel(passes=passes),
            Plateau(passes=passes, share=0.05),
        )
        cells = [f"{psnr[0]:.2f}"]
        for rule in rules:
            kept = keep(rule, trajectory, reference_bpd)
            cells.append(f"{psnr[kept]:.2f} ({kept})")
        best = max(range(len(psnr)), key=psnr.__getitem__)
        method, domain = name.split("-", 1)
        print("|", " | ".join([domain, method, *cells, f"{psnr[best]:.2f} ({best})"]), "|")


def passes_table(adaptations):
    """Before the first pass and after each."""
    print("| query | method | bpd | log-Jacobian | entropy | change, grey levels | PSNR |\n" + "|---" * 7 + "|")
    for name, found in adaptations.items():
        method, domain = name.split("-", 1)
        columns = [*zip(*found["trajectory"], strict=True), found["psnr"]]
        cells = [
            ", ".join(f"{x:.{digits}f}" for x in each) for each, digits in zip(columns, (3, 2, 3, 1, 1), strict=True)
        ]
        print("|", " | ".join([domain, method, *cells]), "|")


def keep(rule, trajectory, reference_bpd):
    """Pass by pass, as an adaptation asks it."""
    for seen in range(1, len(trajectory) + 1):
        verdict = rule.decide(trajectory[:seen], reference_bpd)
        if verdict.stop:
            break
    return verdict.keep


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else float("-inf"))
