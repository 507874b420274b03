"""Tissues of a segmentation's codes."""

from harmony.data import LABEL_MAPS, STRUCTURES, TISSUE_MAPS, TISSUES


def test_every_code_is_of_one_tissue_and_structures_keep_theirs():
    codes, tissues = LABEL_MAPS["muse"], TISSUE_MAPS["muse"]
    assert set(codes) - set(tissues) == {0}
    named = {code: TISSUES[tissue - 1] for code, tissue in tissues.items()}
    deep = {"thalamus", "caudate", "putamen", "pallidum", "accumbens"}
    for code, structure in codes.items():
        name = STRUCTURES[structure]
        if name in deep:
            assert named[code] == "deep"
        elif "cortex" in name or name in ("hippocampus", "amygdala"):
            assert named[code] == "grey"
        elif "white" in name or name in ("brain stem", "ventral diencephalon"):
            assert named[code] == "white"
        elif name == "lateral ventricle":
            assert named[code] == "csf"
