"""Differentiable image-to-image distances, one value per image."""

from harmony.distances.gradient import masked_gradient_l1, non_edge_mask, sobel
from harmony.distances.ncc import ncc
from harmony.distances.structure import DistanceToQuery, StructuralDistance

__all__ = ["DistanceToQuery", "StructuralDistance", "masked_gradient_l1", "ncc", "non_edge_mask", "sobel"]
