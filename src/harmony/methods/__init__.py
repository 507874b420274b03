"""Every way to harmonize an image, behind one verb."""

from harmony.methods.base import Method
from harmony.methods.blindharmony import BlindHarmony
from harmony.methods.harmonizing_flows import AdaptiveMethod, HarmonizingFlows
from harmony.methods.histogram_matching import HistogramMatching
from harmony.methods.none import Unharmonized
from harmony.methods.solvers import Alternating, ImageSpace, LatentSpace, Solver
from harmony.methods.stopping import Budget, Evidence, LowestEntropy, Plateau, ReferenceLevel, StoppingRule
from harmony.methods.translation import Translation

__all__ = [
    "AdaptiveMethod",
    "Alternating",
    "BlindHarmony",
    "Budget",
    "Evidence",
    "HarmonizingFlows",
    "HistogramMatching",
    "ImageSpace",
    "LatentSpace",
    "LowestEntropy",
    "Method",
    "Plateau",
    "ReferenceLevel",
    "Solver",
    "StoppingRule",
    "Translation",
    "Unharmonized",
]
