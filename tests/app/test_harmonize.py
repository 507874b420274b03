"""From somebody's scans to harmonized NIfTI files: exact, resumable, traceable."""

import json
import os
import shutil
import signal

import nibabel
import numpy as np
import pytest
from omegaconf import OmegaConf
from programs import Program


@pytest.fixture(scope="module")
def model(finished):
    return finished.one("runs/models/flow-*")


@pytest.fixture(scope="module")
def scans(cache, finished, tmp_path_factory):
    """Three atlas subjects as a BIDS folder of somebody's, one of them with another orientation and scale."""
    root = tmp_path_factory.mktemp("scans")
    source = next((cache / "atlas").glob("atlas-*-4mm-*"))
    for name in ("sub-0000", "sub-0001", "sub-0002"):
        shutil.copytree(source / name, root / name)
    path = root / "sub-0001" / "anat" / "sub-0001_T1w.nii.gz"
    image = nibabel.load(path)
    turned = nibabel.as_closest_canonical(image).slicer[::-1]
    nibabel.save(nibabel.Nifti1Image(np.asarray(turned.dataobj, np.float32) * 700, turned.affine), path)
    return root


def start(folder, *words):
    return Program("harmony.harmonize", words, cwd=folder, env=os.environ, merged=True)


def run(folder, *words):
    process = start(folder, *words)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def images(folder):
    return sorted(folder.glob("sub-*/anat/*_desc-*_T1w.nii.gz"))


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def test_the_identity_gives_back_the_input_exactly(tmp_path, model, scans):
    words = [f"input={scans}", "output=out", f"model={model}", "method=none", "original_scale=true"]
    code, output = run(tmp_path, *words)
    assert code == 0, output
    found = images(tmp_path / "out")
    assert [path.name[:8] for path in found] == ["sub-0000", "sub-0001", "sub-0002"]
    for path in found:
        source = nibabel.load(scans / path.name[:8] / "anat" / f"{path.name[:8]}_T1w.nii.gz")
        harmonized = nibabel.load(path)
        assert harmonized.get_data_dtype() == np.float32
        np.testing.assert_array_equal(harmonized.affine, source.affine)
        np.testing.assert_array_equal(voxels(path), np.asarray(source.dataobj, np.float32))


def test_a_real_change_comes_with_its_provenance_and_a_page(tmp_path, model, scans):
    one = scans / "sub-0001" / "anat" / "sub-0001_T1w.nii.gz"
    words = [f"input={one}", "output=out", f"model={model}", "method=blindharmony", "method.solver.iterations=2"]
    code, output = run(tmp_path, *words)
    assert code == 0, output
    (path,) = images(tmp_path / "out")
    source = np.asarray(nibabel.load(one).dataobj, np.float32)
    changed = voxels(path)
    assert np.isfinite(changed).all()
    assert not np.array_equal(changed, source)
    np.testing.assert_array_equal(changed[source == 0], 0)
    assert 0.3 < changed[source > 0].mean() / source[source > 0].mean() < 3  # the scan's own units
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Method"] == "blindharmony"
    assert sidecar["MethodSettings"]["solver"]["iterations"] == 2
    assert sidecar["Iterations"] == 2
    assert sidecar["Model"] == model.name
    assert len(sidecar["MadeFrom"]["image"]) == 64
    assert "BitsPerDimension" not in sidecar
    assert sidecar["MeanChange"] > 0
    assert sidecar["NotHarmonizedVolume"] < 0.01 * sidecar["HarmonizedVolume"]
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    page = (tmp_path / "out" / "quality.html").read_text()
    assert "sub-0001" in page
    assert page.count("data:image/png;base64,") == 1
    assert "http" not in page

    code, output = run(tmp_path, *words)
    assert "0 scans harmonized, 1 were done" in output
    code, output = run(tmp_path, *words[:-1], "method.solver.iterations=3")
    assert "1 scans harmonized, 0 were done" in output
    code, output = run(tmp_path, *words, "method.batch=1", "output=alone")
    np.testing.assert_allclose(
        voxels(images(tmp_path / "alone")[0]), changed_with(tmp_path, words), rtol=1e-3, atol=1e-3 * source.max()
    )


def changed_with(tmp_path, words):
    run(tmp_path, *words, "output=again")
    return voxels(images(tmp_path / "again")[0])


def test_harmonizing_needs_the_run_folder_only_and_uses_its_constants(tmp_path, model, scans):
    """As on another machine: the run folder copied, no training data, no cache."""
    copy = shutil.copytree(model, tmp_path / "elsewhere")
    shutil.rmtree(copy / "checkpoints")
    card = json.loads((copy / "model_card.json").read_text())
    assert card["preprocess"]["spacing"] == 4.0
    assert card["preprocess"]["size"] == [40, 48]
    assert card["reference"]["subjects"] == 7
    code, output = run(tmp_path, f"input={scans}", "output=out", f"model={copy}", "method=histogram_matching")
    assert code == 0, output
    assert len(images(tmp_path / "out")) == 3


def test_without_a_method_it_is_the_best_that_the_model_serves(tmp_path, model, scans):
    one = sorted(scans.glob("sub-*/anat/*_T1w.nii.gz"))[0]
    code, output = run(tmp_path, f"input={one}", "output=out", f"model={model}")
    assert code == 0, output
    assert [path for path in images(tmp_path / "out") if "desc-histogrammatching" in path.name], output


def test_kill_in_the_middle_and_start_again_finishes_the_job(tmp_path, model, scans):
    words = [f"input={scans}", "output=out", f"model={model}", "method=blindharmony", "method.solver.iterations=15"]
    process = start(tmp_path, *words)
    for line in process.stdout:
        if "changed by" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert len(images(tmp_path / "out")) < 3
    code, output = run(tmp_path, *words)
    assert code == 0, output
    assert "1 were done" in output
    assert len([voxels(path) for path in images(tmp_path / "out")]) == 3
    assert not list((tmp_path / "out").glob("**/.tmp-*"))


def test_a_bad_scan_stops_or_is_named_and_skipped(tmp_path, model, scans):
    broken = shutil.copytree(scans, tmp_path / "broken")
    bad = broken / "sub-0001" / "anat" / "sub-0001_T1w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:2000])
    words = [f"input={broken}", "output=out", f"model={model}", "method=none"]
    code, output = run(tmp_path, *words)
    assert code == 2
    assert "sub-0001" in output
    assert "Traceback" not in output
    code, output = run(tmp_path, *words, "skip_bad=true")
    assert code == 1
    assert [path.name[:8] for path in images(tmp_path / "out")] == ["sub-0000", "sub-0002"]
    assert "bad: [sub-0001]" in output
    assert "sub-0001" in (tmp_path / "out" / "quality.html").read_text()


def test_mistakes_are_one_clear_error(tmp_path, model, scans):
    tampered = shutil.copytree(model, tmp_path / "tampered")
    weights = tampered / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5000] ^= 1
    weights.write_bytes(data)
    for words, said in [
        ([f"input={tmp_path / 'nothing.nii'}", "output=o", f"model={model}"], "input="),
        ([f"input={scans}", f"output={scans}", f"model={model}"], "output="),
        ([f"input={scans}", "output=o", f"model={tmp_path}"], "model_card.json"),
        ([f"input={scans}", "output=o", f"model={tampered}"], "not the weights"),
        ([f"input={scans}", "output=o", f"model={model}", "method=nothing"], "nothing"),
    ]:
        code, output = run(tmp_path, *words)
        assert code != 0
        assert said in output
        assert "Traceback" not in output
        assert not (tmp_path / "o").exists()


def test_harmonizing_flows_adapts_to_each_scan(finished, tmp_path, model, scans):
    tiny = ["tasks.harmonizer.network.widths=[4,4,4]", "tasks.segmenter.network.widths=[4,8]"]
    tiny += [f"tasks.{stage}.{key}={value}" for stage in ("harmonizer", "segmenter") for key, value in SHORT.items()]
    code, output = finished.run("train", "stages=[harmonizer,segmenter]", *tiny)
    assert code == 0, output
    trained = {stage: finished.one(f"runs/models/{stage}-*") for stage in ("harmonizer", "segmenter")}
    card = json.loads((model / "model_card.json").read_text())  # says which slices it adapts to: the flow's
    config = OmegaConf.load(model / "config.yaml")
    assert (card["count"], card["step"]) == (config.data.count, config.data.step)
    words = [f"input={scans / 'sub-0000/anat/sub-0000_T1w.nii.gz'}", "output=out", f"model={model}"]
    words += ["method=harmonizing_flows", "method.stop.passes=2", "method.optimizer.lr=1e-3"]
    code, output = run(tmp_path, *words)
    assert code == 2
    assert "models.harmonizer=" in output
    code, output = run(tmp_path, *words, *(f"models.{stage}={path}" for stage, path in trained.items()))
    assert code == 0, output
    assert "adaptation moves" in output
    (path,) = images(tmp_path / "out")
    assert np.isfinite(voxels(path)).all()


SHORT = {"max_steps": 2, "val_every": 2, "batch_size": 8}
