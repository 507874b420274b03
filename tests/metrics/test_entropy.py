import math

import torch

from harmony.metrics import prediction_entropy


def test_entropy_by_hand():
    image = torch.zeros(3, 1, 2, 2)
    image[0] = 0.3  # undecided everywhere
    image[1, 0, 0] = torch.tensor([0.3, 0.9])  # undecided in one of two brain pixels; the background does not count
    sure = torch.tensor([100.0, 0.0]).view(1, 2, 1, 1)
    logits = torch.where(image > 0.5, sure, 0.0 * sure)
    expected = torch.tensor([math.log(2), math.log(2) / 2, 0])
    torch.testing.assert_close(prediction_entropy(logits, image), expected)
