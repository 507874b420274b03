"""Tests marked `gpu` need a CUDA card; `make gpu` runs them where there is one."""

import pytest


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _a_card():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA card"))


def _a_card():
    import torch

    return torch.cuda.is_available()
