"""The judges: networks trained on the reference domain that are asked a question of the harmonized image."""

from harmony.downstream.combat import ComBat, fit_combat
from harmony.downstream.segmentation import Segmentation

__all__ = ["ComBat", "Segmentation", "fit_combat"]
