"""Unicorn and the declared state: in each mode there and back, bit by bit; and what it runs by it."""

import struct

import pytest

from tests.scale import scaled
from vmm.devmodel.vcpu import Activity
from vmm.devmodel.view import to_dict
from vmm.executors.executor import Stop, Why
from vmm.executors.generated import MODES, States
from vmm.executors.reset import reset
from vmm.executors.state import blank, differences, write_all
from vmm.executors.transfer import NotTransferable
from vmm.sync.region import Region

unicorn = pytest.importorskip("unicorn")
from vmm.executors.guest_map import Range  # noqa: E402
from vmm.executors.unicorn_cpu import UnicornCpu  # noqa: E402
from vmm.executors.unicorn_state import BREAKPOINTS, EVENTS  # noqa: E402


@pytest.fixture
def cpu():
    cpu = UnicornCpu(None)
    yield cpu
    cpu.close()


def all_changed(cpu):
    """As if no word of the CPU were what it was given: all of it is taken."""
    size = cpu.emulator.cpu_bytes
    cpu._given[0:size] = [byte ^ 0xff for byte in bytes(cpu._context)]
    cpu.emulator.flags_given = ~cpu.emulator.flags_given & 0xffffffff


def runnable(fields):
    fields["debug"]["dr7"] &= ~BREAKPOINTS
    fields["events"] |= dict.fromkeys(EVENTS, 0)
    state = blank()
    write_all(state, fields)
    return state


@pytest.mark.parametrize("mode", MODES)
def test_there_and_back(cpu, mode):
    """Another state is in the CPU in between, and the one that is taken starts from yet another."""
    states = States(reset(), MODES.index(mode))
    for _ in range(scaled(60)):
        state, other = runnable(states.next(mode)), blank()
        write_all(other, to_dict(state))
        another = to_dict(runnable(states.next(mode)))
        write_all(other, {name: another[name] for name in ("general", "segments", "debug")})
        cpu.give(state)
        all_changed(cpu)
        cpu.take(other)
        assert [each for each in differences(state, other) if each[0] != "xsave.xstate_bv"] == []
        cpu.give(runnable(states.next(mode)))


def test_nothing_changes_that_was_not_run(cpu):
    state, other = runnable(States(reset(), 9).next("long")), blank()
    cpu.give(state)
    write_all(other, to_dict(state))
    cpu.take(other)
    assert not list(differences(state, other))


@pytest.mark.parametrize("field, value, says", [
    ("events.interrupt_injected", 1, "events.interrupt_injected: 1; wanted it delivered"),
    ("events.exception_pending", 1, "events.exception_pending"),
    ("activity", int(Activity.HALTED), "activity: 3; wanted 0"),
    ("debug.dr7", 0x401, "debug.dr7: 0x401; wanted none"),
    ("general.rip", 1 << 60, "general.rip"),
])
def test_what_it_cannot_run_is_refused(cpu, field, value, says):
    state = runnable(States(reset(), 5).next("long"))
    at, (*outer, last) = state, field.split(".")
    for name in outer:
        at = getattr(at, name)
    setattr(at, last, value)
    before = bytes(cpu.uc.context_save())[0x28:]
    with pytest.raises(NotTransferable, match=says):
        cpu.give(state)
    assert bytes(cpu.uc.context_save())[0x28:] == before


# code at an address, what it does to registers; in each mode from the state that a CPU would have there
CODE = {
    "real": (bytes.fromhex("8b07 0503 0089 07f4"), 0x8000),           # mov (bx), ax; add 3, ax; mov ax, (bx); hlt
    "protected-32": (bytes.fromhex("8b03 0503000000 8903f4"), 0x8000),
    "long": (bytes.fromhex("488b03 4883c003 488903 f4"), 0x8000),
}
PAGES = (0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)      # tables for one of 2 MiB


@pytest.mark.parametrize("mode", CODE)
def test_code_runs_by_the_hidden_parts_of_segments(cpu, mode):
    """ds is where its base says, whatever its selector: big real mode is no different."""
    code, at = CODE[mode]
    memory = Region.anonymous("ram", 1 << 20)
    cpu.map([Range(0, 1 << 20, memory.address)])
    for where, data in ((at, code), (0x54330, (39).to_bytes(8, "little")),
                        *((table, entry.to_bytes(8, "little")) for table, entry in PAGES)):
        memory.view[where:where + len(data)] = data
    fields = States(reset(), 3).next("big-real" if mode == "real" else mode)
    fields["control"] |= {"cr3": 0x1000, "cr4": fields["control"]["cr4"] & ~0x20} if mode != "long" else {"cr3": 0x1000}
    fields["segments"]["cs"] |= {"base": 0, "limit": 0xffff if mode == "real" else 0xffffffff}
    base = 0 if mode == "long" else 0x54320
    fields["segments"]["ds"] |= {"base": base, "limit": 0xffffffff, "selector": 0x77, "access": 0xc093}
    fields["general"] |= {"rip": at, "rbx": 0x10 if base else 0x54330, "rflags": 2}
    state = runnable(fields)
    assert cpu.run(state, 10) == Stop(Why.HALTED)
    assert state.general.rax & 0xffff == 42 and state.general.rip == at + len(code)
    assert memory.view[0x54330] == 42


NEAREST, DOWN = 0, 1        # rounding (SDM 1, table 4-8)


@pytest.mark.parametrize("roundings", [(NEAREST, DOWN), (DOWN, NEAREST)])
def test_rounding_is_what_the_state_says(cpu, roundings):
    """Of 1/3, by SSE and by x87; the CPU rounds otherwise before."""
    memory = Region.anonymous("ram", 1 << 20)
    cpu.map([Range(0, 1 << 20, memory.address)])
    memory.view[0x8000:0x8007] = bytes.fromhex("f30f5ec1 def9 f4")       # divss xmm0, xmm1; fdivp st(1); hlt
    for rounding in roundings:
        fields = States(reset(), 3).next("real")
        fields["segments"]["cs"] |= {"base": 0, "limit": 0xffff}
        fields["general"]["rip"], fields["control"]["cr0"], fields["control"]["cr4"] = 0x8000, 0x10, 1 << 9
        fields["xsave"] |= {"fcw": 0x37f | rounding << 10, "fsw": 0, "ftw": 3, "mxcsr": 0x1f80 | rounding << 13}
        fields["xsave"]["xmm"][:20] = struct.pack("<f12xf", 1, 3)
        fields["xsave"]["st"][:26] = struct.pack("<QH6xQH", 3 << 62, 0x4000, 1 << 63, 0x3fff)
        state = runnable(fields)
        assert cpu.run(state, 10) == Stop(Why.HALTED)
        assert bytes(state.xsave.xmm)[:4] == (0x3eaaaaab - rounding).to_bytes(4, "little")
        assert bytes(state.xsave.st)[:8] == (0xaaaaaaaaaaaaaaab - rounding).to_bytes(8, "little")
