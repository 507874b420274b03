"""The scanner as a model of a whole volume: what it does to a reference image, what undoes it, what is known of one.

Equations: `contrast`, `resolution`, `inversion`, `field`, `even`. What is known: `texture_model`, `prior`. How it is
learned: `clusters`, `tissue_maps`, `calibration`. What is said of it: `report`.
"""

from harmony.scanner.calibration import Calibration, learn_spectrum, learn_texture, learn_untouched
from harmony.scanner.clusters import intensity_clusters
from harmony.scanner.contrast import (
    FIELD_TERMS,
    POWERS,
    Box,
    Contrast,
    ContrastFit,
    TissueIntensity,
    brain_box,
    cubic,
    field_scale,
    fit_contrast,
    places,
    scanner_variance,
    smooth,
)
from harmony.scanner.even import EvenScan, even_scan
from harmony.scanner.field import rough_field, smooth_mean
from harmony.scanner.inversion import BRIGHTEST, Estimate, MapNetwork, estimate, network_input
from harmony.scanner.prior import Appearance, Prior, Shrunk, Untouched
from harmony.scanner.report import (
    BENT,
    EVEN,
    INVERTED,
    MATCHED,
    NOTHING,
    OUTSIDE,
    SHADINGS,
    SOFTENED,
    ScannerReport,
    fwhm,
)
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
from harmony.scanner.texture_model import NONE, UNBLURRED, TextureFit, TextureModel, Widths
from harmony.scanner.tissue_maps import (
    Labelling,
    cluster_labels,
    given_labels,
    learn_intensity,
    network_labels,
    one_hot,
)

__all__ = [
    "BENT",
    "BRIGHTEST",
    "CELLS",
    "EVEN",
    "FIELD_TERMS",
    "INVERTED",
    "MATCHED",
    "NONE",
    "NOTHING",
    "OUTSIDE",
    "POWERS",
    "SHADINGS",
    "SOFTENED",
    "UNBLURRED",
    "Appearance",
    "Box",
    "Calibration",
    "Contrast",
    "ContrastFit",
    "Estimate",
    "EvenScan",
    "Labelling",
    "MapNetwork",
    "Prior",
    "Resolution",
    "ScannerReport",
    "Shrunk",
    "Texture",
    "TextureFit",
    "TextureModel",
    "TissueIntensity",
    "Untouched",
    "Widths",
    "brain_box",
    "cluster_labels",
    "cubic",
    "deblur",
    "estimate",
    "even_scan",
    "extend",
    "field_scale",
    "fit_contrast",
    "fwhm",
    "gaussian_inside",
    "given_labels",
    "intensity_clusters",
    "learn_intensity",
    "learn_spectrum",
    "learn_texture",
    "learn_untouched",
    "mean_spectrum",
    "network_input",
    "network_labels",
    "one_hot",
    "places",
    "predicted_error",
    "rough_field",
    "scanner_variance",
    "smooth",
    "smooth_mean",
    "texture",
]
