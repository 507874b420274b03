"""The tissue network's training: its examples, its loss, the prior that it ends with."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from harmony.core import ConfigError, Scan, Volume
from harmony.core.reference import Reference
from harmony.data import Lesions, ScannerCorruption
from harmony.networks import TissueNet
from harmony.scanner import Calibration, Resolution, intensity_clusters, rough_field
from harmony.tasks import TissueTask, tissue
from harmony.tasks.tissue import doubted, volumes_of

TISSUES = ("csf", "grey", "white")
LEVELS = torch.tensor([0.0, 0.3, 0.6, 0.9])
SIZE = (16, 24, 24)


def volume(seed, labelled=True):
    generator = torch.Generator().manual_seed(seed)
    z, y, x = torch.meshgrid(*(torch.linspace(-1.1, 1.1, n) for n in SIZE), indexing="ij")
    radius = z**2 + y**2 + x**2
    labels = ((radius < 1).int() + (radius < 0.7).int() + (radius < 0.4).int()).to(torch.int16)
    image = LEVELS[labels.long()] * (0.03 * torch.randn(SIZE, generator=generator)).exp()
    scan = Scan(path=f"{seed}.nii", subject=f"sub-{seed}")
    return Volume(scan, image.clamp(max=1), labels > 0, labels if labelled else None, 2 * torch.eye(4).numpy(), 1.0)


def task(clusters=False, lesions=0.0, lesions_in="white", flattened=0.0, label_map=None, start=None, **changes):
    corruption = {
        "curve": 0.0, "gamma": (1.0, 1.0), "gain": 0.1, "shading": 0.1, "blur": 0.5, "anisotropy": 0.0, "noise": 0.02,
        "probability": 0.5, "percentile": 99.5,
    }  # fmt: skip
    torch.manual_seed(0)
    return TissueTask(
        network=TissueNet(tissues=TISSUES, widths=[8, 8]),
        tissues=TISSUES,
        lesions_in=lesions_in,
        lesions=Lesions(probability=lesions, share=0.1, depth=(0.3, 0.3), grain=(2.0, 2.0)),
        corruption=ScannerCorruption(**(corruption | changes)),
        calibration=Calibration(frequencies=16, every=1, margin=1.1),
        reference=Reference.of([volume(0), volume(1)], positions=4, quantiles=64),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        max_steps=10,
        slab=8,
        spacing=2.0,
        flattened=flattened,
        clusters=clusters,
        label_map=label_map,
        start=start,
        mirror=True,
        seed=0,
    )


def batch(*seeds):
    """Whole volumes, one after the other."""
    some = [volume(seed) for seed in seeds]
    entries = {name: torch.cat([getattr(one, name) for one in some])[:, None] for name in ("image", "mask", "labels")}
    return entries | {"subject": torch.arange(len(some)).repeat_interleave(SIZE[0])}


class Volumes(SimpleNamespace):
    """In the place of a data module. train, val: volumes."""

    def volumes(self, part):
        return getattr(self, part)


def started(made, *train):
    """As a fit starts."""
    made.trainer = SimpleNamespace(datamodule=Volumes(train=train))
    made.on_fit_start()


def chance(seed=7):
    return torch.Generator().manual_seed(seed)


def test_scanners_stay_exact_in_mixed_precision():
    made = task()
    started(made, volume(0))
    exact = made.example(batch(0), chance())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = made.example(batch(0), chance())
    for ours, expected in zip(seen, exact, strict=True):
        assert torch.equal(ours, expected)


def test_each_volume_of_a_step_has_its_own_scanner_and_slab(monkeypatch):
    made, shown = task(), []
    made.log = lambda *_, **__: None
    monkeypatch.setattr(TissueTask, "global_step", 3)
    started(made, volume(0))
    loss = made.loss
    monkeypatch.setattr(made, "loss", lambda labels, seen: shown.append((labels, seen)) or loss(labels, seen))
    made.training_step(batch(0, 0, 0), 0)
    made.slab, made.mirror = SIZE[0], False
    made.training_step(batch(0, 0, 0), 0)
    (slabs, parts_seen), (labels, seen) = shown
    assert parts_seen.shape == (3, 2, 8, *SIZE[1:])  # `slab` slices of each
    assert not (slabs == slabs[0]).all()
    assert (labels == labels[0]).all()
    brightness = [float(one[1][own > 0].mean()) for own, one in zip(labels, seen, strict=True)]
    assert len({round(value, 4) for value in brightness}) == 3
    parts = volumes_of(batch(0, 1, 2))
    assert [torch.equal(part["image"], batch(k)["image"]) for k, part in enumerate(parts)] == [True] * 3


def test_validation_is_the_same_each_time(monkeypatch):
    made, logged = task(), []
    made.log = lambda name, value, **_: logged.append((name, float(value)))
    started(made, volume(0))
    made.network.eval()
    with torch.no_grad():
        for step in (0, 3):
            monkeypatch.setattr(TissueTask, "global_step", step)
            made.validation_step(batch(0, 1), 0)
        made.validation_step(batch(0, 1), 1)
    assert logged[:2] == logged[2:4] != logged[4:]


def test_a_batch_stays_where_scanners_are_made():
    moved = task().transfer_batch_to_device(batch(0), torch.device("meta"), 0)
    assert all(entry.device.type == "cpu" for entry in moved.values())


@pytest.mark.gpu
def test_a_step_on_a_card():
    made = task().to("cuda")
    made.log = lambda *_, **__: None
    started(made, volume(0))
    seen = made.transfer_batch_to_device(batch(0, 1), torch.device("cuda"), 0)
    made.training_step(seen, 0).backward()
    assert all(p.grad.is_cuda for p in made.network.parameters())
    prior = made.finish(Volumes(train=[volume(k) for k in range(4)], val=[volume(5)]))["prior"]
    assert not prior.raw.limit.is_cuda  # scans are read on the CPU


def test_a_turned_volume_is_turned_with_its_labels():
    made = task(gain=0.0, shading=0.0, blur=0.0, noise=0.0)
    started(made, volume(0))
    lopsided = batch(0)
    lopsided["image"][:, :, :12] *= 0.5
    sides = set()
    for seed in range(8):
        labels, seen = made.example(lopsided, chance(seed), mirror=True)
        assert torch.equal(labels > 0, seen[1] > 0)
        sides.add(bool(seen[1, :, :12].mean() < seen[1, :, 12:].mean()))
    assert sides == {True, False}


def test_clusters_are_found_once_for_each_volume(monkeypatch):
    made, asked = task(clusters=True), []
    monkeypatch.setattr(tissue, "intensity_clusters", lambda *args: asked.append(1) or intensity_clusters(*args))
    unlabelled = batch(0, 1)
    del unlabelled["labels"]
    volumes = volumes_of(unlabelled)
    for _ in range(2):
        for k, one in enumerate(volumes):
            labels, _ = made.example(one, chance())
            assert torch.equal(labels, intensity_clusters(volume(k).image, volume(k).mask, 3))
    made.eval().example(volumes[0], chance())  # of another part, another volume has this number
    assert len(asked) == 3


def test_what_is_seen_is_drawn_and_training_goes_down():
    made = task()
    started(made, *map(volume, range(3)))
    assert torch.equal(made.example(batch(0), chance())[1], made.example(batch(0), chance())[1])
    assert not torch.equal(made.example(batch(0), chance())[1], made.example(batch(0), chance(9))[1])
    optimizer, losses = made.configure_optimizers()["optimizer"], []
    for step in range(12):
        seen = [made.example(one, chance(step), slab=8) for one in volumes_of(batch(0, 1, 2))]
        loss = made.loss(*(torch.stack(each) for each in zip(*seen, strict=True)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_what_has_no_tissue_does_not_count():
    made = task()
    labels, seen = (each[None] for each in made.example(batch(0), chance()))
    made.network.eval()
    with torch.no_grad():
        whole, logits = made.loss(labels, seen), made.network(seen)
    by_hand = torch.nn.functional.cross_entropy(logits[0][:, labels[0] > 0].T, labels[0][labels[0] > 0].long() - 1)
    torch.testing.assert_close(whole, by_hand)
    assert made.loss(torch.zeros_like(labels), seen) == 0  # slices of the rim may hold none


def test_lesions_are_seen_and_stay_white_matter():
    still = {"gain": 0.0, "shading": 0.0, "blur": 0.0, "noise": 0.0}
    plain, spotted = (task(lesions=share, **still).example(batch(0), chance()) for share in (0.0, 1.0))
    darker = spotted[1][1] < 0.9 * plain[1][1]
    assert darker.any()
    assert (plain[0][darker] == 3).all()
    assert torch.equal(spotted[0], plain[0])


def test_a_slab_is_filtered_with_its_neighbours():
    """As a whole volume is, of which it is a part: a blur mixes slices, and the filter reads them."""
    made = task(blur=1.0, noise=0.0, gain=0.0, shading=0.0, probability=1.0)
    started(made, volume(0))
    whole = made.example(batch(0), chance())
    part = made.example(batch(0), chance(), slab=4)
    first = next(k for k in range(SIZE[0] - 3) if torch.equal(whole[0][k : k + 4], part[0]))
    cut = slice(first, first + 4)
    assert 3 < first < SIZE[0] - 7  # slices on either side
    torch.testing.assert_close(part[1], whole[1][:, cut], atol=0.03, rtol=0)


def test_a_lesion_is_of_the_tissue_that_is_named_and_of_no_other_name():
    still = {"gain": 0.0, "shading": 0.0, "blur": 0.0, "noise": 0.0}
    plain, spotted = (
        task(lesions=share, lesions_in="grey", **still).example(batch(0), chance()) for share in (0.0, 1.0)
    )
    darker = spotted[1][1] < 0.9 * plain[1][1]
    assert darker.any()
    assert (plain[0][darker] == 2).all()
    with pytest.raises(ConfigError, match=r"lesions_in=gray.*csf, grey, white"):
        task(lesions_in="gray")


@pytest.mark.parametrize("clusters", [False, True])
def test_a_task_ends_with_the_prior_of_its_volumes(clusters):
    """Of the train volumes what needs many, of all what untouched scans show; the weights stay as they are."""
    made = task(clusters=clusters)
    weights = {name: value.clone() for name, value in made.network.state_dict().items()}
    volumes = [volume(k, labelled=not clusters) for k in range(6)]
    prior = made.finish(Volumes(train=volumes[:4], val=volumes[4:]))["prior"]
    assert prior.tissues == TISSUES
    assert len(prior.spectrum) == 16
    torch.testing.assert_close(prior.expected.coefficients[:, 0].exp(), LEVELS[1:], atol=0.06, rtol=0)
    assert prior.scanners[:3].tolist() == pytest.approx([0.1**2 / 3] * 3)
    assert all(torch.equal(value, weights[name]) for name, value in made.network.state_dict().items())


def test_a_training_filter_is_told_what_an_estimate_would_be():
    """Blur 0 to 20 % too small, along all axes alike; noise off by a tenth, either way."""
    true, draw = Resolution(torch.tensor([1.0, 2.0, 0.5]), torch.tensor(0.05)), chance()
    told = [doubted(true, draw) for _ in range(2000)]
    shares = torch.stack([each.width / true.width for each in told])
    torch.testing.assert_close(shares, shares[:, :1].expand(-1, 3))
    assert [float(shares.min()), float(shares.mean()), float(shares.max())] == pytest.approx([0.8, 0.9, 1], abs=0.01)
    off = torch.stack([(each.noise / true.noise).log() for each in told])
    assert float(off.mean()) == pytest.approx(0, abs=0.01)
    assert float(off.std()) == pytest.approx(0.1, rel=0.1)


def test_codes_of_a_segmentation_become_tissues():
    made = task(label_map="muse")
    codes = torch.tensor([[0, 51, 47], [59, 44, 45]], dtype=torch.int16)  # ventricle, hippocampus, thalamus, no code
    assert made.as_tissues(codes).tolist() == [[0, 1, 2], [3, 0, 0]]
    assert torch.equal(task().as_tissues(codes), codes)


def test_training_goes_on_from_a_network_that_knows_a_tissue_less(tmp_path):
    before = TissueNet(tissues=TISSUES, widths=[8, 8])
    save_file(before.state_dict(), tmp_path / "model.safetensors")
    now = TissueNet(tissues=("csf", "grey", "deep", "white"), widths=[8, 8])
    now.load_state_dict(tissue.going_on(before.state_dict(), now.state_dict()))
    scan = torch.rand(1, 2, 4, 16, 16)
    csf, grey, white = before.eval()(scan).unbind(1)
    torch.testing.assert_close(now.eval()(scan), torch.stack((csf, grey, grey, white), dim=1))
    same = task(start=str(tmp_path / "model.safetensors")).network.state_dict()
    assert all(torch.equal(same[name], value) for name, value in before.state_dict().items())


def test_flattened_scans_are_divided_by_their_rough_field():
    drawn = {"shading": 0.0, "gain": 0.0, "blur": 0.0, "noise": 0.0, "coils": 4.0}
    one = volumes_of(batch(0))[0]
    scan, flat = (
        task(flattened=share, **drawn).example(one, torch.Generator().manual_seed(1))[1][1] for share in (0.0, 1.0)
    )
    inside = one["mask"][:, 0] & (scan > 0.02) & (scan < 1) & (flat < 1.4)
    taken = (scan / flat).log()[inside]
    rough = rough_field(scan, one["mask"][:, 0], 2.0)[inside]
    assert torch.corrcoef(torch.stack((taken, rough)))[0, 1] > 0.95
