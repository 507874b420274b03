"""harmony models: what there is to harmonize with, and one file of a trained model to pass on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harmony.cli.commands import COMMANDS
from harmony.cli.configs import choices
from harmony.cli.mistakes import Parser, UsageError
from harmony.cli.words import check_choice

ALWAYS = "flow"  # the stage that every model has
NOT_SAID = "not stated"


def models(words: list[str]) -> int:
    """`harmony models`, `harmony models pack RUN [OUT]`."""
    if words[:1] == ["pack"]:
        return _pack(words[1:])
    parser = Parser("harmony models", COMMANDS["models"].page())
    parser.add_argument("--json", action="store_true", help="everything as JSON, for machines")
    parser.add_argument("what", nargs="?", choices=["pack"], help="pack RUN [OUT]: one file of a trained model")
    said = parser.parse_args(words)
    found = list_models(_runs(), _package())
    if said.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    return 0


def list_models(runs: Path, package: Path) -> list[dict[str, Any]]:
    """A record of each packed model of the package and each trained flow below `runs`/models, from their JSON alone."""
    packed = [_packed(path) for path in sorted(package.glob("*.harmony"))]
    folders = sorted(path.parent for path in (runs / "models").glob("flow-*/DONE"))
    return packed + [_trained(folder) for folder in folders]


def _show(found: list[dict[str, Any]]) -> None:
    if not found:
        print("no models here -> train one (harmony train EXPERIMENT), or give a packed one: --model FILE.harmony")
    for each in found:
        print(f"{each['name']}  ({each['where']})")
        for key, value in each.items():
            if key not in ("name", "where") and value not in (None, [], ""):
                print(f"    {key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")


def _packed(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("manifest.json"))
        training = about["training"]
        return {
            "name": path.stem,
            "where": str(path),
            "contrast": about["contrast"],
            "voxel": f"{about['voxel_mm']:g} mm, {about['axis']} slices",
            "trained on": _people(training),
            "scans": about["scans"],
            **{f"{stage} trained against": _ranges(found) for stage, found in about["ranges"].items()},
            "methods": about["methods"],
            "licence": about["licence"],
            "made with": about["commands"],
            "size": f"{path.stat().st_size / 1e6:.1f} MB",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        return {"name": path.stem, "where": str(path), "problem": f"not a packed model ({error})"}


def _ranges(corruption: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in corruption.items() if name not in ("percentile", "probability")
    )


def _trained(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / "model_card.json").read_text(encoding="utf-8"))
        return {
            "name": folder.name,
            "where": str(folder),
            "contrast": card.get("contrast", "T1w"),
            "voxel": f"{card['preprocess']['spacing']:g} mm, {card['preprocess']['axis']} slices",
            "trained on": _people(card["reference"] | {"score": card["score"]}),
        }
    except (OSError, KeyError, TypeError, ValueError) as error:
        return {"name": folder.name, "where": str(folder), "problem": f"no readable model card ({error})"}


def _people(training: dict[str, Any]) -> str:
    ages = training.get("ages")
    places = [*training.get("scanners", []), *training.get("sites", [])]
    parts = [f"{training['subjects']} subjects", *places, *([f"age {ages[0]:g} to {ages[1]:g}"] if ages else [])]
    return ", ".join([*parts, *(f"{name} {value:.3f}" for name, value in training.get("score", {}).items())])


def _pack(words: list[str]) -> int:
    parser = Parser(
        "harmony models pack", "One file of a trained flow and of the networks that the chosen methods need."
    )
    parser.add_argument("run", metavar="RUN", help="the run folder of a trained flow: runs/models/flow-...")
    parser.add_argument("out", metavar="OUT", nargs="?", help="the file that is written (default: RUN's name.harmony)")
    parser.add_argument("--method", action="append", default=[], help="a name of conf/method; may be said again")
    parser.add_argument(
        "--stage",
        action="append",
        default=[],
        metavar="NAME=RUN",
        help="the run folder of a stage, where there are several",
    )
    parser.add_argument("--name", help="what people will ask for it by (default: OUT's name)")
    parser.add_argument(
        "--licence", default=NOT_SAID, help="what people may do with it: of the training scans, of yours"
    )
    parser.add_argument("--scans", default="", help="where the training scans are from, as their licence wants it said")
    parser.add_argument(
        "--made-with", action="append", default=[], metavar="COMMAND", help="how it was trained; may be said again"
    )
    said = parser.parse_args(words)
    for method in said.method:
        check_choice("method", method)
    from harmony.core import HarmonyError
    from harmony.core.packed_model import SUFFIX, About, pack

    run = Path(said.run).expanduser()
    out = Path(said.out or f"{run.resolve().name}{SUFFIX}").expanduser()
    try:
        stages = {ALWAYS: run} | _further(_needed(said.method), run, _said_stages(said.stage))
        about = About(said.name or re.sub(r"[^\w.-]+", "-", out.stem), said.licence, said.scans, said.made_with)
        manifest = pack(out, stages, about, methods=able(stages))
    except HarmonyError as error:
        raise UsageError(str(error)) from error
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {', '.join(manifest.stages)}")
    print(f"methods: {', '.join(manifest.methods)}; licence: {manifest.licence}")
    return 0


def _said_stages(words: Iterable[str]) -> dict[str, Path]:
    pairs = [word.partition("=") for word in words]
    if not all(equals for _, equals, _ in pairs):
        raise UsageError("--stage: NAME=RUN, for example --stage harmonizer=runs/models/harmonizer-1a2b3c4d")
    return {name: Path(path).expanduser() for name, _, path in pairs}


def able(stages: Iterable[str]) -> list[str]:
    """The methods that need no network beyond these stages."""
    there = set(stages)
    return [method for method in choices("method") if set(_needed([method])) <= there]


def _needed(methods: Iterable[str]) -> list[str]:
    """The stages beyond the flow that methods use."""
    from hydra import compose, initialize_config_dir

    from harmony.app import conf_folder
    from harmony.core.runs import stages_of

    found: list[str] = []
    with initialize_config_dir(conf_folder(), version_base="1.3"):
        for method in methods:
            found += stages_of(compose("harmonize", [f"method={method}", "input=-", "output=-"]).method)
    return [stage for stage in dict.fromkeys(found) if stage != ALWAYS]


def _further(stages: Iterable[str], flow: Path, said: dict[str, Path]) -> dict[str, Path]:
    """The run folder of each stage: the one that was said, else the only one beside the flow's of the same scans."""
    out = dict(said)
    for stage in stages:
        if stage in said:
            continue
        folders = [path.parent for path in sorted(flow.resolve().parent.glob(f"{stage}-*/DONE"))]
        fitting = [folder for folder in folders if _scans_of(folder) == _scans_of(flow)]
        if len(fitting) != 1:
            many = f"{len(fitting)} trained {stage} fit" if fitting else f"no trained {stage} of the same scans"
            raise UsageError(f"{many} beside {flow} -> --stage {stage}=RUN")
        out[stage] = fitting[0]
    return out


def _scans_of(folder: Path) -> list[Any] | None:
    """What the card says of the training scans; None for a folder without a readable one."""
    try:
        card = json.loads((folder / "model_card.json").read_text(encoding="utf-8"))
        people = [card["reference"][key] for key in ("subjects", "scanners", "sites")]
        return [card.get("contrast", "T1w"), card["preprocess"], people]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _runs() -> Path:
    return Path(os.environ.get("HARMONY_RUNS", "runs")).expanduser()


def _package() -> Path:
    return Path(__file__).parents[1] / "models"
