"""KVM against the emulator, instruction by instruction: some of what `python -m tools.lockstep` does; and its parts."""

import json
import random

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("capstone")
from tests.scale import scaled
from tools.lockstep import campaign
from tools.lockstep.__main__ import main
from tools.lockstep.candidates import Candidate, Source
from tools.lockstep.sequences import Rows, reads, undefined_after
from tools.lockstep.sides import EmulatorSide
from tools.lockstep.undefined import AF, ALL, CF, OF, flags_of, undefined
from tools.lockstep.values import Values, full
from tools.lockstep.world import DATA, MODES, READ_ONLY, fields_of, segment_base
from vmm.executors.instructions import decoded

CARRY, ZERO = 1, 0x40


def instruction(code, width=2):
    code = bytes.fromhex(code)
    return Candidate(code, decoded(code, 0, width))


@pytest.mark.parametrize("mode", MODES)
def test_the_same_on_both(kvm, mode):
    """But for what is known (tools/lockstep/known.py)."""
    made = campaign.Campaign(MODES[mode], 7)
    try:
        found = made.run({"ours": scaled(500), "row": scaled(150), "other": scaled(120)})
    finally:
        made.close()
    assert not found.differences, "\n".join(map(str, found.examples))
    assert found.steps["ours"] >= scaled(500) and found.ends["done"] > found.steps["ours"] / 2


@pytest.fixture
def with_fault(monkeypatch):
    """CF is wrong in the emulator behind CMP."""
    step = EmulatorSide.step

    def wrong(side, general, floats=b"", special=False):
        found = step(side, general, floats, special)
        at = general["rip"] + segment_base(fields_of(side.mode), side.mode, "cs")
        if found.ran and not found.end and side.view[at] == 0x3c:      # cmp al, imm8
            found.general["rflags"] ^= CARRY
        return found
    monkeypatch.setattr(EmulatorSide, "step", wrong)


def test_a_fault_is_found(kvm, with_fault, monkeypatch):
    """And what is told has the registers that it needs alone."""
    monkeypatch.setattr(Source, "next", lambda source: instruction("3c05", source.mode.width))
    made = campaign.Campaign(MODES["long-0"], 1)
    try:
        found = made.run({"ours": 8})
    finally:
        made.close()
    assert found.differences == {("long-0", "cmp", "rflags"): 8}
    (example,) = found.examples
    assert set(example.general) - {name for name, value in example.general.items() if not value} <= \
        {"rip", "rsp", "rflags"}
    assert "cmp al, 5" in str(example) and "rflags: KVM" in str(example)


def test_the_command(kvm, tmp_path, capsys):
    path = tmp_path / "found.json"
    assert main(["--steps", "30", "--modes", "long-3", "--kinds", "ours,row", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())
    assert row["mode"] == "long-3" and row["steps"].keys() == {"ours", "row"} and not row["differences"]
    assert "long-3" in capsys.readouterr().out


@pytest.mark.parametrize("option, value", [("--modes", "vm86"), ("--kinds", "ours,all")])
def test_what_there_is_not(capsys, option, value):
    with pytest.raises(SystemExit):
        main([option, value])
    assert "no such; wanted some of" in capsys.readouterr().err


@pytest.mark.parametrize("code, cl, flags", [
    ("21c0", 0, AF), ("01c0", 0, 0), ("f7f1", 0, ALL),         # and; add; div ecx
    ("d3e0", 0, 0), ("d3e0", 1, AF), ("d3e0", 5, AF | OF),      # shl eax, cl
    ("d2e0", 9, AF | OF | CF), ("d3c0", 2, OF), ("d3c0", 1, 0), # shl al, cl; rol eax, cl
    ("48d3e0", 33, AF | OF), ("d3e0", 33, AF),                  # masked by 63, and by 31
    ("660fa5c8", 17, ALL), ("660fa5c8", 16, AF | OF),           # shld ax, cx, cl
])
def test_undefined_flags(code, cl, flags):
    assert flags_of(instruction(code), cl) == flags


def test_undefined_results():
    general = {"rcx": 0}
    assert undefined(instruction("0fbcd8"), general, ZERO).fields == {"rbx"}     # bsf ebx, eax
    assert not undefined(instruction("0fbcd8"), general, 0).fields
    assert undefined(instruction("660fc8"), general, 0).fields == {"rax"}        # bswap ax
    assert undefined(instruction("660fa508"), {"rcx": 20}, 0).fields == {"memory"}


@pytest.mark.parametrize("mode", ["real", "long-3"])
def test_rows_look_at_nothing_undefined(mode):
    rows = Rows(Source(MODES[mode], "ours", random.Random(3)))
    for _ in range(scaled(100)):
        instructions, left = rows.next()
        flags = 0
        for each in instructions:
            assert not reads(each.name) & flags, [one.text for one in instructions]
            flags = undefined_after(each, flags)
        assert flags == left and 5 <= len(instructions) <= 20


@pytest.mark.parametrize("mode", MODES)
def test_operands_are_aimed_at_the_data(mode):
    """MOV with a base and an index: the linear address is of the data most of the time."""
    mode = MODES[mode]
    fields = fields_of(mode)
    values = Values(mode, fields, random.Random(5))
    each = instruction({0: "8b00", 1: "8b0443", 2: "488b0443"}[mode.width], mode.width)
    memory = each.memory().mem
    hits = 0
    for _ in range(200):
        general = values.general(0x10000, each)
        parts = [general[full(each.decoded.reg_name(part))] * scale
                 for part, scale in ((memory.base, 1), (memory.index, memory.scale)) if part]
        bits = 8 * each.decoded.addr_size
        linear = segment_base(fields, mode, "ds") + sum(parts) % (1 << bits)
        hits += DATA <= linear < READ_ONLY
    assert hits > 120


@pytest.mark.parametrize("name, of", [("r8d", "r8"), ("r15", "r15"), ("ah", "rax"), ("sil", "rsi"), ("eax", "rax"),
                                      ("di", "rdi"), ("rbp", "rbp")])
def test_registers(name, of):
    assert full(name) == of
