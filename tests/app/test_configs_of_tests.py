"""The tests' shortcut around Hydra gives what Hydra gives."""

import pytest
from configs import by_hydra, composed
from omegaconf import OmegaConf


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config", ["experiment=ixi_unseen", "++data.root=/a b", "methods=[none,nyul]", "+trainer.max_time=null"]),
        ("config", ["data=bids", "flow=blindharmony", "tasks.flow.module.optimizer.lr=1e-3", "~data.groups"]),
        ("harmonize", ["method=blindharmony", "input='a=b'", "output=b", "model=c", "method.solver.iterations=3"]),
    ],
)  # fmt: skip
def test_it_is_what_hydra_composes(name, words):
    ours, theirs = (OmegaConf.to_container(made(*words, name=name)) for made in (composed, by_hydra))
    assert ours == theirs
    assert list(ours) == list(theirs)
