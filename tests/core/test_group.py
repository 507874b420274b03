"""Two processes that train together compute what one does with the whole batch: values, gradients, statistics."""

import os
import socket

import pytest
import torch
from torch import distributed, multiprocessing, nn

from harmony.core import group

ROWS = torch.randn(6, 3, 4, 2, generator=torch.Generator().manual_seed(0)) + 2


def normalized(x):
    """The output, its gradient, and the statistics of a BatchNorm in training, of x or of this process's part of it."""
    layer = nn.Sequential(nn.BatchNorm2d(3))
    group.share_batch_statistics(layer)
    x = x.clone().requires_grad_()
    y = layer(x)
    (y**3).sum().backward()
    return {"y": y.detach(), "dx": x.grad, **layer.state_dict()}


def in_a_process(rank, port, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    x = torch.tensor([1.0, 10.0])[rank].requires_grad_()
    y = group.total(x)
    ((rank + 2) * y).backward()
    mine = ROWS[group.share()]
    values = mine.transpose(0, 1).flatten(1)
    found = {"total": y.detach(), "gradient": x.grad, "rank": group.rank(), "rows": group.rows_of_batch(len(mine))}
    found |= {"greatest": group.greatest(15 * rank, torch.device("cpu")), "moments": group.global_moments(values)}
    torch.save(found | {"norm": normalized(mine)}, out / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("group")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(in_a_process, (port, out), nprocs=2)
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_a_total_has_the_gradient_of_everybodys_use_of_it(found):
    """y = x_0 + x_1 in both processes, used as 2 y in the one and 3 y in the other: dx = 5 for both."""
    assert [each["total"] for each in found] == [11, 11]
    assert [each["gradient"] for each in found] == [5, 5]


def test_every_process_has_its_rows_and_hears_of_a_signal(found):
    assert [each["rank"] for each in found] == [0, 1]
    assert [each["rows"] for each in found] == [(6, slice(0, None, 2)), (6, slice(1, None, 2))]
    assert [each["greatest"] for each in found] == [15, 15]


def test_statistics_are_those_of_the_whole_batch(found):
    values = ROWS.transpose(0, 1).flatten(1)
    for each in found:
        torch.testing.assert_close(each["moments"], (values.mean(1), values.std(1)))
    whole = normalized(ROWS)
    for rank, each in enumerate(found):
        for name in ("y", "dx"):
            torch.testing.assert_close(each["norm"][name], whole[name][rank::2], atol=1e-4, rtol=1e-4)
        for name in ("0.running_mean", "0.running_var", "0.num_batches_tracked"):
            torch.testing.assert_close(each["norm"][name], whole[name])


def test_alone_a_process_is_the_whole_group():
    values = ROWS.transpose(0, 1).flatten(1)
    assert (group.in_group(), group.rank(), group.share(), group.rows_of_batch(6)) == (
        False,
        0,
        slice(None),
        (6, slice(None)),
    )
    assert group.greatest(15, torch.device("cpu")) == 15
    torch.testing.assert_close(group.global_moments(values), (values.mean(1), values.std(1)))
