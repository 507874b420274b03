"""The judges: questions asked of a harmonized image, by networks that were trained on the reference domain."""

from harmony.judges.brain_age import BrainAge
from harmony.judges.combat import ComBat, fit_combat
from harmony.judges.contracts import AdaptiveJudge, Cohort, CohortJudge, Examples, ImageJudge, Kept, Truth
from harmony.judges.feature_combat import FeatureComBat
from harmony.judges.probe import Probe, Scans
from harmony.judges.quality import Quality, quality
from harmony.judges.segmentation import Segmentation
from harmony.judges.site_probe import SiteProbe
from harmony.judges.tent import Tent

__all__ = [
    "AdaptiveJudge",
    "BrainAge",
    "Cohort",
    "CohortJudge",
    "ComBat",
    "Examples",
    "FeatureComBat",
    "ImageJudge",
    "Kept",
    "Probe",
    "Quality",
    "Scans",
    "Segmentation",
    "SiteProbe",
    "Tent",
    "Truth",
    "fit_combat",
    "quality",
]
