"""The judges: questions asked of a harmonized image, by networks that were trained on the reference domain."""

from harmony.downstream.brain_age import BrainAge
from harmony.downstream.combat import ComBat, fit_combat
from harmony.downstream.feature_combat import FeatureComBat
from harmony.downstream.judge import AdaptiveJudge, Judge, Truth
from harmony.downstream.segmentation import Segmentation, entropy
from harmony.downstream.site_probe import Scans, SiteProbe
from harmony.downstream.tent import Tent

__all__ = [
    "AdaptiveJudge",
    "BrainAge",
    "ComBat",
    "FeatureComBat",
    "Judge",
    "Scans",
    "Segmentation",
    "SiteProbe",
    "Tent",
    "Truth",
    "entropy",
    "fit_combat",
]
