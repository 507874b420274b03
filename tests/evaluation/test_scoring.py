"""What is measured of an image, and what is kept of a case."""

import pytest
import torch

from harmony.core import Row, Stack
from harmony.evaluation import ScoredSlices, measure
from harmony.evaluation.panel import Answers
from harmony.evaluation.scoring import Part
from harmony.judges import Truth


def test_a_broken_contract_is_counted_in_the_rows():
    class Flat:
        def bits_per_dim(self, image):
            return torch.full((len(image),), 2.0)

    mask = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    mask[..., 1:3, 1:3] = True
    query = Stack(torch.where(mask, 0.5, 0.0), mask, torch.linspace(0, 1, 3))
    slices = ScoredSlices(query, None, Truth("sub-1", (1.0, 1.0, 1.0), None, None), None, None)
    good = dict(measure(query.image, slices, Flat()))
    assert good == {"jitter": 0, "bpd": 2, "negatives": 0, "background_changed": 0}
    image = query.image.clone()
    image[0, 0, 0, 0], image[1, 0, 3, 3], image[2, 0, 1, 1] = 0.1, -0.1, -0.2
    bad = dict(measure(image, slices, Flat()))
    assert (bad["negatives"], bad["background_changed"]) == (2, 2)
    assert bad["jitter"] == pytest.approx(255 * 0.7 / 4 / 2, rel=1e-5)  # of the brain: one slice fell by 0.7 / 4


def test_a_part_is_done_when_all_of_it_is_there(tmp_path):
    part = Part(tmp_path / "gamma_0.7-sub-1.csv", keeps=True)
    row, kept = Row("none", "gamma_0.7", "sub-1", "psnr", 0.1 + 0.2), {"site/none/image": torch.rand(3, 2)}
    assert not part.done
    part.save(Answers([row], kept))
    assert part.done
    assert part.rows() == [row]
    assert torch.equal(part.kept()["site/none/image"], kept["site/none/image"])
    part.beside.unlink()
    assert not part.done
    assert Part(part.path, keeps=False).done
