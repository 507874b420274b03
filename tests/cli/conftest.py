"""A folder of scans, and a tiny trained flow to use the command with."""

import pytest
import torch
from door import FLOW, PREPROCESS, SEGMENTER, save_scan, trained

from harmony.core.model_card import ModelCard
from harmony.core.reference import Reference
from harmony.data import Preprocess, single_scan
from harmony.flows import spline_flow
from harmony.networks import segmentation_unet


@pytest.fixture
def bids(tmp_path):
    """Three subjects, one with two sessions."""
    root = tmp_path / "my scans"
    for k, name in enumerate(["sub-01", "sub-02", "sub-03/ses-A", "sub-03/ses-B"]):
        save_scan(root / name / "anat" / f"{name.replace('/', '_')}_T1w.nii.gz", k)
    return root


@pytest.fixture(scope="session")
def flow(tmp_path_factory):
    """The run folder of a flow as training leaves it, with random weights; beside it a segmenter."""
    folder = tmp_path_factory.mktemp("trained") / "runs" / "models"
    torch.manual_seed(0)
    scans = [single_scan(save_scan(folder.parents[1] / f"sub-{k}_T1w.nii.gz", k), None) for k in range(2)]
    volumes = [Preprocess(**PREPROCESS)(scan) for scan in scans]
    run = trained(folder / "flow-1a2b3c4d", "flow", "harmony.flows.spline_flow", FLOW, spline_flow(**FLOW))
    Reference.of(volumes, positions=4, quantiles=64).save(run / "reference.safetensors")
    ModelCard.load(run).save(run)
    unet = segmentation_unet(**SEGMENTER)
    trained(folder / "segmenter-5e6f7a8b", "segmenter", "harmony.networks.segmentation_unet", SEGMENTER, unet)
    return run
