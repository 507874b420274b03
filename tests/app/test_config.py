"""Every experiment composes and instantiates; what a config must not do is refused."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from brains import PRIORS
from configs import by_hydra, composed
from hydra.errors import HydraException
from omegaconf import OmegaConf

from harmony import app
from harmony.cli import configs
from harmony.core import REFERENCE, ConfigError
from harmony.core.reference import Reference
from harmony.data import STRUCTURES
from harmony.judges import Examples
from harmony.methods import AdaptiveMethod

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
DATA = [name for name in configs.choices("data") if name != "preprocess"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_instantiates(name):
    cfg = composed(f"experiment={name}", "++data.root=/nowhere")
    assert cfg.name == name
    app.refuse_foreign_targets(cfg)
    app.build(cfg.data.source)
    app.build(cfg.data.preprocess)
    density = app.build(cfg.flow)
    unit = 2**density.levels
    assert all(size % unit == 0 for size in cfg.data.preprocess.size)
    networks = {stage: app.build(node.network) for stage, node in cfg.tasks.items()} | PRIORS
    reference = Reference(torch.zeros(3, 1, unit, unit), torch.rand(3, 8), torch.ones(3))
    for stage, node in cfg.tasks.items():
        app.build_task(node.module, network=networks[stage], reference=reference).configure_optimizers()
        assert len([app.build(callback) for callback in node.callbacks]) == len(node.callbacks)
    assert list(app.build_methods(cfg, networks, reference, 3.0)) == list(cfg.methods)


def dotted(node, prefix=""):
    for name in node:
        yield f"{prefix}{name}"
        if isinstance(node[name], dict):
            yield from dotted(node[name], f"{prefix}{name}.")


def test_the_command_knows_every_key_that_hydra_composes():
    """It reads the YAMLs itself: help must not wait for Hydra."""
    assert str(configs.conf_folder()) == app.conf_folder()
    assert configs.FAMILIES == app.configs.FAMILIES
    assert all(sorted(configs.choices(family)) == app.members(family) for family in configs.FAMILIES)
    known = {page: configs.known_keys(page) for page in ("config", "harmonize", "dashboard")}
    for name in EXPERIMENTS:
        assert not keys(composed(f"experiment={name}")) - known["config"], name
    assert not keys(composed("output=here.json", name="dashboard")) - known["dashboard"]
    # All members of a family in one composition: Hydra takes a second for each.
    for page, family, names in (("config", "data", DATA), ("harmonize", "method", app.members("method"))):
        members = composed(*(f"+{family}@probe.{name}={name}" for name in names), name=page).probe
        for name in names:
            assert not {f"{family}.{key}" for key in keys(members[name])} - known[page], name


def keys(cfg):
    return set(dotted(OmegaConf.to_container(cfg)))


@pytest.mark.parametrize("name", app.members("method"))
def test_every_method_of_the_config_can_be_built(name):
    cfg = composed(f"methods=[{name}]")
    reference = Reference(torch.zeros(3, 1, 8, 8), torch.rand(3, 8), torch.ones(3))
    networks = {stage: app.build(cfg.tasks[stage].network) for stage in app.models_wanted(cfg)} | PRIORS
    assert list(app.build_methods(cfg, networks, reference, 3.0)) == [name]


def judges(cfg):
    """With nothing at hand but networks, ages and no examples of any scanner."""
    networks = {stage: app.build(cfg.tasks[stage].network) for stage in app.models_wanted(cfg)}
    return app.build_judges(cfg, networks, {"training_ages": [30.0], "examples": {REFERENCE: Examples([], [])}})


def test_combat_needs_the_numbers_of_another_judge():
    with pytest.raises(ConfigError, match="add tissue or age"):
        judges(composed("evaluation.judges=[combat]"))
    with pytest.raises(ConfigError, match="add none to methods"):
        judges(composed("evaluation.judges=[segmentation,combat]", "methods=[nyul]"))
    assert list(judges(composed("evaluation.judges=[segmentation,combat]")).rivals) == ["combat"]


def test_a_judge_that_adapts_sees_the_query():
    with pytest.raises(ConfigError, match=r"judge\.tent\.sees=query"):
        judges(composed("evaluation.judges=[tent]", "judge.tent.sees=harmonized"))


@pytest.mark.parametrize("name", sorted({*app.members("judge")} - {"combat"}))
def test_every_judge_of_the_config_can_be_built(name):
    cfg = composed(f"evaluation.judges=[{name}]")
    built = judges(cfg)
    assert [*built.judges, *built.rivals] == [name]
    assert (name in built.rivals) == (cfg.judge[name].sees == "query")
    assert set(app.models_wanted(cfg)) == {"flow", *cfg.judge[name].get("models", {}).values()}


@pytest.mark.parametrize(("family", "key"), [("task", "tasks"), ("method", "method"), ("judge", "judge")])
def test_every_file_of_a_family_is_a_member_and_no_list_names_it(family, key):
    found = app.members(family)
    assert set(found) <= set(composed()[key])
    for page in ("config.yaml", "harmonize.yaml"):
        assert f"{family}@" not in (ROOT / "conf" / page).read_text()


def test_harmonize_may_be_given_a_model_of_every_stage():
    cfg = composed("input=a", "output=b", "model=c", name="harmonize")
    assert {"flow", *cfg.models} == set(app.members("task"))
    assert set(cfg.models.values()) == {None}


def test_what_a_config_says_of_its_member_is_neither_built_nor_a_part_of_what_a_run_is(tmp_path):
    small = [
        "data.source.subjects=10",
        "data.source.resolution=4",
        f"cache={tmp_path}",
        "evaluation.judges=[segmentation]",
    ]
    bare = composed(*small)
    said = ("++{0}.says='Something of it.'", "++{0}.cites=[someone2020]")
    places = (
        "method.blindharmony",
        "method.blindharmony.solver",
        "judge.segmentation",
        "tasks.flow.module",
        "data.source",
    )
    cfg = composed(*small, *(word.format(place) for place in places for word in said))
    networks = {stage: app.build(cfg.tasks[stage].network) for stage in app.models_wanted(cfg)} | PRIORS
    reference = Reference(torch.zeros(3, 1, 8, 8), torch.rand(3, 8), torch.ones(3))
    assert app.build_methods(cfg, networks, reference, 3.0)["blindharmony"].solver.iterations == 10
    assert list(judges(cfg).judges) == ["segmentation"]
    app.build(cfg.tasks.flow.module)
    data = app.build_data(cfg)
    for find in (lambda cfg: app.model_run(cfg, data, "flow"), lambda cfg: app.experiment_run(cfg, data)):
        assert find(cfg).path == find(bare).path
    assert cfg.method.blindharmony.says == "Something of it."


def test_old_models_are_found_again(tmp_path):
    """What changes one of these names makes users train again; commit 0d40da8 gave them, to the recipe of then."""
    data = SimpleNamespace(preprocess=SimpleNamespace(settings=lambda: PREPROCESS), split=dict)
    then = {
        "data": {"count": 24, "source": {"resolution": 2}, "preprocess": {"spacing": 2.0, "size": [80, 96]}},
        "tasks": {
            "harmonizer": {"module": {"halve_every": 60}, "max_steps": 120, "val_every": 40},
            "segmenter": {"max_steps": 150, "val_every": 50},
        },
    }
    cfg = OmegaConf.merge(composed("experiment=quickstart", f"runs={tmp_path}"), then)
    found = {stage: app.model_run(cfg, data, stage).path.name for stage in ("flow", "harmonizer", "segmenter")}
    assert found == {"flow": "flow-7aca29ff", "harmonizer": "harmonizer-a467c5fb", "segmenter": "segmenter-3322589d"}


PREPROCESS = {
    "spacing": 2.0, "axis": "axial", "size": [80, 96], "percentile": 99.5, "orientation": "RAS", "label_map": None,
    "n4": False, "version": 1,
}  # fmt: skip


def test_the_structures_judge_asks_for_all_structures():
    names = composed().judge.structures.structures
    assert sorted(names.values()) == list(range(1, len(STRUCTURES)))
    assert all(set(name.split("_")) <= set(STRUCTURES[value].split()) for name, value in names.items())


def test_blindharmony_presets_are_the_papers():
    cfg = composed("experiment=oasis_nsf")
    assert cfg.tasks.flow.module.max_steps == 10_000
    assert sum(p.numel() for p in app.build(cfg.flow).parameters()) == 14_486_534
    solver = app.build(cfg.method.blindharmony.solver)
    assert (solver.iterations, solver.alpha, solver.keep_level) == (10, 1e-3, False)
    distance = app.build(cfg.method.blindharmony.distance)
    assert (distance.b1, distance.relative) == (1000.0, False)
    assert cfg.trainer.gradient_clip_val is None


def test_a_group_of_query_scanners_stands_for_its_members():
    cfg = composed("data.query=[exp,held_out,exp]")
    app.refuse_impossible(cfg)
    app.expand_groups(cfg)
    assert list(cfg.data.query) == ["exp", *cfg.data.groups.held_out]
    assert {cfg.data.scanners[name].kind for name in cfg.data.groups.held_out} >= {
        "ghost", "gibbs", "thick", "coil", "warp", "reorder"
    }  # fmt: skip


def test_needed_stands_for_what_methods_and_judges_use_and_nothing_is_trained_twice():
    cfg = composed("experiment=quickstart", "stages=[segmenter,needed,evaluate]", "evaluation.judges=[age]")
    app.refuse_impossible(cfg)
    app.expand_stages(cfg)
    assert list(cfg.stages) == ["segmenter", "flow", "harmonizer_broad", "tissue", "age", "evaluate"]


@pytest.mark.parametrize("override", ["sede=2", "tasks.flow.max_step=3", "experiment=quikstart", "data=nowhere"])
def test_misspelt_keys_and_names_are_refused(override):
    with pytest.raises(HydraException):
        by_hydra(override)


@pytest.mark.parametrize(
    "target", ["os.system", "pathlib.Path.unlink", "harmony.core.files.write_atomic", "harmony.app.build", "torch.load"]
)
def test_a_config_can_not_run_arbitrary_code(target):
    cfg = OmegaConf.create({"a": [{"b": {"_target_": target, "path": "x"}}]})
    with pytest.raises(ConfigError, match="not something harmony may build"):
        app.build(cfg)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("methods=[none,blindharmoni]", r"blindharmoni.*histogram_matching"),
        ("data.query=[fog]", r"fog.*gamma_0.7"),
        ("stages=[flw]", r"flw.*evaluate"),
        ("evaluation.judges=[segmentatoin]", r"evaluation\.judges.*segmentatoin.*segmentation"),
        ("tasks.unet.query=expp", r"tasks\.unet\.query=expp.*gamma_0\.7"),
        ("data.preprocess.size=[42,48]", r"divisible by 8.*\[48,48\]"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(override, words):
    with pytest.raises(ConfigError, match=words):
        app.refuse_impossible(composed(override))


def test_what_a_judge_sees_is_refused_before_anything_is_done():
    for words in (["evaluation.judges=[segmentation]", "judge.segmentation.sees=nothing"], RIVAL_OF_A_METHOD):
        with pytest.raises(ConfigError, match=r"judge\.\w+(\.sees=nothing|: there is a method of this name)"):
            app.refuse_impossible(composed(*words))


RIVAL_OF_A_METHOD = ["evaluation.judges=[unet]", "methods=[none,unet]", "+judge.unet={sees: query}"]


def test_a_query_scanner_enters_the_runs_of_the_tasks_that_train_on_it_and_no_others(tmp_path):
    def runs(*overrides):
        cfg = composed("data.source.subjects=10", "data.source.resolution=4", f"cache={tmp_path}", *overrides)
        data = app.build_data(cfg)
        return {stage: app.model_run(cfg, data, stage).path.name for stage in cfg.tasks}

    before = runs()
    for override, concerned in (("tasks.unet.query=log", {"unet"}), ("data.scanners.exp.seed=1", {"unet", "cyclegan"})):
        assert {stage for stage, name in runs(override).items() if name != before[stage]} == concerned


def test_an_override_of_a_method_reaches_it():
    cfg = composed("method.blindharmony_image.solver.iterations=3", "methods=[blindharmony_image]")
    reference = Reference(torch.zeros(3, 1, 8, 8), torch.rand(3, 8), torch.ones(3))
    method = app.build_methods(cfg, {"flow": app.build(cfg.flow)}, reference, 3.0)["blindharmony_image"]
    assert method.solver.iterations == 3
    assert method.distance.b1 == 0.6


def test_a_method_gets_the_scale_and_the_slices_that_its_networks_learned_from_where_its_config_gives_it_none():
    words = ("data.preprocess.percentile=98", "data.count=7", "data.step=3")
    names = ["harmonizing_flows", "scanner_inversion"]
    for more, step in (((), 3), (("+method.harmonizing_flows.step=5",), 5)):
        cfg = composed(*words, *more, f"methods=[{','.join(names)}]")
        networks = {stage: app.build(cfg.tasks[stage].network) for stage in app.models_wanted(cfg)} | PRIORS
        reference = Reference(torch.zeros(3, 1, 8, 8), torch.rand(3, 8), torch.ones(3))
        adapted, inverted = app.build_methods(cfg, networks, reference, 3.0).values()
        assert (adapted.count, adapted.step, inverted.percentile) == (7, step, 98)


def test_a_chains_steps_get_their_networks_and_their_overrides():
    name = "hm_harmonizing_flows"
    cfg = composed(f"methods=[{name}]", f"method.{name}.steps.harmonizing_flows.batch=3")
    assert app.models_wanted(cfg) == ["flow", "harmonizer", "segmenter"]
    reference = Reference(torch.zeros(3, 1, 8, 8), torch.rand(3, 8), torch.ones(3))
    networks = {stage: app.build(cfg.tasks[stage].network) for stage in app.models_wanted(cfg)}
    method = app.build_methods(cfg, networks, reference, 3.0)[name]
    assert isinstance(method, AdaptiveMethod)
    assert method.adaptive.batch == 3
    assert method.adaptive.judge is not None
    assert method.before.steps["histogram_matching"].reference is reference


def test_harmonize_takes_a_chain():
    cfg = composed("method=n4_histogram_matching", "input=a", "output=b", "model=c", name="harmonize")
    assert list(cfg.method.steps) == ["n4", "histogram_matching"]
    app.refuse_foreign_targets(cfg.method)


def test_a_chains_steps_can_not_run_arbitrary_code():
    node = {"_target_": "harmony.methods.chain", "_partial_": True, "steps": {"a": {"_target_": "os.system"}}}
    data = {"preprocess": {"percentile": 99.5}, "count": 1, "step": 1}
    cfg = OmegaConf.create({"methods": ["x"], "method": {"x": node}, "data": data})
    with pytest.raises(ConfigError, match="not something harmony may build"):
        app.build_methods(cfg, {"flow": torch.nn.Identity()}, None, 3.0)


def test_every_environment_variable_in_the_configs_is_in_the_example():
    text = "".join(path.read_text() for path in (ROOT / "conf").rglob("*.yaml"))
    known = (ROOT / ".env.example").read_text()
    assert "oc.env:" in text
    for part in text.split("oc.env:")[1:]:
        assert part.split(",")[0].split("}")[0] + "=" in known
