"""The scanner as a model of a whole volume: what it does to a reference image, and what undoes it. Pure functions."""

from harmony.scanner.clusters import intensity_clusters
from harmony.scanner.contrast import (
    FIELD_TERMS,
    POWERS,
    Box,
    Contrast,
    Fit,
    TissueIntensity,
    brain_box,
    cubic,
    fit_contrast,
    places,
    smooth,
)
from harmony.scanner.inversion import BRIGHT, Estimate, estimate, shown
from harmony.scanner.prior import Prior, Read, Reading, Shrunk, Untouched
from harmony.scanner.resolution import (
    CELLS,
    Resolution,
    Texture,
    deblur,
    extend,
    gaussian_inside,
    mean_spectrum,
    predicted_error,
    texture,
)

__all__ = [
    "BRIGHT",
    "CELLS",
    "FIELD_TERMS",
    "POWERS",
    "Box",
    "Contrast",
    "Estimate",
    "Fit",
    "Prior",
    "Read",
    "Reading",
    "Resolution",
    "Shrunk",
    "Texture",
    "TissueIntensity",
    "Untouched",
    "brain_box",
    "cubic",
    "deblur",
    "estimate",
    "extend",
    "fit_contrast",
    "gaussian_inside",
    "intensity_clusters",
    "mean_spectrum",
    "places",
    "predicted_error",
    "shown",
    "smooth",
    "texture",
]
