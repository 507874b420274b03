"""The picture of the README: one acquisition as received, harmonized, and with the vendor's own normalization.

python experiments/real_scanners/picture.py /path/to/real docs/real.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
from matplotlib import pyplot as plt

import harmony

TITLES = ("as received", "harmonized", "the vendor's normalization")


def main(real: Path, picture: Path) -> None:
    raw, prescan = (nibabel.load(real / f"sub-xa30/anat/sub-xa30_acq-{name}_T1w.nii.gz") for name in ("raw", "prescan"))
    mask = nibabel.load(real / "derivatives/brain/sub-xa30/anat/sub-xa30_desc-brain_mask.nii.gz")
    result = harmony.load("ixi-hh").harmonize(raw, mask)
    brain = np.asarray(nibabel.as_closest_canonical(mask).dataobj) > 0
    box = tuple(slice(int(k.min()), int(k.max()) + 1) for k in np.nonzero(brain.any(2)))
    deepest = int(brain.sum((0, 1)).argmax())
    figure, axes = plt.subplots(2, 3, figsize=(7.2, 6.2), layout="constrained", facecolor="black")
    for column, (title, image) in enumerate(zip(TITLES, (raw, result.image, prescan), strict=True)):
        data = np.where(brain, nibabel.as_closest_canonical(image).get_fdata(), 0)
        top = np.percentile(data[brain], 99.5)
        for row, level in enumerate((deepest, deepest - brain.shape[2] // 6)):
            axes[row, column].imshow(data[*box, level].T, cmap="gray", vmin=0, vmax=top, origin="lower")
            axes[row, column].axis("off")
        axes[0, column].set_title(title, color="white")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
