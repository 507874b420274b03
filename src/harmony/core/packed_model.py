"""One file that holds all that harmonizing needs: what people pass on, and what a stranger's copy may not do.

A packed model is a zip archive without compression of `manifest.json` and, per stage, the files of its run folder:

    flow/model.safetensors  flow/reference.safetensors  flow/model_card.json  flow/config.json
    tissue/model.safetensors  tissue/prior.safetensors  ...

safetensors and JSON only: nothing in it can run. The manifest has the SHA-256 of every member.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from harmony import __version__
from harmony.core.errors import CheckpointError
from harmony.core.files import atomic_path
from harmony.core.model_card import CONFIG, WEIGHTS, ModelCard, sha256

FORMAT = 1
SUFFIX = ".harmony"
MANIFEST = "manifest.json"
FLOW = "flow"  # a stage; a model without one has the reference's statistics (REFERENCE) from another
MEMBER = re.compile(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*\.(safetensors|json)")
TEXT_LIMIT = 1 << 20  # bytes of a manifest, a card, a config: they have a few thousand
LIMIT = 4 << 30  # bytes of a packed model: the largest flow of conf/ has 0.06 GB
REFERENCE = "reference.safetensors"  # of a flow, also where its card is older than the list of files
PACKED_CONFIG = "config.json"  # what JSON says, YAML says too: unpacked it is the run folder's config.yaml
KEPT = ("name", "seed", "flow", "reference")  # of a run's config: no path of the machine it was trained on


@dataclass(frozen=True)
class Manifest:
    """What is in a packed model.

    voxel_mm: side of a voxel of the model's grid. training: subjects, scanners, sites and (where known) ages of the
    reference scans, and the scores on held-out ones. scans: where those are from, as their licence wants it said.
    ranges: stage -> the random scanners that its network was trained against, where it was. commands: how it was made.
    methods: those that find all their networks here. files: member -> SHA-256.
    """

    format: int
    name: str
    harmony: str
    contrast: str
    voxel_mm: float
    axis: str
    training: dict[str, Any]
    licence: str
    scans: str
    ranges: dict[str, Any]
    commands: list[str]
    methods: list[str]
    files: dict[str, str]

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(member.split("/")[0] for member in self.files))

    @property
    def home(self) -> str:
        """The stage that has the reference's statistics: the flow, where there is one. Raises ValueError for none."""
        having = [stage for stage in self.stages if f"{stage}/{REFERENCE}" in self.files]
        if not having:
            raise ValueError("no reference statistics in it")
        return FLOW if FLOW in having else having[0]


@dataclass(frozen=True)
class About:
    """What only people know of a model: its name, whose scans it learned from, and so on, see `Manifest`."""

    name: str
    licence: str
    scans: str = ""
    commands: Sequence[str] = ()


def pack(out: Path, stages: Mapping[str, Path], about: About, *, methods: Sequence[str]) -> Manifest:
    """Write the run folders of `stages` (stage -> folder, the first with the reference's statistics) into one file. The
    same folders give the same bytes. Raises CheckpointError for an unfinished run, or one that belongs to other scans.
    """
    cards = {stage: ModelCard.load(folder) for stage, folder in stages.items()}
    home, first = next(iter(cards.items()))
    for stage, card in cards.items():
        if card.preprocess != first.preprocess or _people(card) != _people(first):
            raise CheckpointError(
                f"{stages[stage]}: trained on other scans, or at another grid, than {stages[home]} -> "
                f"give the {stage} that was trained with this {home}"
            )
    members = {
        f"{stage}/{name}": data
        for stage, folder in stages.items()
        for name, data in _contents(stage, folder, cards[stage]).items()
    }
    manifest = Manifest(
        format=FORMAT,
        name=about.name,
        harmony=__version__,
        contrast=first.contrast,
        voxel_mm=first.preprocess["spacing"],
        axis=first.preprocess["axis"],
        training=_training(cards),
        licence=about.licence,
        scans=about.scans,
        ranges={stage: found for stage in stages if (found := _corruption(members[f"{stage}/{PACKED_CONFIG}"], stage))},
        commands=list(about.commands),
        methods=sorted(methods),
        files={name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    )
    text = json.dumps(asdict(manifest), indent=2).encode()
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: text, **members}.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # dated 1980: the same content, the same bytes
    return manifest


def _training(cards: Mapping[str, ModelCard]) -> dict[str, Any]:
    """Of all stages: an older card may lack what a newer one of the same scans has."""
    known = {key: value for card in cards.values() for key, value in card.reference.items()}
    return known | {"score": {key: value for card in cards.values() for key, value in card.score.items()}}


def _corruption(config: bytes, stage: str) -> dict[str, Any]:
    module = json.loads(config)["tasks"][stage].get("module") or {}
    return {key: value for key, value in (module.get("corruption") or {}).items() if not key.startswith("_")}


def _people(card: ModelCard) -> list[Any]:
    return [card.contrast, *(card.reference.get(key) for key in ("subjects", "scanners", "sites"))]


def _contents(stage: str, folder: Path, card: ModelCard) -> dict[str, bytes]:
    """The files of a stage as they are packed; the card is written anew, for the shorter config."""
    beside = [name for name in card.files if name != CONFIG]
    names = dict.fromkeys([WEIGHTS, *([REFERENCE] if stage == FLOW else []), *beside])
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        try:
            for name in names:
                shutil.copyfile(folder / name, copy / name)
            config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
            kept = {key: config[key] for key in KEPT if key in config} | {"tasks": {stage: config["tasks"][stage]}}
        except (OSError, KeyError, TypeError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CheckpointError(f"{folder}: not the run folder of a trained {stage} ({error})") from error
        (copy / CONFIG).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        card.save(copy)
        (copy / CONFIG).rename(copy / PACKED_CONFIG)
        return {path.name: path.read_bytes() for path in sorted(copy.iterdir())}


def read_manifest(path: Path) -> Manifest:
    """Raises CheckpointError where the file is no packed model, or has a member that none may have.

    RuntimeError: what zipfile says of a file that calls itself encrypted, or of a later version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _checked(archive, path)
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a packed model ({error}) -> copy it again") from error


def unpack(path: Path, cache: Path) -> dict[str, Path]:
    """Stage -> folder below `cache`, by the file's content; made once, and again where it is damaged.

    Raises CheckpointError for a member that the manifest does not name, or whose bytes are not the manifest's.
    """
    manifest = read_manifest(path)
    folder = cache / f"{manifest.name}-{sha256(path)[:16]}"
    if not _intact(folder, manifest):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".tmp-") as temporary:
            _extract(path, manifest, Path(temporary) / "model")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                (Path(temporary) / "model").rename(folder)
            except OSError:  # another process was quicker; its copy has the same bytes
                if not _intact(folder, manifest):
                    raise
    return {stage: folder / stage for stage in manifest.stages}


def _checked(archive: zipfile.ZipFile, path: Path) -> Manifest:
    """The manifest of an archive that can only unpack to what it says. Raises ValueError, KeyError or TypeError."""
    members = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in members):
        raise ValueError("a member is compressed")
    if sum(info.file_size for info in members) > min(path.stat().st_size, LIMIT):
        raise ValueError("more bytes than the file has, or may have")
    if archive.getinfo(MANIFEST).file_size > TEXT_LIMIT:
        raise ValueError("the manifest is too long")
    manifest = Manifest(**json.loads(archive.read(MANIFEST)))
    if manifest.format != FORMAT:
        raise ValueError(f"format {manifest.format}: made by harmony {manifest.harmony}, this is {__version__}")
    if sorted(info.filename for info in members) != sorted([MANIFEST, *manifest.files]):
        raise ValueError("its members are not those of its manifest")
    strange = [name for name in manifest.files if not MEMBER.fullmatch(name)]
    if strange or not re.fullmatch(r"[\w.-]+", manifest.name) or manifest.name.startswith("."):
        raise ValueError(f"{strange[0] if strange else manifest.name!r}: not a name that a model may have")
    _ = manifest.home  # raises ValueError
    return manifest


def _extract(path: Path, manifest: Manifest, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name, digest in manifest.files.items():
            try:
                data = archive.read(name)
            except (zipfile.BadZipFile, RuntimeError) as error:
                raise CheckpointError(f"{path}: {name} is damaged ({error}) -> copy it again") from error
            if hashlib.sha256(data).hexdigest() != digest:
                raise CheckpointError(f"{path}: {name} is not what its manifest says -> copy it again")
            if name.endswith(PACKED_CONFIG) and _asks(data):  # a packed config is resolved: it asks for nothing
                raise CheckpointError(f"{path}: {name} refers to something outside of it -> get the model elsewhere")
            target = _unpacked(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _asks(config: bytes) -> bool:
    """Whether a value refers to something, however it is written (`\\u0024{` too); what is no JSON may."""
    try:
        return "${" in json.dumps(json.loads(config), ensure_ascii=False)
    except ValueError:
        return True


def _intact(folder: Path, manifest: Manifest) -> bool:
    try:
        return all(sha256(_unpacked(folder, name)) == digest for name, digest in manifest.files.items())
    except OSError:
        return False


def _unpacked(folder: Path, member: str) -> Path:
    return folder / member.replace(f"/{PACKED_CONFIG}", f"/{CONFIG}")
