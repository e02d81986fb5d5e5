"""The explorer: the code that shares a queue is right in all interleavings of some length, and without what makes it
right it is not."""

import dataclasses
import re
from pathlib import Path

import pytest

from tools.explore.__main__ import main as explore
from tools.explore.scenario import SCENARIOS
from tools.explore.world import Explored
from tools.mutants.__main__ import build, copied, run
from tools.mutants.__main__ import main as mutants
from tools.mutants.faults import FAULTS
from vmm.paths import BUILD

LIMIT_S = 240       # of a search that finds nothing; one that finds something has ended long before
FOUND = [
    ("the used index may be seen", "two doorbells"),
    ("take: does not wait", "taken"),
    ("enter: holder is looked at first", "taken"),
    ("no barrier behind give", "ring, taken"),
    ("Python: no barrier between publishing", "received"),
    ("the collector ignores kicks", "received, given"),
    ("left to the ring, whoever has come", "ring, left to it"),
    ("polling: nobody is woken", "assisted, polled"),
    ("no barrier between asking for a doorbell", "polled, rung, flags"),
    ("assist: the ring's thread", "assisted, beside the ring"),
]


@pytest.fixture(scope="module")
def built():
    """The explorer's handler, which has nothing to do with what the kernel can."""
    assert (BUILD / "explore/blk.so").exists(), "wanted `make build/explore/blk.so` to have built it"
    return BUILD / "explore"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_schedule_ends_well(built, tmp_path, scenario):
    world = Explored(scenario, built, tmp_path / "image")
    try:
        assert not world.run(), "\n".join(world.events())
        schedules, states, steps = world.counts
        assert 100 < states < schedules < steps
    finally:
        world.close()


def test_the_same_schedules_each_time(built, tmp_path):
    counts = []
    for _ in range(2):
        world = Explored(dataclasses.replace(SCENARIOS[3], preemptions=2), built, tmp_path / "image")
        assert not world.run()
        counts.append(world.counts)
        world.close()
    assert counts[0] == counts[1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    copied(folder)
    return folder


@pytest.mark.parametrize(("words", "scenario"), FOUND, ids=[words for words, _ in FOUND])
def test_without_it_one_ends_badly(copy, words, scenario):
    fault, = (fault for fault in FAULTS if fault.what.startswith(words))
    kept = (copy / fault.file).read_text()
    build(copy, fault, [])
    found = run(copy, ["explore", str(copy / "build/explore"), scenario], LIMIT_S)
    (copy / fault.file).write_text(kept)
    assert found["by"] and re.search("done|used|interrupt|active", found["what"])


def test_each_fault_has_its_place():
    for fault in FAULTS:
        text = (Path(__file__).parent.parent.parent / fault.file).read_text()
        assert text.count(fault.old) == 1, fault
    assert len({fault.what for fault in FAULTS}) == len(FAULTS) >= 93


@pytest.mark.parametrize("main, says", [(explore, "no scenario's name begins so"), (mutants, "no fault's description")])
def test_a_word_that_nothing_has(capsys, main, says):
    with pytest.raises(SystemExit, match="2"):
        main(["nothing-has-this"])
    assert f"nothing-has-this: {says}" in capsys.readouterr().err
