"""The same command is the same sweep; where a training runs is no part of what it is."""

import pytest
from configs import composed

from harmony import app
from harmony.app.sweep import folder_override, natural
from harmony.core import ConfigError
from harmony.dashboard import spec


def test_a_sweep_is_named_by_its_words():
    (one,) = folder_override(["-m", "experiment=quickstart", "seed=1,2"])
    assert one.startswith("hydra.sweep.dir=${runs}/sweeps/quickstart-")
    assert folder_override(["seed=1,2", "experiment=quickstart", "-m", "hydra/launcher=slurm"]) == [one]
    assert folder_override(["-m", "experiment=quickstart", "seed=1,3"]) != [one]
    assert folder_override(["experiment=quickstart", "seed=1"]) == []
    assert folder_override(["-m", "seed=1,2", "hydra.sweep.dir=x"]) == []


def test_where_a_model_is_trained_does_not_change_which_model_it_is(tmp_path):
    class Data:
        preprocess = type("P", (), {"settings": staticmethod(dict)})

        def split(self):
            return {}

    def name(*overrides):
        return app.model_run(composed(f"runs={tmp_path}", *overrides), Data(), "flow").path.name

    group = ("trainer.devices=4", "trainer.strategy=ddp", "trainer.accelerator=gpu", "trainer.num_nodes=2")
    assert name(*group) == name()
    assert name("trainer.precision=bf16-mixed") != name()
    assert name("trainer.gradient_clip_val=0.5") != name()


def test_a_dashboard_names_only_what_runs_log():
    panels = [panel for section in spec(composed(name="dashboard")) for panel in section["panels"]]
    assert panels[0]["metrics"] == [f"result/mean/{m}/psnr" for m in ("none", "histogram_matching", "blindharmony")]
    bad = "sections=[{name: x, panels: [{kind: line, title: y, metrics: [flow/loss]}]}]"
    with pytest.raises(ConfigError, match="no run logs flow/loss"):
        spec(composed(bad, name="dashboard"))


def test_the_workspace_can_be_built_of_the_spec(monkeypatch):
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    from harmony.dashboard import save

    built = []
    monkeypatch.setattr(workspaces.Workspace, "save", lambda self: built.append(self) or self)
    monkeypatch.setattr(workspaces.Workspace, "url", property(lambda self: "address"))
    cfg = composed("entity=me", name="dashboard")
    assert save(cfg, spec(cfg)) == "address"
    assert [section.name for section in built[0].sections] == [section["name"] for section in cfg.sections]
    assert sum(len(section.panels) for section in built[0].sections) == 9


def test_jobs_stand_in_the_order_of_their_numbers():
    words = ["seed=9", "lr=1e-3", "seed=10", "lr=0.01", "flow=b", "flow=a"]
    assert sorted(words, key=natural) == ["flow=a", "flow=b", "lr=1e-3", "lr=0.01", "seed=9", "seed=10"]
