"""What coverage makes of counts; the counts themselves are the compiler's."""

from pathlib import Path

import pytest

from tools.fuzz.coverage import HANDLERS, UNREACHABLE, Covered, missed, without_constants, without_unreachable

LISTED = [line.partition(": ") for line in UNREACHABLE.read_text().splitlines() if line and not line.startswith("#")]
RING = "ring.h"
TEXT = (HANDLERS / RING).read_text().splitlines()
LINE = 1 + next(i for i, line in enumerate(TEXT) if "if (!at)" in line)
COLUMN = TEXT[LINE - 1].index("!at") + 1


@pytest.mark.parametrize("name", sorted({name for name, _, _ in LISTED}))
def test_what_is_listed_as_unreachable_is_there(name):
    """A handler that changes takes its lines with it."""
    text = (HANDLERS / name).read_text()
    for listed, _, what in LISTED:
        assert listed != name or what in text


def test_what_is_missed_is_named():
    covered = Covered()
    covered.add(LINE, 3)
    covered.add(LINE + 1, 0)
    covered.add_branch(LINE, COLUMN, LINE, COLUMN + 3, 0, 3)
    assert missed(RING, covered) == [f"kernel_devices/{RING}:{LINE}: never true: !at",
                                     f"kernel_devices/{RING}:{LINE + 1}: never runs: return -1;"]
    assert covered.of(covered.lines.values()) == (1, 2) and covered.of(covered.branches.values()) == (1, 2)


def test_an_outcome_of_either_program_counts():
    covered = Covered()
    covered.add(LINE, 1)
    covered.add_branch(LINE, COLUMN, LINE, COLUMN + 3, 0, 1)
    covered.add_branch(LINE, COLUMN, LINE, COLUMN + 3, 2, 0)
    assert missed(RING, covered) == []


def test_a_condition_that_the_compiler_knows_is_none():
    covered = Covered()
    covered.add(LINE, 1)
    covered.add_branch(LINE, COLUMN, LINE, COLUMN + 3, 0, 0)
    without_constants({RING: covered})
    assert not covered.branches


def test_what_is_unreachable_does_not_count(tmp_path, monkeypatch):
    listed = Path(tmp_path / "unreachable.txt")
    listed.write_text(f"# why\n{RING}: !at\n")
    monkeypatch.setattr("tools.fuzz.coverage.UNREACHABLE", listed)
    covered = Covered()
    covered.add(LINE, 1)
    covered.add(LINE + 1, 0)
    covered.add_branch(LINE, COLUMN, LINE, COLUMN + 3, 0, 1)
    without_unreachable({RING: covered})
    assert missed(RING, covered) == [f"kernel_devices/{RING}:{LINE + 1}: never runs: return -1;"]
