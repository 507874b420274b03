"""The one command for a card: each piece runs (here tiny), what is done is kept, what failed is tried again."""

import json
import time

import gpu
import pytest
import scan_speed
import torch
from floor import convolutions_of
from gpu_pieces import PIECES, Room
from torch.utils.checkpoint import checkpoint


def room(folder, seconds=60.0, tiny=True):
    return Room(torch.device("cpu"), tiny, time.monotonic() + seconds, folder, 1.0)


def test_its_dry_run_does_every_piece_once(tmp_path):
    out = tmp_path / "gpu"
    assert gpu.main(["--dry", "--out", str(out)]) == 0
    state = json.loads((out / "state.json").read_text())
    assert list(state) == list(PIECES)
    assert not [name for name, found in state.items() if "error" in found]
    assert state["training"]["step"] == 1
    assert state["DDP"]["largest_difference"] < 1e-6
    assert all(found["dry"] for found in state.values())


def test_it_goes_on_where_it_was_and_tries_again_what_failed(tmp_path, capsys):
    calls = []

    def piece(name, *answers):
        left = iter(answers)

        def measure(_):
            calls.append(name)
            answer = next(left)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return 0, measure

    pieces = {"a": piece("a", {"x": 1}), "b": piece("b", ValueError("no"), {"x": 2}), "c": piece("c", None, {"x": 3})}
    assert gpu.run(pieces, room(tmp_path)) == gpu.AGAIN
    assert "2 of 3" in capsys.readouterr().out
    assert gpu.run(pieces, room(tmp_path)) == 0
    assert calls == ["a", "b", "c", "b", "c"]
    pieces["d"] = (100.0, None)
    assert gpu.run(pieces, room(tmp_path, seconds=50, tiny=False)) == gpu.AGAIN


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so_and_writes_nothing(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path / "gpu")]) == 2
    assert "no CUDA card" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()


def test_the_floor_counts_forward_backward_and_what_is_run_again():
    x = torch.randn(1, 2, 8, 8)
    first, second = torch.nn.Conv2d(2, 3, 3), torch.nn.Conv2d(3, 2, 3)

    def step():
        y = checkpoint(lambda x: second(first(x)), x, use_reentrant=False)
        y.square().sum().backward()

    calls = []
    replay = convolutions_of(step)
    cells = [cell.cell_contents for cell in replay.__wrapped__.__closure__]
    for function, _ in next(c for c in cells if isinstance(c, list)):
        calls.append(function.overloadpacket.__name__)
    # forward 2, and the first again: what the second makes is not needed a second time
    assert sorted(calls) == ["convolution"] * 3 + ["convolution_backward"] * 2
    assert replay()[0].shape == (1, 3, 6, 6)


def test_our_loops_end_where_the_papers_loops_do():
    report = scan_speed.main(["--small", "--threads", "1"])
    assert report["with brain"] == 6
    assert report["blindharmony"]["apart"] < 1e-3
    assert report["adaptation"]["apart"] < 1e-5
