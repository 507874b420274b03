"""Score methods on query domains: python -m harmony.evaluate experiment=ixi_blindharmony 'methods=[none]'"""

from __future__ import annotations

from typing import cast

from omegaconf import DictConfig, OmegaConf

from harmony import app
from harmony.analysis import ResultTable, result_table
from harmony.core import interrupts, read_rows, write_rows
from harmony.core.runs import RunFolder
from harmony.data import SliceDataModule
from harmony.evaluation import Evaluation, announce, query_domains, summary
from harmony.flows import ImageDensity
from harmony.judges import Quality
from harmony.reports import box_figure, print_table, report_page


def evaluate(cfg: DictConfig) -> app.Runs:
    """Every chosen method on every query domain, per subject; results, summary and figures in the run folder."""
    app.refuse_unlabelled(cfg, ["evaluate"])
    data = app.build_data(cfg)
    run = app.experiment_run(cfg, data)
    if not app.rank():  # of several processes one evaluates
        with app.alone(run):
            evaluate_run(cfg, data, run)
    return {"evaluate": run.path}


def evaluate_run(cfg: DictConfig, data: SliceDataModule, run: RunFolder) -> None:
    if run.reusable():
        print(f"evaluation: {run.path} is done, reused")
        announce([Quality(**each) for each in run.summary()["judges"]], cfg.evaluation.part)
        return show(cfg, result_table(read_rows(run.path / "results.csv")))
    settings = app.evaluation_settings(cfg)
    models = app.load_models(cfg, data)
    methods = app.build_methods(cfg, models.networks, models.reference, models.reference_bpd)
    domains = query_domains(data, app.query_scanners(cfg), settings)
    print(f"evaluation: {len(methods)} methods on {len(domains)} domains in {run.path}", flush=True)
    print("".join(f"left out: {why}\n" for domain in domains for why in domain.left_out), end="", flush=True)
    run.begin(OmegaConf.to_yaml(cfg, resolve=True))
    panel = app.build_panel(cfg, models.networks, data, domains)
    announce(panel.qualities, settings.part)
    density = cast("ImageDensity", models.networks["flow"]) if cfg.evaluation.likelihood else None
    beside = data.volumes(settings.part)[0]
    try:
        rows = Evaluation(run.path, methods, density, panel, settings, beside).rows(domains)
    except interrupts.Interrupted:
        run.interrupt()
        raise
    write_rows(run.path / "results.csv", rows)
    if any(row.metric == "dice" for row in rows):
        box_figure(run.path / "figures" / "dice.png", rows, "dice", title=title(cfg))
    app.open_log(cfg, run).results(rows, run.path)
    trained = {"models": models.names, "trained": models.summaries}
    run.finish(trained | summary(rows, domains, panel.qualities, data, settings))
    report_page([run.path], run.path / "report.html")
    show(cfg, result_table(rows))
    print(f"evaluation: done, {run.path / 'results.csv'} and its page {run.path / 'report.html'}")


def show(cfg: DictConfig, table: ResultTable) -> None:
    """The table on the screen, with the rows of a paper's table beside it where the experiment names one."""
    if "published" not in cfg:
        print_table(table, title=title(cfg))
    else:
        published = app.plain(cfg.published)
        print_table(table.beside(published["rows"]), title=title(cfg), caption=f"published: {published['source']}")


def title(cfg: DictConfig) -> str:
    return f"{cfg.name}: {cfg.data.title}, mean over subjects ({cfg.evaluation.part})"


main = app.entry_point(evaluate)

if __name__ == "__main__":
    main()
