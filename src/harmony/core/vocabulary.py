"""Every name under which a number is logged, and which way is better: one list for all tasks and methods.

Training logs `<task>/<metric>` against the optimizer step. Evaluation logs `result/<domain>/<method>/<metric>`, the
mean over subjects, and `result/mean/<method>/<metric>`, the mean over the query domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """label: with the unit, for people. better: None where neither way is."""

    label: str
    better: Literal["higher", "lower"] | None


TRAINING = {
    "flow/train_bpd": Metric("bits per dimension of training slices", "lower"),
    "flow/val_bpd": Metric("bits per dimension of validation slices", "lower"),
    "flow/val_bpd_altered": Metric("bits per dimension of altered validation slices", "higher"),
    "harmonizer/train_mse": Metric("squared error of training slices, grey levels of 255", "lower"),
    "harmonizer/val_mse": Metric("squared error of validation slices, grey levels of 255", "lower"),
    "segmenter/train_loss": Metric("cross-entropy + 1 - soft Dice of training slices", "lower"),
    "segmenter/val_dice_error": Metric("1 - Dice of validation slices", "lower"),
    "age/train_mae": Metric("age error of training subjects, years", "lower"),
    "age/val_mae": Metric("age error of validation subjects, years", "lower"),
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
    "psnr": Metric("PSNR, dB", "higher"),
    "psnr_brain": Metric("PSNR in the brain, dB", "higher"),
    "ssim": Metric("SSIM", "higher"),
    "ssim_brain": Metric("SSIM in the brain", "higher"),
    "bpd": Metric("bits per dimension", None),  # likely is not the same as right: smooth images are likely
    "jitter": Metric("jitter, grey levels of 255", None),  # 0 for a method that changes nothing
    "seconds": Metric("seconds per volume", None),  # a cost, not a merit
    "fallbacks": Metric("slices that fell back", "lower"),
    "dice": Metric("Dice, mean over structures", "higher"),
    "iou": Metric("IoU, mean over structures", "higher"),
    "hd95": Metric("95 % Hausdorff distance, mm, mean over structures", "lower"),
    "missed": Metric("structures missed", "lower"),
    "invented": Metric("structures invented", "lower"),
    "absent": Metric("structures absent in truth and prediction", None),
    "age_predicted": Metric("predicted age, years", None),
    "age_error": Metric("age error, years", "lower"),
    "age_signed_error": Metric("predicted - true age, years", None),
    "site_frozen": Metric("balanced accuracy of the frozen site probe", "lower"),
    "site_retrained": Metric("balanced accuracy of the retrained site probe", "lower"),
}

# Of one structure: dice_gm, volume_gm_ml.
BY_STRUCTURE = {
    "dice": Metric("Dice", "higher"),
    "iou": Metric("IoU", "higher"),
    "hd95": Metric("95 % Hausdorff distance, mm", "lower"),
    "volume": Metric("volume as segmented, ml", None),
}

PICTURES = ("flow/slices", "flow/reconstructions", "flow/samples", "panels/*", "figures/*", "results")

MEAN = "mean"  # in the place of a domain: over the query domains


def result_key(domain: str, method: str, metric: str) -> str:
    return f"result/{domain}/{method}/{metric}"


def result_metric(name: str) -> Metric | None:
    """None for a metric that is not in the vocabulary."""
    return RESULTS.get(name) or BY_STRUCTURE.get(name.split("_", maxsplit=1)[0])


def is_known(key: str) -> bool:
    """Whether a logged number is in the vocabulary."""
    if key.startswith("result/"):
        parts = key.split("/")
        return len(parts) == 4 and result_metric(parts[3]) is not None
    return key in TRAINING
