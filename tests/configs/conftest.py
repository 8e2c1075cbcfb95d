"""The recipes are read as the tools read them."""

import pytest

from convnext_mm.compat import apply_workarounds


@pytest.fixture(scope='session', autouse=True)
def workarounds():
    """Let MMEngine find the bases of a recipe in the packages of either family."""
    apply_workarounds()
