"""The chance of a step: the same however one gets there, another for every seed, step and process."""

import torch

from harmony.core.batch import draws, each


def test_chance_is_a_function_of_seed_step_and_rank_alone():
    assert draws(3, 7).initial_seed() == 3_000_016  # as every model so far was trained
    assert torch.equal(torch.rand(4, generator=draws(3, 7, 1)), torch.rand(4, generator=draws(3, 7, 1)))
    places = [(seed, step, rank) for seed in (0, 1, 2) for step in (0, 1, 900) for rank in (0, 1, 7)]
    assert len({draws(*place).initial_seed() for place in places}) == len(places)
    assert draws(5, 2).initial_seed() == draws(5, 2, 0).initial_seed()


def test_every_entry_of_a_batch_is_changed_alike():
    batch = {"image": torch.arange(3.0), "subject": torch.arange(3)}
    picked = each(batch, lambda values: values[[2, 0]])
    assert {name: values.tolist() for name, values in picked.items()} == {"image": [2.0, 0.0], "subject": [2, 0]}
