"""A tiny experiment on 4 mm atlas subjects, run the way a user does: a command, from another folder."""

import pytest
from commands import Folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path, cache):
    return Folder(tmp_path, cache)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cache):
    """The tiny experiment, finished once for all tests that only look at it."""
    pictures = ("logger=wandb", "evaluation.figure_subjects=1", "data.query=[exp,mix]")
    folder = Folder(tmp_path_factory.mktemp("finished"), cache, *pictures)
    code, output = folder.run("train")
    assert code == 0, output
    folder.output = output
    return folder
