"""How each metric is written on the page, and what it means. Which way is better: `core.vocabulary`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from harmony.core.vocabulary import RESULTS

Better = Literal["higher", "lower"]


class Metric(NamedTuple):
    """meaning: a sentence without its full stop; `[@key]` cites. better: None where neither way is."""

    label: str
    digits: int
    meaning: str
    better: Better | None = None


METRICS = {
    "psnr": Metric("PSNR dB", 1, "peak signal-to-noise ratio over the whole slice stack, at most 100 dB"),
    "psnr_brain": Metric("PSNR brain", 1, "peak signal-to-noise ratio over the pixels of the brain, in dB"),
    "ssim": Metric("SSIM", 3, "structural similarity over the whole slice stack [@wang2004]"),
    "ssim_brain": Metric("SSIM brain", 3, "structural similarity over the pixels of the brain [@wang2004]"),
    "dice": Metric("Dice", 3, "overlap of the judge's label map with the true one [@dice1945]", "higher"),
    "iou": Metric("IoU", 3, "intersection over union of the judge's label map with the true one", "higher"),
    "hd95": Metric("HD95 mm", 1, "95th percentile of the Hausdorff distance of the label maps, in mm", "lower"),
    "missed": Metric("missed", 1, "structures that the judge did not find", "lower"),
    "invented": Metric("invented", 1, "structures that the judge found where there are none", "lower"),
    "age_error": Metric("age error", 1, "absolute error of the judge's age", "lower"),
    "site": Metric("site", 2, "how well a probe tells the scanners apart", "lower"),
    "bpd": Metric("bpd", 2, "bits per dimension under the reference flow: low is likely, but so are smooth images"),
    "jitter": Metric("jitter", 2, "how unevenly neighbouring slices were changed, in grey levels of 255"),
    "seconds": Metric("s/volume", 1, "seconds per volume"),
    "fallbacks": Metric("fallbacks", 0, "non-finite slice iterations that kept their former value"),
}
FAMILIES = ("dice", "iou", "hd95", "missed", "invented", "site")  # one value per structure or kind: `dice_wm`


def describe(metric: str) -> Metric:
    """A metric that is in no list is shown plainly, with no better way."""
    family, _, member = metric.partition("_")
    if metric in METRICS:
        words = METRICS[metric]
    elif family in FAMILIES:
        words = METRICS[family]._replace(label=f"{METRICS[family].label} {member.replace('_', ' ')}")
    else:
        words = Metric(metric.replace("_", " "), 3, "")
    return words._replace(better=RESULTS[metric].better) if metric in RESULTS else words
