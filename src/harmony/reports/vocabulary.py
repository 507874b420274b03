"""What each metric is called, how it is written, and which way is better: one home for all tables and figures."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """better: None where neither way is. cost: what a method takes, not how good its image is: nothing is tested.

    meaning: a sentence without its full stop; `[@key]` cites.
    """

    label: str
    digits: int
    better: Literal["higher", "lower"] | None
    meaning: str
    cost: bool = False


METRICS = {
    "psnr": Metric("PSNR dB", 1, "higher", "peak signal-to-noise ratio over the whole slice stack, at most 100 dB"),
    "psnr_brain": Metric("PSNR brain", 1, "higher", "peak signal-to-noise ratio over the pixels of the brain, in dB"),
    "ssim": Metric("SSIM", 3, "higher", "structural similarity over the whole slice stack [@wang2004]"),
    "ssim_brain": Metric("SSIM brain", 3, "higher", "structural similarity over the pixels of the brain [@wang2004]"),
    "dice": Metric("Dice", 3, "higher", "overlap of the judge's label map with the true one [@dice1945]"),
    "iou": Metric("IoU", 3, "higher", "intersection over union of the judge's label map with the true one"),
    "hd95": Metric("HD95 mm", 1, "lower", "95th percentile of the Hausdorff distance of the label maps, in mm"),
    "missed": Metric("missed", 1, "lower", "structures that the judge did not find"),
    "invented": Metric("invented", 1, "lower", "structures that the judge found where there are none"),
    "age_error": Metric("age error", 1, "lower", "absolute error of the judge's age"),
    "site": Metric("site", 2, "lower", "how well a probe tells the scanners apart"),
    "bpd": Metric(
        "bpd",
        2,
        None,
        "bits per dimension under the reference flow: lower is likelier, but smooth images are likely too",
    ),
    "jitter": Metric("jitter", 2, None, "how unevenly neighbouring slices were changed, in grey levels of 255"),
    "seconds": Metric("s/volume", 1, "lower", "seconds per volume", cost=True),
    "fallbacks": Metric("fallbacks", 0, "lower", "non-finite slice iterations that kept their former value", cost=True),
}
FAMILIES = ("dice", "iou", "hd95", "missed", "invented", "site")  # one value per structure or kind: `dice_wm`


def describe(metric: str) -> Metric:
    """A metric that is not in the list is shown plainly, with no better way."""
    family, _, member = metric.partition("_")
    if metric not in METRICS and family in FAMILIES:
        words = METRICS[family]
        return words._replace(label=f"{words.label} {member.replace('_', ' ')}")
    return METRICS.get(metric, Metric(metric.replace("_", " "), 3, None, ""))
