"""What the villain looks at afterwards, by devices that are not as they should be."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.villain.__main__ import main
from tests.villain.page import table
from tests.villain.stage import MODES, SETTINGS, Setting, Stage
from tests.villain.table import KINDS, NEEDS_RESET, SERVED, Violation, violations
from tests.villain.trial import Verdict, attempt, cases

SOUND = Violation("1.2", "all is well", frozenset({SERVED}), lambda scene: scene.send(), "blk", ("split",), ("mmio",),
                  features=0, without=0)


@pytest.fixture
def stage(tmp_path, ring):
    made = Stage(Setting("off", "split", "mmio"), tmp_path)
    yield made
    made.close()


def tried(stage, do, **fields):
    return attempt(stage, replace(SOUND, do=do, **fields))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_request(stage, kind):
    result = tried(stage, SOUND.do, victim=kind)
    assert (result.verdict, result.outcome, result.why) == (Verdict.PASS, SERVED, "")


def test_another_answer_than_allowed(stage):
    result = tried(stage, SOUND.do, allowed=frozenset({NEEDS_RESET}))
    assert result.verdict is Verdict.FAIL and result.why == "served; wanted needs reset"


def test_a_byte_of_memory(stage):
    """Not written by the driver, nor the device's to write."""
    result = tried(stage, lambda scene: stage.machine.memory.write(0x1fffff, b"!"))
    assert result.verdict is Verdict.FAIL and "0x1fffff" in result.why


def test_the_other_disk(stage):
    def do(scene):
        with stage.images[1].open("r+b") as image:
            image.write(b"!")
    result = tried(stage, do)
    assert result.verdict is Verdict.FAIL and result.why == f"{stage.images[1]} changed"


def test_registers_of_another_device(stage):
    def do(scene):
        stage.drivers["net"].device.page.queue_num = 3
        scene.send()
    assert "net's registers changed" in tried(stage, do).why


def test_a_need_of_a_reset_that_nobody_is_told_of(stage):
    def do(scene):
        scene.victim.device.page.status |= 64
    assert "configuration change" in tried(stage, do, allowed=frozenset({NEEDS_RESET})).why


def test_another_device_stands_still(stage):
    """Though it was not touched by any register or memory."""
    def do(scene):
        stage.drivers["other"].device.serve = lambda queue: (0, 0)
        scene.send()
    result = tried(stage, do)
    assert result.verdict is Verdict.FAIL and "other does not go on" in result.why


def test_does_not_work_after_a_reset(stage):
    def do(scene):
        scene.send()
        scene.victim.device.serve = lambda queue: (0, 0)
    result = tried(stage, do)
    assert result.verdict is Verdict.WEDGED and "after a reset" in result.why


def test_an_error_of_the_vmm(stage):
    def do(scene):
        scene.victim.device.serve = lambda queue: 1 // 0
        scene.send()
    assert tried(stage, do).verdict is Verdict.FAIL


def test_cases():
    """Each violation is tried in each mode; by all kinds of ring and transport, if all are asked for."""
    known = violations()
    turns, everything = cases(known, False), cases(known, True)
    assert set(turns) <= set(everything) and {setting for setting, _ in turns} == set(SETTINGS)
    assert len(turns) == len(MODES) * len(known)
    assert len({violation.name for violation in known}) > 250


def test_a_section_that_there_is_not(ring, bpf_run):
    with pytest.raises(SystemExit, match=r"villain: no rule of 9\.9; wanted sections of the table"):
        main(["9.9"])


def test_table():
    verdicts = {(SOUND, "off"): {Verdict.PASS: 2}, (SOUND, "on"): {Verdict.PASS: 1, Verdict.WEDGED: 1}}

    line = table([SOUND], {key: Counter(value) for key, value in verdicts.items()}).splitlines()[-1]
    assert line == "| 1.2 | all is well |  (split, mmio) | blk | served | PASS | - | WEDGED 1/2 |"
