"""Guests by name."""

from pathlib import Path

import pytest

from vmm.cli import guests
from vmm.errors import UserError
from vmm.paths import BUILD


def test_a_name_and_a_path():
    assert guests.guest("@check") == BUILD / "check.elf"
    assert guests.guest("a/@check") == Path("a/@check")


@pytest.mark.parametrize("text", ["@", "@nothing", "@./check", "@../build/check", "@check.elf"])
def test_names_of_none(text):
    with pytest.raises(UserError, match=f"^{text}: no guest of that name .*; wanted .*@check, .* or ./@"):
        guests.guest(text)


def test_those_that_help_tells_of_are_there():
    assert all((BUILD / f"{name}.elf").exists() for name in guests.DESCRIBED)
