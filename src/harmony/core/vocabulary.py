"""Every name under which a number is logged, what it means, and which way is better: one list for all.

Training logs `<task>/<metric>` against the optimizer step. Evaluation logs `result/<domain>/<method>/<metric>`, the
mean over subjects, and `result/mean/<method>/<metric>`, the mean over the query domains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """label: with the unit. better: None where neither way is. meaning: in a few words; `[@key]` cites a reference.

    cross_validated: each subject's value is of a classifier that was fitted to the others (`analysis.mean_interval`).
    """

    label: str
    better: Literal["higher", "lower"] | None = None
    digits: int = 3
    meaning: str = ""
    cross_validated: bool = False


TRAINING = {
    "flow/train_bpd": Metric("bits per dimension of training slices", "lower"),
    "flow/val_bpd": Metric("bits per dimension of validation slices", "lower"),
    "flow/val_bpd_altered": Metric("bits per dimension of altered validation slices", "higher"),
    "flow/val_ordered": Metric("share of altered validation slices that cost more than they did clean", "higher"),
    "flow/guidance_acts": Metric("share of altered training slices whose likelihood has a gradient"),
    "harmonizer/train_mse": Metric("squared error of training slices, grey levels of 255", "lower"),
    "harmonizer/val_mse": Metric("squared error of validation slices, grey levels of 255", "lower"),
    "segmenter/train_loss": Metric("cross-entropy + 1 - soft Dice of training slices", "lower"),
    "segmenter/val_dice_error": Metric("1 - Dice of validation slices", "lower"),
    "age/train_mae": Metric("age error of training subjects, years", "lower"),
    "age/val_mae": Metric("age error of validation subjects, years", "lower"),
    "tissue/train_loss": Metric("cross-entropy of the tissue maps, training volumes", "lower"),
    "tissue/val_loss": Metric("cross-entropy of the tissue maps, validation volumes", "lower"),
    "unet/train_error": Metric("absolute error of training slices, grey levels of 255", "lower"),
    "unet/val_error": Metric("absolute error of validation slices, grey levels of 255", "lower"),
    **{
        f"cyclegan/{part}_{term}": Metric(
            f"{words}, {slices} slices", None if term in ("critics", "adversarial") else "lower"
        )
        for part, slices in (("train", "training"), ("val", "validation"))
        for term, words in (
            ("adversarial", "least-squares loss of the generators"),
            ("critics", "least-squares loss of the critics"),
            ("cycle", "cycle loss"),
            ("identity", "identity loss"),
        )
    },
    "cyclegan/val_loss": Metric("weighted loss of the generators, validation slices", None),
}

RESULTS = {
    "psnr": Metric("PSNR dB", "higher", 1, "peak signal-to-noise ratio over all slices of the brain, at most 100 dB"),
    "psnr_brain": Metric("PSNR brain", "higher", 1, "peak signal-to-noise ratio over the pixels of the brain, in dB"),
    "psnr_middle": Metric("PSNR middle", "higher", 1, "PSNR over the middle slices, which the papers score"),
    "psnr_brain_middle": Metric("PSNR brain middle", "higher", 1, "PSNR over the brain in the middle slices"),
    "psnr_brain_rim": Metric(
        "PSNR rim", "higher", 1, "PSNR over the brain in the slices before and after the middle ones"
    ),
    "ssim": Metric("SSIM", "higher", 3, "structural similarity over all slices of the brain [@wang2004]"),
    "ssim_middle": Metric("SSIM middle", "higher", 3, "SSIM over the middle slices, which the papers score"),
    "ssim_brain": Metric("SSIM brain", "higher", 3, "structural similarity over the pixels of the brain [@wang2004]"),
    "dice": Metric("Dice", "higher", 3, "overlap of the judge's label map with the true one [@dice1945]"),
    "iou": Metric("IoU", "higher", 3, "intersection over union of the judge's label map with the true one"),
    "hd95": Metric("HD95", "lower", 1, "95th percentile of the Hausdorff distance of the label maps, in mm"),
    "missed": Metric("missed", "lower", 1, "structures that the judge did not find"),
    "invented": Metric("invented", "lower", 1, "structures that the judge found where there are none"),
    "absent": Metric("absent", None, 1, "structures that neither the judge nor the true label map has"),
    "age_error": Metric("age MAE", "lower", 1, "absolute error of the judge's age, in the data's unit"),
    "age_signed_error": Metric("age bias", None, 1, "predicted minus true age, in the data's unit"),
    "age_predicted": Metric("age", None, 1, "the judge's age, in the data's unit"),
    "site_frozen": Metric(
        "site frozen",
        "lower",
        2,
        "balanced accuracy of a probe that learned to tell unharmonized from reference scans",
    ),
    "site_retrained": Metric(
        "site",
        "lower",
        2,
        "balanced accuracy of a probe retrained to tell harmonized from reference scans; 0.5 cannot tell",
        cross_validated=True,
    ),
    "bpd": Metric(
        "bpd", None, 2, "bits per dimension under the reference flow: low is likely, but so are smooth images"
    ),
    "jitter": Metric(
        "jitter",
        None,
        2,
        "how unevenly neighbouring slices were changed, in grey levels of 255; 0 for a method that changes nothing",
    ),
    "seconds": Metric("s/volume", None, 1, "seconds per volume: a cost, not a merit"),
    "fallbacks": Metric("fallbacks", "lower", 0, "non-finite slice iterations that kept their former value"),
    "lesion_contrast": Metric(
        "lesions",
        None,
        2,
        "contrast of lesions, (mean of the lesions - mean of the white matter around them) / the latter: below 0 for "
        "dark lesions, nearer to 0 where they fade",
    ),
    "negatives": Metric("negatives", "lower", 0, "pixels that were made negative; 0 by contract"),
    "background_changed": Metric("background", "lower", 0, "pixels outside the brain that were changed; 0 by contract"),
}

# Of one structure: dice_gm, volume_gm_ml; of one estimate: scanner_noise.
BY_STRUCTURE = {name: RESULTS[name] for name in ("dice", "iou", "hd95")} | {
    "volume": Metric("volume", None, 1, "volume as the judge segmented it"),
    "contrast": Metric("contrast", None, 3, "median intensity of a tissue over that of another"),
    "scanner": Metric("scanner's", None, 3, "what scanner inversion found out about the scan"),
}

PICTURES = ("flow/slices", "flow/reconstructions", "flow/samples", "panels/*", "figures/*", "results")

MIDDLE = "_middle"  # behind a metric: of the middle slices, which the papers score

MEAN = "mean"  # in the place of a domain: over the query domains


def result_metric(name: str) -> Metric | None:
    """None for a metric that is not in the vocabulary."""
    family, _, member = name.partition("_")
    if name in RESULTS or family not in BY_STRUCTURE:
        return RESULTS.get(name)
    of_all = BY_STRUCTURE[family]
    return replace(of_all, label=f"{of_all.label} {member.replace('_', ' ')}")


def describe(name: str) -> Metric:
    """A metric that is not in the vocabulary is shown plainly, with no better way."""
    return result_metric(name) or Metric(name.replace("_", " "))


def direction(name: str) -> int:
    """+1 where larger is better, -1 where smaller is, 0 for what is neither (bpd, a volume, a time)."""
    return {"higher": 1, "lower": -1, None: 0}[describe(name).better]


def is_known(key: str) -> bool:
    """Whether a logged number is in the vocabulary."""
    if key.startswith("result/"):
        parts = key.split("/")
        return len(parts) == 4 and result_metric(parts[3]) is not None
    return key in TRAINING
