"""A trained model and a method, from run folders alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from harmony.core import CheckpointError, ConfigError
from harmony.core.machine import device
from harmony.core.model_card import ModelCard, sha256
from harmony.core.reference import Reference
from harmony.core.runs import fingerprint, parts_of, stages_of
from harmony.data import Preprocess
from harmony.delivery.applied import Applied
from harmony.delivery.construct import construct, construct_method, takes_density
from harmony.scanner import Prior

LEARNED = {"prior": Prior}  # what tasks learn beside weights, as NAME.safetensors; the flow's reference all methods get
NO_SETTINGS = ("orientation", "version")  # constants of a card that are not the constructor's


@dataclass(frozen=True)
class Wanted:
    """method: its name. node: its config, as plain values. home: the run folder with the model's card and the
    reference's statistics; folders: of its stages. model: its name. only_plausible: see `Preprocess`. scored: bits per
    dimension are asked for."""

    model: str
    home: Path
    folders: Mapping[str, Path]
    method: str
    node: Mapping[str, Any]
    only_plausible: bool = True
    scored: bool = False

    def load(self) -> Applied:
        """The method with its networks; the flow only where somebody asks for it. Raises CheckpointError or
        ConfigError for a folder that is not what it should be, or is missing."""
        card, parts = ModelCard.load(self.home), self.parts()
        reference = Reference.load(self.home / "reference.safetensors")
        at_hand = {
            "density": parts.get("flow"),
            "reference": reference,
            "reference_bpd": card.score.get("flow/val_bpd"),
            "percentile": card.preprocess["percentile"],
            "count": card.count,
            "step": card.step,
        }
        folders = dict.fromkeys((self.home, *self.folders.values()))
        files = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        return Applied(
            name=self.model,
            method=construct_method(self.node, parts, at_hand),
            density=parts.get("flow"),
            preprocess=preprocess_of(card, self.home, only_plausible=self.only_plausible),
            card=card,
            weights=fingerprint({"weights": [card.weights, *(sha256(path) for path in files)]}),
            reference=reference,
        )

    def parts(self) -> dict[str, Any]:
        """The networks that the method gets, by stage, and what stages learned beside them, by STAGE/NAME."""
        flow, parts = ["flow"] if self.scored or takes_density(self.node) else [], {}
        for stage in dict.fromkeys((*flow, *stages_of(self.node))):
            if stage not in self.folders:
                raise ConfigError(
                    f"method={self.method} needs a trained {stage}, and {self.model} has none -> another method=, or "
                    f"models.{stage}=runs/models/{stage}-..."
                )
            parts[stage] = load_run(self.folders[stage], stage)
        return parts | load_beside(parts_of(self.node), self.folders)


def preprocess_of(card: ModelCard, run: Path, *, only_plausible: bool) -> Preprocess:
    """As the model's own scans were. Raises CheckpointError for a model of another version of the preprocessing."""
    settings = {key: value for key, value in card.preprocess.items() if key not in NO_SETTINGS}
    preprocess = Preprocess(**settings, only_plausible=only_plausible, grows=True)
    if preprocess.settings()["version"] != card.preprocess["version"]:
        raise CheckpointError(f"{run}: made with another version of the preprocessing -> train it again")
    return preprocess


def load_run(run: Path, stage: str) -> torch.nn.Module:
    """The trained network of a run folder, from nothing but the folder; frozen and in eval mode."""
    ModelCard.verify(run)
    try:
        node = _plain((run / "config.yaml").read_text(encoding="utf-8"))["tasks"][stage]["network"]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError) as error:
        raise CheckpointError(f"{run}: not the run folder of a trained {stage} ({error})") from error
    try:
        network: torch.nn.Module = construct(node)
    except (TypeError, ValueError, AttributeError) as error:
        why = str(error).splitlines()[0]
        raise CheckpointError(
            f"{run}: of another version, which built its {stage} otherwise ({why}) -> train it again"
        ) from error
    load_weights(network, run / "model.safetensors")
    return network.to(device()).eval().requires_grad_(False)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load safetensors weights; another architecture is one clear error."""
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}) -> delete its run folder and train again") from error
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]
        raise CheckpointError(
            f"{path}: weights of another architecture than the config's `flow` -> use the config that the run was "
            f"trained with ({path.parent / 'config.yaml'}). First difference: {first}"
        ) from error


def load_beside(parts: Iterable[str], runs: Mapping[str, Path]) -> dict[str, Any]:
    """Of these parts those that are STAGE/NAME: what that stage's task gave when it was finished."""
    beside = [(part, *part.split("/")) for part in parts if "/" in part]
    return {part: LEARNED[name].load(runs[stage] / f"{name}.safetensors") for part, stage, name in beside}


def _plain(text: str) -> Any:
    """YAML, or the JSON of a packed model: to YAML its 1e-05 would be a word."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)
