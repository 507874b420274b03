"""What is known of the reference scanner before a scan is seen. Learned once (`Calibration`), and kept in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harmony.core.errors import CheckpointError
from harmony.core.files import atomic_path
from harmony.scanner.contrast import FIELD_TERMS, Contrast, TissueIntensity
from harmony.scanner.texture_model import TextureModel


@dataclass(frozen=True)
class Untouched:
    """What untouched reference scans show: (D,) mean and (D, D) inverse covariance of `evidence` of a fit, and the
    squared distance that they do not exceed."""

    mean: Tensor
    precision: Tensor
    limit: Tensor

    def distance(self, evidence: Tensor) -> float:
        """Squared distance over the limit: 1 and below is what reference scans look like."""
        off = evidence - self.mean
        return float(off @ self.precision @ off / self.limit)


class Shrunk(NamedTuple):
    """contrast: the part of a fit that is the scanner's. deviation: (K + 19,) of it. gains_probability,
    shading_probability: that the scanner has any, 0 to 1."""

    contrast: Contrast
    deviation: Tensor
    gains_probability: float
    shading_probability: float


@dataclass(frozen=True)
class Appearance:
    """How untouched reference scans look: what it takes to estimate another scanner.

    expected: the tissues' intensities. spectrum: (Q,) their mean power (`mean_spectrum`). texture: to blur and noise.
    """

    expected: TissueIntensity
    spectrum: Tensor
    texture: TextureModel


@dataclass(frozen=True)
class Prior(Appearance):
    """tissues: names of the K tissues, in the order of the maps, of the gains, of everything.

    own, own_covariance: (K + 19,) and its square, the gains and shading that a fit finds in untouched reference scans:
    the subject's own. scanners: (K + 19,) variance of those of scanners that have any. raw, matched: what untouched
    scans show as they are, and after histogram matching. even, even_covariance: (K,) and its square, the gains that
    `even_scan` finds in untouched scans, relative to the last tissue's.
    """

    tissues: tuple[str, ...]
    own: Tensor
    own_covariance: Tensor
    scanners: Tensor
    raw: Untouched
    matched: Untouched
    even: Tensor
    even_covariance: Tensor

    def even_gains(self, log_gains: Tensor) -> tuple[Tensor, Tensor]:
        """(K,) of an even scan, relative to the last tissue's -> the scanner's part of them, the posterior mean
        S (S + S0)^-1 (g - mu), and its deviation; the last is 0."""
        off, own = (log_gains - self.even)[:-1].double(), self.even_covariance[:-1, :-1].double()
        gains = self.scanners[: len(log_gains)].double()
        scanners = torch.diag(gains[:-1]) + gains[-1]  # a difference to the last one, which all share
        kept = scanners @ torch.linalg.inv(scanners + own)
        zero = torch.zeros(1)
        deviation = (kept @ own).diagonal().clamp(min=0).sqrt()
        return torch.cat(((kept @ off).float(), zero)), torch.cat((deviation.float(), zero))

    def even_unlikeliness(self, log_gains: Tensor) -> float:
        """As `unlikeliness`, of the gains of an even scan."""
        off, own = (log_gains - self.even)[:-1].double(), self.even_covariance[:-1, :-1].double()
        gains = self.scanners[: len(log_gains)].double()
        whole = torch.diag(gains[:-1]) + gains[-1] + own
        return float(off @ torch.linalg.solve(whole, off) / len(off))

    def shrunk(self, contrast: Contrast, any_probability: float) -> Shrunk:
        """The posterior mean of what the scanner did, which has gains or not, and a shading or not, each with
        `any_probability`: sum_h P(h | theta) A_h (theta - mu), A_h = S_h (S_h + S0)^-1, with S_h the variances of those
        that hypothesis h has, P(h | theta) ~ P(h) N(theta; mu, S_h + S0)."""
        off, own = (contrast.theta - self.own).double(), self.own_covariance.double()
        is_gain = torch.arange(len(off), device=off.device) < len(off) - FIELD_TERMS
        has = [(gains, shading) for gains in (False, True) for shading in (False, True)]
        fit, means, seconds = [], [], []
        for gains, shading in has:
            scanners = torch.diag(self.scanners.double() * torch.where(is_gain, gains, shading))
            whole = scanners + own
            explained = torch.linalg.solve(whole, off)
            mean = scanners @ explained
            before = sum(math.log(any_probability if any_ else 1 - any_probability) for any_ in (gains, shading))
            fit.append(before - (torch.logdet(whole) + off @ explained) / 2)
            means.append(mean)
            seconds.append((scanners @ torch.linalg.solve(whole, own)).diagonal() + mean.square())
        weight = torch.stack(fit).softmax(0)
        mean, second = (weight @ torch.stack(moments) for moments in (means, seconds))
        deviation = (second - mean.square()).clamp(min=0).sqrt()
        probability = weight @ torch.tensor(has).to(weight)
        return Shrunk(Contrast.of(mean.float()), deviation.float(), float(probability[0]), float(probability[1]))

    def unlikeliness(self, contrast: Contrast) -> float:
        """Mean squared size of a fit, in deviations of scanners and subjects together: 1 is usual where there are both
        gains and a shading."""
        off = contrast.theta - self.own
        return float(off @ torch.linalg.solve(torch.diag(self.scanners) + self.own_covariance, off) / len(off))

    def save(self, path: Path) -> None:
        """Tensors under `field` or `field.field`, the tissues' names as metadata (JSON)."""
        with atomic_path(path) as temporary:
            save_file(dict(_tensors(self)), temporary, {"tissues": json.dumps(self.tissues)})

    @classmethod
    def load(cls, path: Path) -> Prior:
        """On the CPU, where scans are read. Raises CheckpointError for anything but what `save` wrote."""
        try:
            with safe_open(path, framework="pt") as file:
                names = json.loads(file.metadata()["tissues"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dictionary
            prior = cls(tissues=tuple(names), **_nested(tensors))
            if not len(names) == len(prior.expected.spread) == len(prior.own) - FIELD_TERMS:
                raise ValueError(f"{len(names)} names of {len(prior.expected.spread)} tissues")
            return prior
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not the prior of a trained model ({error}) -> train it again") from error


PARTS = {"expected": TissueIntensity, "texture": TextureModel, "raw": Untouched, "matched": Untouched}


def _tensors(node: Any, before: str = "") -> Iterator[tuple[str, Tensor]]:
    for field in fields(node):
        value = getattr(node, field.name)
        if is_dataclass(value):
            yield from _tensors(value, f"{field.name}.")
        elif isinstance(value, Tensor):
            yield f"{before}{field.name}", value.contiguous().clone()


def _nested(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Fields of a prior, of the tensors under their dotted names."""
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in PARTS}
    plain: dict[str, Any] = {}
    for key, tensor in tensors.items():
        part, dot, name = key.partition(".")
        (parts[part] if dot else plain)[name or part] = tensor
    return plain | {name: PARTS[name](**values) for name, values in parts.items()}
