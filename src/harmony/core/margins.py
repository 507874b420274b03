"""Which differences matter: from where on a change counts as harm, and a judge as able.

Set by judgement, before any method was scored by them, and by no paper (docs/statistics.md says what each is worth).
"""

from __future__ import annotations

from dataclasses import dataclass

from harmony.core.vocabulary import BY_STRUCTURE, describe, direction


@dataclass(frozen=True)
class Margin:
    """harm: a subject was harmed where its value is worse than without harmonization by more than this.

    perfect, enough: an image that is the truth itself has the value `perfect`, and any change costs it something; there
        a subject was harmed where its value is worse than `enough`.
    able: by more than this a judge must be better than an answer without looking; None for what no judge is asked.
    """

    harm: float
    perfect: float | None = None
    enough: float | None = None
    able: float | None = None


PSNR = Margin(harm=0.5, perfect=100.0, enough=35.0)  # dB; 35 dB: an error of 4.5 grey levels of 255
SSIM = Margin(harm=0.01, perfect=1.0, enough=0.95)

MARGINS = {
    "psnr": PSNR,
    "psnr_brain": PSNR,
    "psnr_middle": PSNR,
    "psnr_brain_middle": PSNR,
    "psnr_brain_rim": PSNR,
    "ssim": SSIM,
    "ssim_brain": SSIM,
    "ssim_middle": SSIM,
    "dice": Margin(harm=0.005, able=0.05),
    "iou": Margin(harm=0.01),
    "hd95": Margin(harm=0.5),  # mm
    "missed": Margin(harm=0),  # structures, and so on: one is enough
    "invented": Margin(harm=0),
    "age_error": Margin(harm=1, able=1),  # years; of neonates weeks
    "site_frozen": Margin(harm=0.05, able=0.05),
    "site_retrained": Margin(harm=0.05),
    "fallbacks": Margin(harm=0),
    "negatives": Margin(harm=0),
    "background_changed": Margin(harm=0),
}


def margin(metric: str) -> Margin | None:
    """That of dice for dice_gm; None for what is neither better nor worse, and for unknown metrics."""
    family = metric.partition("_")[0]
    return MARGINS.get(metric) or (MARGINS.get(family) if family in BY_STRUCTURE else None)


def of_harm(metric: str) -> str:
    """`less Dice than unharmonized, by more than 0.005`."""
    found, words = MARGINS[metric], describe(metric)
    said = f"{'less' if words.better == 'higher' else 'more'} {words.label.removesuffix(' dB')} than unharmonized"
    said += f", by more than {found.harm:g}" if found.harm else ""
    return said + (f" (below {found.enough:g} where that is untouched)" if found.enough is not None else "")


def harmed(metric: str, value: float, unharmonized: float) -> bool:
    """Of one subject; never for a metric without a margin, nor for NaN."""
    found = margin(metric)
    if found is None:
        return False
    if found.perfect is not None and found.enough is not None and unharmonized >= found.perfect:
        return direction(metric) * (value - found.enough) < 0
    return direction(metric) * (value - unharmonized) < -found.harm
