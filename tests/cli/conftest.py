"""What tests of the command line started ends with them."""

import pytest

from tests.cli.started import end_all


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    end_all()
