"""Every way to harmonize an image, behind one verb."""

from harmony.methods.base import Method
from harmony.methods.blindharmony import BlindHarmony
from harmony.methods.chains import AdaptiveChain, Chain, chain
from harmony.methods.harmonizing_flows import AdaptiveMethod, HarmonizingFlows
from harmony.methods.histogram_matching import HistogramMatching
from harmony.methods.n4 import N4
from harmony.methods.none import Unharmonized
from harmony.methods.nyul import Nyul
from harmony.methods.scanner_inversion import ScannerInversion
from harmony.methods.solvers import Alternating, ImageSpace, LatentSpace, Solver
from harmony.methods.ssimh import Ssimh
from harmony.methods.stopping import Budget, Evidence, LowestEntropy, Plateau, ReferenceLevel, StoppingRule
from harmony.methods.translation import Translation

__all__ = [
    "N4",
    "AdaptiveChain",
    "AdaptiveMethod",
    "Alternating",
    "BlindHarmony",
    "Budget",
    "Chain",
    "Evidence",
    "HarmonizingFlows",
    "HistogramMatching",
    "ImageSpace",
    "LatentSpace",
    "LowestEntropy",
    "Method",
    "Nyul",
    "Plateau",
    "ReferenceLevel",
    "ScannerInversion",
    "Solver",
    "Ssimh",
    "StoppingRule",
    "Translation",
    "Unharmonized",
    "chain",
]
