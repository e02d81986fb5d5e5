"""A device of the tests' own, built where it is if that is out of date."""

import sys
from pathlib import Path

import pytest

from vmm.kit.build import build
from vmm.kit.load import named

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def chime(clang):
    """The module chime.py, with its handler."""
    found = named(str(HERE / "chime.py"))
    build(found)
    yield found.module
    sys.path.remove(str(HERE))
