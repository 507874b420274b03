"""A model knows one contrast; readers, cards and names say which."""

from dataclasses import replace

import pytest
from phantoms import phantom, save

from harmony.core import ConfigError, DataError
from harmony.core.contrasts import contrast_of
from harmony.core.manifest import one_contrast, refuse_other_contrast
from harmony.core.model_card import ModelCard, sha256
from harmony.data import BidsFolder, single_scan
from harmony.data.sources.bids import chosen
from harmony.delivery import Derivatives


@pytest.fixture
def root(tmp_path):
    for name in ("T1w", "T2w", "FLAIR"):
        save(tmp_path / "sub-1" / "anat" / f"sub-1_{name}.nii.gz", phantom()[0])
    save(tmp_path / "sub-2" / "ses-A" / "anat" / "sub-2_ses-A_T2w.nii.gz", phantom()[0])
    return tmp_path


@pytest.mark.parametrize(
    ("contrast", "names"), [("T1w", ["sub-1"]), ("T2w", ["sub-1", "sub-2_ses-A"]), ("FLAIR", ["sub-1"])]
)
def test_a_reader_takes_the_images_of_one_contrast(root, contrast, names):
    scans = BidsFolder(root, suffix=contrast).scans()
    assert [scan.name for scan in scans] == names
    assert {scan.contrast for scan in scans} == {contrast}
    assert one_contrast(scans) == contrast
    assert Derivatives(root / "out", "none").image(scans[0]).name == f"{scans[0].name}_desc-none_{contrast}.nii.gz"


def test_where_there_is_none_the_others_are_named(root):
    with pytest.raises(DataError, match="but images of FLAIR, T1w, T2w"):
        BidsFolder(root, suffix="PDw").scans()
    with pytest.raises(ConfigError, match="T3w"):
        BidsFolder(root, suffix="T3w")


def test_a_single_file_says_its_contrast_or_is_taken_for_the_models(root, tmp_path):
    flair = single_scan(root / "sub-1" / "anat" / "sub-1_FLAIR.nii.gz", None, otherwise="T2w")
    assert flair.contrast == "FLAIR"
    assert single_scan(tmp_path / "export 7.nii", None, otherwise="T2w").contrast == "T2w"
    assert contrast_of(tmp_path / "sub-1_acq-x_PDw.nii") == "PDw"
    with pytest.raises(DataError, match="a FLAIR image, and the model knows T1w"):
        refuse_other_contrast(flair, "T1w")
    refuse_other_contrast(flair, "FLAIR")


def test_one_model_does_not_learn_from_two_contrasts(root):
    scans = [scan for name in ("T1w", "T2w") for scan in BidsFolder(root, suffix=name).scans()]
    with pytest.raises(DataError, match="T1w, T2w"):
        one_contrast(scans)


def test_a_card_that_is_older_than_the_field_is_of_t1w(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    card = ModelCard("flow-1", "0", {}, {}, {}, sha256(tmp_path / "model.safetensors"), contrast="T2w")
    card.save(tmp_path)
    assert ModelCard.load(tmp_path).contrast == "T2w"
    path = tmp_path / "model_card.json"
    old = '{"name": "flow-1", "version": "0", "preprocess": {}, "reference": {}, "score": {}, "weights": "%s"}'
    path.write_text(old % sha256(tmp_path / "model.safetensors"))
    assert ModelCard.load(tmp_path) == replace(card, contrast="T1w")


def test_labels_choose_subjects_and_sessions(root):
    scans = BidsFolder(root, suffix="T2w").scans()
    assert [scan.name for scan in chosen(scans, participants=["2"], sessions=None)] == ["sub-2_ses-A"]
    assert [scan.name for scan in chosen(scans, participants=["sub-1", "2"], sessions=None)] == ["sub-1", "sub-2_ses-A"]
    assert [scan.name for scan in chosen(scans, participants=None, sessions=["ses-A"])] == ["sub-2_ses-A"]
    assert chosen(scans, participants=None, sessions=None) == scans
    for labels in ({"participants": ["3"], "sessions": None}, {"participants": ["1"], "sessions": ["A"]}):
        with pytest.raises(ConfigError, match="no scan of"):
            chosen(scans, **labels)
