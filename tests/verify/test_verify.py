"""The checker: devices of ours are in step, and a device that is not is found, shortly."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.scale import scaled
from vmm.cli.main import main
from vmm.errors import UserError
from vmm.kvm.bpf import why_not
from vmm.kvm.interrupts import Interrupts
from vmm.verify import NotInStep, RegisterStrategy, VirtioStrategy, verify
from vmm.verify.campaign import Campaign, stateful
from vmm.verify.disks import why_not as why_no_disk
from vmm.verify.shrink import shrunk
from vmm.verify.source import Drawn, Seeded
from vmm.verify.steps import Sequence, Step, load, save, script, step
from vmm.verify.strategies import ours
from vmm.verify.strategy import strategy_of

EXECUTORS = ["off", "host", *([] if why_not() else ["on"])]
CASES = [(name, setting) for name, kind in ours().items() for setting in kind.combinations()]


@pytest.mark.parametrize("name, setting", CASES, ids=[f"{name}-{'-'.join(s.values())}" for name, s in CASES])
def test_ours_are_in_step(ring, name, setting):
    if reason := why_no_disk(setting.get("disk", "sound")):
        pytest.skip(reason)
    result = verify(ours()[name](), EXECUTORS, None, scaled(800), 1, **setting)
    assert result.steps >= scaled(800) and all(result.handled[mode] > result.steps / 50 for mode in EXECUTORS[1:])
    in_flight = name in ("net", "console") or setting.get("async") == "on"
    assert len(result.kinds) >= (9 if in_flight else 14), result.kinds
    assert name == "console" or all(len(reasons) > 2 for reasons in result.declined.values())


@pytest.mark.parametrize("name", ["adder", "blitter"])
def test_examples_are_in_step(module, name):
    found = module(name)
    kind = next(kind for key, kind in vars(found).items() if key == f"{name.capitalize()}Device")
    assert verify(strategy_of(kind), EXECUTORS, None, scaled(2000), 2).handled["host"]


@pytest.mark.parametrize("virtio", [False, True], ids=["register", "virtio"])
def test_a_new_device_is_in_step(module, virtio):
    found = module("blinker", virtio=virtio)
    assert verify(strategy_of(found.BlinkerDevice), EXECUTORS, None, scaled(2000), 3).handled["host"]


WRONG_SUM = ("adder.c", "WRITE_ONCE(adder->page->sum, sum)", "WRITE_ONCE(adder->page->sum, sum ^ 1)")
FAULTS = {
    "a carry lost": (("adder.c", "if (sum < summand)", "if (0)"), "page, carries"),
    "another sum": (WRONG_SUM, "page, sum"),
    "an interrupt too many": (("adder.c", "return DONE;", "return DONE_INTERRUPT;"), "interrupt of line 0 is raised"),
    "it changes something, and declines": (("adder.c", "return ADDER_DECLINE_OVERFLOW;",
                                            "{ WRITE_ONCE(adder->page->carries, 7); return ADDER_DECLINE_OVERFLOW; }"),
                                           "page, carries"),
}


@pytest.mark.parametrize("edit, says", FAULTS.values(), ids=FAULTS)
def test_what_is_out_of_step_is_found(module, edit, says):
    found = module("adder", edit)
    with pytest.raises(NotInStep) as error:
        verify(strategy_of(found.AdderDevice), ["off", "host"], None, 4000, 4)
    assert re.search(says, str(error.value)) and error.value.difference.number <= 4, error.value


def test_a_virtio_fault_is_found(module):
    found = module("louder", ("louder.c", "used_count(serving, from.length);", "used_count(serving, 0);"), virtio=True)
    with pytest.raises(NotInStep, match="queue 0 bytes is 0"):
        verify(strategy_of(found.LouderDevice), ["off", "host"], None, 4000, 4)


@pytest.mark.parametrize("transport", ["mmio", "pci"])
def test_an_interrupt_that_is_not_raised_is_found(monkeypatch, transport):
    monkeypatch.setattr(Interrupts, "raise_", lambda interrupts, number: None)     # which the native half does it by
    with pytest.raises(NotInStep, match="interrupt of line 0 is missing with host; wanted raised, as with off"):
        verify(ours()["rng"](), ["off", "host"], None, 400, 4, transport=transport, rings="split")


def test_python_that_raises_differs(module):
    found = module("adder")

    class Broken(found.AdderDevice):
        def on_write_add(self, value):
            if value > 1000 and self.mode == "off":
                raise ZeroDivisionError("mine")
            super().on_write_add(value)
    with pytest.raises(NotInStep, match=r"ZeroDivisionError: mine \(test_verify.py:"):
        verify(RegisterStrategy(lambda: Broken("adder")), ["off", "host"], None, 4000, 5)


def test_python_that_raises_everywhere_is_no_agreement(module):
    found = module("adder")

    class Broken(found.AdderDevice):
        def on_write_add(self, value):
            if value > 1000:
                raise ZeroDivisionError("mine")
            super().on_write_add(value)
    with pytest.raises(NotInStep, match=r"raises is ZeroDivisionError: mine .* with off; wanted nothing\n"):
        verify(RegisterStrategy(lambda: Broken("adder")), ["off"], None, 4000, 5)


# sequences

def test_the_same_seed_is_the_same_sequence():
    runs = [Campaign(ours()["blk"](), "blk", ["off"], {}).run(9, None, 400) for _ in range(2)]
    assert runs[0].kinds == runs[1].kinds and runs[0].steps == 400
    assert [Seeded(3).whole(0, 1 << 70) for _ in range(2)] == [Seeded(3).whole(0, 1 << 70)] * 2


def test_a_sequence_is_kept_and_read(tmp_path):
    kept = Sequence("blk", {"rings": "split"}, ["off", "host"], [
        step("ring", queue=0), step("setup", features=1, size=8)], 3)
    save(kept, tmp_path / "kept")
    assert load(tmp_path / "kept") == kept
    assert script(kept.steps) == "    1  ring queue=0\n    2  setup features=1 size=8\n"
    assert str(step("x", on=True, data=[[0x90000, 16, 0]])) == "x on=yes data=[[0x90000, 0x10, 0]]"


SOUND = {"format": "splitvmm sequence 1", "device": "a", "setting": {}, "executors": [], "steps": []}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "another"}', '{"format": "splitvmm sequence 1"}',
                                  json.dumps({**SOUND, "device": 1}), json.dumps({**SOUND, "steps": [["ring"]]}),
                                  "[" * 100000])
def test_a_file_that_is_no_sequence(tmp_path, text):
    (tmp_path / "file").write_text(text)
    with pytest.raises(UserError, match="wanted a sequence that verify saved"):
        load(tmp_path / "file")


def test_steps_that_there_are_not(tmp_path, capsys):
    save(Sequence("rng", {}, ["off"], [step("settle"), step("__init__")]), tmp_path / "file")
    assert main(["verify", "rng", "--replay", str(tmp_path / "file")]) == os.EX_USAGE
    assert "step 'settle'; wanted one of acknowledge, avail_index, chain" in capsys.readouterr().err


@pytest.mark.parametrize("bad, says", [
    (step("offer", queue=0), "step 1, offer: missing a required argument: 'head'"),
    (step("ring", queue=0, more=1), "step 1, ring: got an unexpected keyword argument 'more'"),
    (step("ring", queue=[[]]), "step 1, ring: queue is [[]]; wanted int")])
def test_steps_that_cannot_be_played_are_no_agreement(tmp_path, capsys, bad, says):
    save(Sequence("rng", {}, ["off"], [bad]), tmp_path / "file")
    assert main(["verify", "rng", "--replay", str(tmp_path / "file")]) == os.EX_USAGE
    assert says in capsys.readouterr().err


def test_what_is_shrunk_still_fails_and_is_simple():
    steps = [Step("a", {"n": n, "parts": [[n, 1], [2, n]]}) for n in range(300)]

    def fails(tried):
        return sum(each.given["n"] > 100 for each in tried) >= 2
    found = shrunk(steps, fails, 20)
    assert [each.given for each in found] == [{"n": n, "parts": []} for n in [found[0].given["n"], found[1].given["n"]]]
    assert all(100 < each.given["n"] < 256 for each in found)


def test_hypothesis_shrinks_it_as_well(module):
    from hypothesis import Phase, settings
    from hypothesis.stateful import run_state_machine_as_test
    found = module("adder", WRONG_SUM)
    machine = stateful(strategy_of(found.AdderDevice), ["off", "host"])
    with pytest.raises(NotInStep, match="page, sum"):
        run_state_machine_as_test(machine, settings=settings(
            max_examples=30, deadline=None, derandomize=True, phases=(Phase.generate, Phase.shrink)))


def test_choices_that_hypothesis_makes():
    from hypothesis import find
    from hypothesis import strategies as st

    @st.composite
    def drawn(draw):
        source = Drawn(draw)
        return source.whole(3, 9), source.one("ab"), source.chance(50)
    assert find(drawn(), lambda found: found[2] and found[0] > 4) == (5, "a", True)


# the command

def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "rng", "--steps", "400", "--seed", "1", "--modes", "off,host", "--json", "out"]) == 0
    said, kept = capsys.readouterr().out, json.loads(Path("out").read_text())
    assert "no difference" in said and "not compared: memory, buffers" in said
    assert [campaign["steps"] for campaign in kept["campaigns"]] == [400, 400] and kept["seed"] == 1


def test_several_processes(tmp_path, capsys):
    assert main(["verify", "rng", "--steps", "1600", "--seed", "1", "--modes", "off,host", "--rings", "split",
                 "--workers", "2", "--json", str(tmp_path / "out")]) == 0
    assert "1,600 steps in 4 sequences" in capsys.readouterr().out


def test_a_cluster(tmp_path, capsys):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                                  host="127.0.0.1") as cluster:
        assert main(["verify", "blk", "--steps", "1600", "--seed", "1", "--modes", "off,host", "--rings", "split",
                     "--async", "off", "--disk", "sound", "--dask", cluster.scheduler_address]) == 0
    assert "1,600 steps in 4 sequences" in capsys.readouterr().out


def test_a_difference_is_told_saved_and_played_again(module, tmp_path, capsys, monkeypatch):
    module("adder", WRONG_SUM)
    monkeypatch.chdir(tmp_path)
    device = str(tmp_path / "adder" / "adder.py")
    assert main(["verify", device, "--steps", "4000", "--seed", "1", "--modes", "host"]) == 1
    said = capsys.readouterr().out
    assert "page, sum is 01" in said and "    1  write register=add value=0" in said
    assert main(["verify", device, "--replay", "adder.sequence.json"]) == 1
    assert "page, sum is 01" in capsys.readouterr().out
    assert main(["verify", "rng", "--replay", "adder.sequence.json"]) == os.EX_USAGE
    assert "a sequence of adder; wanted one of rng" in capsys.readouterr().err


@pytest.mark.parametrize("words, says", [
    (["nothing"], "'nothing'; wanted blk, net, console, rng, or a device's FILE.py"),
    (["rng", "--modes", "on,on"], "--modes on,on: on given twice; wanted it once"),
    (["rng", "--modes", ""], "--modes : ''; wanted a list of off, host, on"),
    (["rng", "--modes", "off,there"], "'there'; wanted a list of off, host, on"),
    (["rng", "--modes", "host", "--disk", "sound"], "--disk sound: rng has no disk; wanted it with blk alone"),
    (["rng", "--rings", "round"], "--rings round: 'round'; wanted a list of split, packed"),
    ([], "no DEVICE; wanted blk, net, console, rng or a device's FILE.py"),
    (["rng", "--workers", "0"], "--workers '0'; wanted a whole number from 1"),
    (["rng", "--steps", "1", "--dask", "nowhere"], "--dask nowhere: "),
    (["rng", "--steps", "0"], "--steps '0'; wanted a whole number from 1"),
    (["blk", "--async", "off", "--disk", "direct"], "--async off --disk direct: no such combination"),
    (["blk", "--against", "qemu", "--async", "on"], "--async on --against qemu; wanted off with it"),
    (["blk", "--against", "qemu", "--disk", "faulty"], "--disk faulty --against qemu; wanted sound with it"),
    (["rng", "--replay", "/nowhere"], "/nowhere: No such file or directory; wanted a sequence"),
    (["rng", "--steps", "1", "--json", "/nowhere/x", "--modes", "off"], "--json /nowhere/x: cannot be written")])
def test_mistakes(capsys, words, says):
    assert main(["verify", *words]) == os.EX_USAGE
    assert says in capsys.readouterr().err


def test_a_device_without_a_strategy_has_one():
    from vmm.devices.probe import ProbeDevice
    from vmm.devices.rng import RngDevice
    assert isinstance(strategy_of(RngDevice), VirtioStrategy) and isinstance(strategy_of(ProbeDevice), RegisterStrategy)
