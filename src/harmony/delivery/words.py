"""What goes wrong is said in the words of `harmonize`, whatever part of harmony it went wrong in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harmony.core import DataError

# What readers of data sets call their settings -> what `harmonize` calls them.
OWN_WORDS = {"data.root=": "input=", "data.mask=": "mask=", "data.only_plausible=": "only_plausible="}


@contextmanager
def own_words() -> Iterator[None]:
    """Of what goes wrong inside."""
    try:
        yield
    except DataError as error:
        raise translated(error) from error


def translated(error: DataError) -> DataError:
    problem, cure = error.problem, error.cure
    for theirs, ours in OWN_WORDS.items():
        problem, cure = problem.replace(theirs, ours), cure.replace(theirs, ours)
    return DataError(problem, cure=cure, path=error.path, subject=error.subject)
