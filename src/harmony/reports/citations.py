"""Whom to cite: `[@key]` in a text becomes a number, the keys' references are those of references.bib."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup, escape
from pybtex.database import Entry, Person, parse_file
from pybtex.richtext import Text

CITED = re.compile(r"\[(@\w+(?:; @\w+)*)\]")


@functools.cache
def references() -> Mapping[str, str]:
    """Key -> `Kingma D. P., Ba J. Adam: A method for stochastic optimization. ICLR 2015, arXiv 1412.6980.`"""
    found = parse_file(str(Path(__file__).with_name("references.bib")), "bibtex")
    return {key: _reference(entry) for key, entry in found.entries.items()}


def cite(paragraphs: Sequence[str]) -> tuple[list[Markup], list[str]]:
    """The paragraphs with numbered links in place of `[@key]`, and the references in that order."""
    order: list[str] = []

    def number(match: re.Match[str]) -> str:
        links = []
        for key in re.findall(r"@(\w+)", match[1]):
            if key not in order:
                order.append(key)
            k = order.index(key) + 1
            links.append(f'<a href="#ref{k}">{k}</a>')
        return f"[{', '.join(links)}]"

    numbered = [Markup(CITED.sub(number, str(escape(text)))) for text in paragraphs]
    return numbered, [references()[key] for key in order]


def uncited(text: str) -> str:
    """Without the `[@key]`."""
    return CITED.sub("", text).replace("  ", " ").replace(" ,", ",").strip()


def _reference(entry: Entry) -> str:
    fields = {name: _plain(value) for name, value in entry.fields.items()}
    place = fields.get("journal") or fields.get("booktitle") or fields.get("publisher") or fields.get("howpublished")
    year = fields.get("year")
    if "volume" in fields:
        issue = f"({fields['number']})" if "number" in fields else ""
        place = f"{place} {fields['volume']}{issue}:{fields['pages'].replace('–', '-')}"
    elif "booktitle" in fields:
        place, year = f"{place} {year}", None
    known = [place, year, *(f"{said} {fields[name]}" for name, said in _NUMBERS.items() if name in fields)]
    parts = [_authors(entry.persons.get("author", [])), fields["title"], ", ".join(filter(None, known))]
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


_NUMBERS = {"eprint": "arXiv", "doi": "doi"}


def _authors(persons: Sequence[Person]) -> str:
    """`Kingma D. P., Ba J.` for two, `Beizaee F. et al.` for more."""
    named = [
        " ".join([*map(_plain, person.prelast_names + person.last_names),
                  *(f"{_plain(name)[0]}." for name in person.first_names + person.middle_names)])
        for person in persons
    ]  # fmt: skip
    return ", ".join(named) if len(named) <= 2 else f"{named[0]} et al."


def _plain(latex: str) -> str:
    return re.sub(r"\s+", " ", str(Text.from_latex(latex)))
