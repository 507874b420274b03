"""Densities over images, dequantization included: the only room that knows nflows."""

from harmony.flows.density import Encoded, ImageDensity
from harmony.flows.harmonizing_flow import harmonizing_flow
from harmony.flows.likelihood import mean_bits_per_dim
from harmony.flows.spline_flow import spline_flow

__all__ = ["Encoded", "ImageDensity", "harmonizing_flow", "mean_bits_per_dim", "spline_flow"]
