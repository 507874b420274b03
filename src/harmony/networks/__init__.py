"""Plain modules without training."""

from harmony.networks.age_net import AgeNet
from harmony.networks.coupling_unet import CouplingUNet
from harmony.networks.harmonizer import Affine, Harmonizer
from harmony.networks.tissue_net import TissueNet
from harmony.networks.translator import PatchCritic, Translator
from harmony.networks.unet import AnySizeUNet, segmentation_unet

__all__ = [
    "Affine",
    "AgeNet",
    "AnySizeUNet",
    "CouplingUNet",
    "Harmonizer",
    "PatchCritic",
    "TissueNet",
    "Translator",
    "segmentation_unet",
]
