"""What the pages say exists: commands, options, files, modules; and a newcomer's page stays short."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from harmony.cli.commands import COMMANDS
from harmony.cli.main import OWN
from harmony.cli.words import translate

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "src" / "harmony" / "models" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "experiments").glob("*/README.md")),
]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
LINE = re.compile(r"^ {4}((?:[A-Z_]+=\S+ +)*)((?:\.venv/bin/)?(?:harmony|make|python)\s.*)$", re.M)


def commands(page):
    """The words of each command of a page: lines continued with a backslash are one, remarks are left out."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    for _, line in LINE.findall(re.sub(r"\s+\(`[^`]*`\)|\s+\(part of .*\)", "", text)):
        words = shlex.split(re.sub(r'"?\[?\$\(.*\)\]?"?', "", line), comments=True)
        yield [word for word in words if word != "..."]


def wrong(words):
    """What is wrong with a command, in words; None where nothing is."""
    program, *rest = words
    if program == "make":
        return next((word for word in rest if "=" not in word and word not in TARGETS), None)
    if Path(program).name == "python":
        if rest[0].endswith(".py"):
            return None if (ROOT / rest[0]).exists() else f"no file {rest[0]}"
        if rest[1] in ("pytest", "venv"):
            return None
        rest = [rest[1].removeprefix("harmony."), *rest[2:]]
    name, *rest = rest
    if name not in COMMANDS:
        return f"no command {name}"
    if name in ("harmonize", "check", "reference", "study"):  # their first words are files and folders of the user
        rest = [word.removeprefix("/") for word in rest]
        for word in rest:
            if "=" not in word and not word.startswith("-"):
                Path(word).mkdir(parents=True, exist_ok=True)
    if COMMANDS[name].config is not None and name not in OWN:
        translate(name, COMMANDS[name], [word for word in rest if word not in (">", "|")])
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_one_that_harmony_takes(page, monkeypatch, tmp_path):
    """A misspelt command, setting, member of a group or option raises; a path need not be there."""
    monkeypatch.chdir(tmp_path)
    for words in commands(page):
        added = page.name == "CONTRIBUTING.md" and words[2:3] != [
            "pytest"
        ]  # what it adds; its commands are run elsewhere
        if "rows.py" not in words[1] and not (added and "python" in words[0]):
            assert wrong(words) is None, words


def test_a_misspelt_command_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("    harmony train quickstart sed=1\n    make tset\n    python experiments/nothing.py\n")
    first, second, third = commands(page)
    with pytest.raises(Exception, match="sed"):
        wrong(first)
    assert wrong(second) == "tset"
    assert "no file" in wrong(third)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_that_a_page_names_is_there(page):
    examples = {"Gain", "Glow", "Flat"}  # what CONTRIBUTING adds
    for dotted in set(re.findall(r"`harmony((?:\.[A-Za-z_]\w*)+)`", page.read_text(encoding="utf-8"))):
        names = dotted.split(".")[1:]
        if names[0] == "md" or names[-1] in examples:
            continue
        thing = importlib.import_module("harmony")
        for k, name in enumerate(names):
            if not hasattr(thing, name):
                importlib.import_module("harmony." + ".".join(names[: k + 1]))
            thing = getattr(thing, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_fits_on_two_pages():
    assert len((ROOT / "README.md").read_text(encoding="utf-8")) <= 7000
