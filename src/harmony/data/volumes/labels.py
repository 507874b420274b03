"""Segmentations of other programs as one set of structures, left and right merged.

The papers score 14 structures and do not name them; these are our choice: what FreeSurfer's aseg labels in every adult.
Cerebrospinal fluid outside the lateral ventricles, vessels and the optic chiasm are background.
"""

from __future__ import annotations

import numpy as np

STRUCTURES = (
    "background",
    "cerebral white matter",
    "cerebral cortex",
    "lateral ventricle",
    "cerebellar white matter",
    "cerebellar cortex",
    "thalamus",
    "caudate",
    "putamen",
    "pallidum",
    "brain stem",
    "hippocampus",
    "amygdala",
    "accumbens",
    "ventral diencephalon",
)

_FREESURFER: dict[str, list[int]] = {
    # the choroid plexus, the inferior horn and the fifth ventricle lie within the lateral ventricles
    "background": [0, 14, 15, 24, 29, 30, 61, 62, 80, 81, 82, 85, 165, 257, 258, 259],
    # with white matter hypointensities, fornix and corpus callosum; wmparc's parcels and unsegmented white matter
    "cerebral white matter": [
        2, 41, 77, 78, 79, *range(250, 256), *range(3000, 3036), *range(4000, 4036), 5001, 5002,
    ],
    # aparc's and aparc.a2009s's parcels
    "cerebral cortex": [
        3, 19, 20, 42, 55, 56, *range(1000, 1036), *range(2000, 2036), *range(11100, 11176), *range(12100, 12176),
    ],
    "lateral ventricle": [4, 5, 31, 43, 44, 63, 72],
    "cerebellar white matter": [7, 46],
    "cerebellar cortex": [8, 47, 172],
    "thalamus": [9, 10, 48, 49],
    "caudate": [11, 50],
    "putamen": [12, 51],
    "pallidum": [13, 52],
    "brain stem": [16],
    "hippocampus": [17, 53],
    "amygdala": [18, 54],
    "accumbens": [26, 58],
    "ventral diencephalon": [28, 60],
}  # fmt: skip
_MUSE: dict[str, list[int]] = {
    # cerebrospinal fluid, third and fourth ventricle; basal forebrain, which FreeSurfer does not label. 46 and 69 occur
    # in the maps but not in their table of names: small, by place fluid near the third ventricle and the optic chiasm
    "background": [0, 1, 4, 11, 46, 69, 75, 76],
    # with fornix, internal capsule and corpus callosum
    "cerebral white matter": [*range(81, 96)],
    "cerebral cortex": [*range(100, 208)],
    "lateral ventricle": [49, 50, 51, 52],
    "cerebellar white matter": [40, 41],
    "cerebellar cortex": [38, 39, 71, 72, 73],
    "thalamus": [59, 60],
    "caudate": [36, 37],
    "putamen": [57, 58],
    "pallidum": [55, 56],
    "brain stem": [35],
    "hippocampus": [47, 48],
    "amygdala": [31, 32],
    "accumbens": [23, 30],
    "ventral diencephalon": [61, 62],
}


def _codes(structures: dict[str, list[int]]) -> dict[int, int]:
    return {code: STRUCTURES.index(name) for name, codes in structures.items() for code in codes}


# name -> (code of the segmentation -> index in STRUCTURES)
LABEL_MAPS: dict[str, dict[int, int]] = {"freesurfer": _codes(_FREESURFER), "muse": _codes(_MUSE)}


def map_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """(X, Y, Z) int16 codes of a segmentation -> (X, Y, Z) int16 indices into STRUCTURES.

    Raises UnknownLabelsError where there is a code that the segmentation `name` does not have.
    """
    known = LABEL_MAPS[name]
    codes, place = np.unique(labels, return_inverse=True)
    unknown = [int(code) for code in codes if int(code) not in known]
    if unknown:
        raise UnknownLabelsError(unknown)
    return np.array([known[int(code)] for code in codes], np.int16)[place].reshape(labels.shape)


# Tissues of a segmentation, dark to bright: deep grey matter apart from cortex, since scanners differ in what they make
# of its iron and its myelin. Codes as in `_MUSE`; fluid of all kinds, hippocampus and amygdala with the cortex, ventral
# diencephalon, brain stem and optic chiasm with white matter, which is what MUSE's own tissue map makes of them.
TISSUES = ("csf", "grey", "deep", "white")
_MUSE_TISSUES: dict[str, list[int]] = {
    "csf": [1, 4, 11, 46, *_MUSE["lateral ventricle"]],
    "grey": [*_MUSE["cerebral cortex"], *_MUSE["cerebellar cortex"], *_MUSE["hippocampus"], *_MUSE["amygdala"], 75, 76],
    "deep": [code for name in ("thalamus", "caudate", "putamen", "pallidum", "accumbens") for code in _MUSE[name]],
    "white": [
        *_MUSE["cerebral white matter"], *_MUSE["cerebellar white matter"], *_MUSE["brain stem"],
        *_MUSE["ventral diencephalon"], 69,
    ],
}  # fmt: skip
# name -> (code of the segmentation -> 1 + index in TISSUES)
TISSUE_MAPS: dict[str, dict[int, int]] = {
    "muse": {code: 1 + TISSUES.index(name) for name, codes in _MUSE_TISSUES.items() for code in codes}
}


class UnknownLabelsError(ValueError):
    """Codes that do not belong to the segmentation that was named."""

    def __init__(self, codes: list[int]) -> None:
        super().__init__(", ".join(map(str, codes[:8])) + (", ..." if len(codes) > 8 else ""))
