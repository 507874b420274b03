"""Splits, reference statistics, run folders and files keep their promises."""

import signal

import numpy as np
import pytest
import torch

from harmony.core import CheckpointError, DataError, Scan, Stack, Volume, interrupts, read_rows, split_by_subject
from harmony.core.files import atomic_path
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder, content_key, fingerprint

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def scans(count, sessions=2):
    return [Scan(f"s{k}-{j}.nii", f"sub-{k:02d}", session=f"ses-{j}") for k in range(count) for j in range(sessions)]


def volume(image, subject="sub-1"):
    return Volume(Scan("x.nii", subject), image, image > 0, None, np.eye(4), 1.0)


def test_no_subject_is_in_two_parts_and_no_scan_is_lost():
    parts = split_by_subject(scans(20), SHARES, seed=0)
    people = {part: {scan.subject for scan in found} for part, found in parts.items()}
    assert [len(people[part]) for part in SHARES] == [12, 4, 4]
    assert sum(len(found) for found in parts.values()) == 40
    assert not people["train"] & people["val"] | people["train"] & people["test"] | people["val"] & people["test"]


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    forwards, backwards = split_by_subject(scans(20), SHARES, 0), split_by_subject(scans(20)[::-1], SHARES, 0)
    assert forwards == backwards
    assert forwards != split_by_subject(scans(20), SHARES, 1)


def test_shares_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        split_by_subject(scans(4), {"train": 0.5, "test": 0.4}, 0)


def test_a_stack_refuses_shapes_that_do_not_fit():
    image = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match="differ in shape"):
        Stack(image, torch.zeros(2, 1, 4, 5, dtype=torch.bool), torch.zeros(2))
    with pytest.raises(ValueError, match="position"):
        Stack(image, image > 0, torch.zeros(3))


@pytest.mark.parametrize(("slices", "count", "step"), [(50, 24, 2), (49, 24, 2), (10, 24, 2), (7, 7, 1), (9, None, 2)])
def test_chosen_slices_are_the_middle_ones(slices, count, step):
    index = volume(torch.ones(slices, 2, 2)).select(count, step)
    assert len(index) == (min(count, (slices + step - 1) // step) if count else (slices + step - 1) // step)
    assert (index.diff() == step).all()
    assert abs((index[0] + index[-1]) / 2 - (slices - 1) / 2) <= (0.5 if count else step)
    assert index[0] >= 0
    assert index[-1] < slices


def test_positions_run_from_zero_to_one():
    found = volume(torch.ones(5, 2, 2)).stack(torch.arange(5)).position
    torch.testing.assert_close(found, torch.linspace(0, 1, 5))


def test_reference_is_the_mean_slice_per_position_and_the_pooled_quantiles():
    a = torch.arange(1, 4).float()[:, None, None].expand(3, 2, 2) / 10  # 3 slices: .1 .2 .3
    b = torch.arange(1, 6).float()[:, None, None].expand(5, 2, 2) / 10  # 5 slices: .1 ... .5
    reference = Reference.of([volume(a), volume(b)], positions=3, quantiles=5)
    torch.testing.assert_close(reference.mean_slices[:, 0, 0, 0], torch.tensor([0.1, 0.25, 0.4]))
    torch.testing.assert_close(reference.brain, torch.full((3,), 4.0))
    torch.testing.assert_close(reference.intensities[1], torch.tensor([0.2, 0.2, 0.25, 0.3, 0.3]))
    middle = reference.start(torch.tensor([0.0, 0.25, 1.0]))[:, 0, 0, 0]
    torch.testing.assert_close(middle, torch.tensor([0.1, 0.175, 0.4]))


def test_a_pixel_of_the_mean_slice_is_the_mean_of_the_brains_that_cover_it():
    small, large = torch.full((2, 1, 4), 0.4), torch.full((2, 1, 4), 0.8)
    small[..., 2:] = 0  # outside that brain
    large[..., 3] = 0
    found = Reference.of([volume(small), volume(large)], positions=2, quantiles=3).mean_slices[0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0.6, 0.6, 0.8, 0.0]))


def test_pooled_intensities_are_those_of_the_slices_asked_for_by_their_brain_pixels():
    image = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0)) + torch.arange(3.0)[:, None, None]
    image[2, 10:] = 0  # half a slice of brain, the brightest
    reference = Reference.of([volume(image)], positions=3, quantiles=201)
    alone = reference.pooled(torch.tensor([0.5]))
    assert 1 <= alone.min() < 1.1
    assert 1.9 < alone.max() <= 2
    everything = reference.pooled(torch.tensor([0.0, 0.5, 1.0]))
    expected = torch.quantile(image[image > 0], (torch.arange(201) + 0.5) / 201)
    torch.testing.assert_close(everything, expected, atol=0.03, rtol=0)


def test_reference_survives_the_disk_and_a_broken_file_is_one_clear_error(tmp_path):
    reference = Reference.of([volume(torch.rand(4, 2, 2))], positions=3, quantiles=5)
    reference.save(tmp_path / "r.safetensors")
    back = Reference.load(tmp_path / "r.safetensors")
    assert torch.equal(back.mean_slices, reference.mean_slices)
    (tmp_path / "r.safetensors").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match=r"r\.safetensors"):
        Reference.load(tmp_path / "r.safetensors")


def test_nothing_half_written_is_left(tmp_path):
    (tmp_path / "x.txt").write_text("old")

    def write_half():
        with atomic_path(tmp_path / "x.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_fingerprints_see_every_change_and_not_the_order():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert len({fingerprint({"a": 1}), fingerprint({"a": 2}), fingerprint({"a": 1, "seed": 0})}) == 3


def test_a_file_too_short_for_a_gzip_stream_has_a_content_too(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8b\x08\x00\x00")
    (tmp_path / "b.nii.gz").write_bytes(b"\x1f\x8b\x08\x00\x01")
    assert content_key(tmp_path / "a.nii.gz") != content_key(tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match=r"cannot be read.*rights"):
        content_key(tmp_path)


def test_a_run_that_begins_again_removes_what_a_killed_one_was_writing(tmp_path):
    run = RunFolder(tmp_path / "run")
    half = run.path / "panels" / "mix" / ".tmp-query-0a1b2c3d.png"
    half.parent.mkdir(parents=True)
    for path in (half, half.with_name("query.png")):
        path.write_bytes(b"half")
    run.begin("name: x")
    assert [path.name for path in half.parent.iterdir()] == ["query.png"]


def test_a_run_folder_tells_its_state(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.interrupt()
    assert (run.path / "INTERRUPTED").exists()
    run.begin("seed: 0\n")
    assert not (run.path / "INTERRUPTED").exists()
    assert not run.done
    run.finish({"val_bpd": 3.5})
    assert run.done
    assert run.summary() == {"val_bpd": 3.5}


def test_signals_are_noted_and_raised_where_the_loop_checks(monkeypatch):
    monkeypatch.setattr(interrupts, "_received", [])
    former = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        interrupts.watch()
        interrupts.check()
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.received()
        with pytest.raises(interrupts.Interrupted) as caught:
            interrupts.check()
        assert caught.value.exit_code == 143
    finally:
        signal.signal(signal.SIGTERM, former[0])
        signal.signal(signal.SIGINT, former[1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reference,method,domain,subject,metric,value\nA,none,B,s,psnr,1\n", "line 1.*columns are reference"),
        ("", "line 1.*none"),
        ("method,domain,subject,metric,value\nnone,exp,s,psnr\n", "line 2: 4 values"),
        ("method,domain,subject,metric,value\nnone,exp,s,psnr,1,2\n", "line 2: 6 values"),
        ("method,domain,subject,metric,value\nnone,exp,s,psnr,high\n", "line 2.*'high' is no number"),
        ("method,domain,subject,metric,value\nnone,exp,s,psnr,1\na,b,c,d,2\nnone,exp,s,psnr,1\n", "line 4.*line 2"),
    ],
)
def test_rows_that_are_not_as_agreed_are_refused_with_their_line(tmp_path, text, words):
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(DataError, match=rf"results\.csv: {words}.*->"):
        read_rows(tmp_path / "results.csv")
