"""Events delivered to an emulated vCPU: what becomes of faults on the way (SDM 3, 6.14 and 6.15)."""

import pytest

pytest.importorskip("unicorn")
from tools.lockstep.world import (
    BYTES,
    CODE64,
    HANDLERS_STACK,
    MODES,
    READ_ONLY,
    STACK,
    STUBS,
    USER_CODE64,
    USER_DATA,
    build,
    fields_of,
)
from vmm.emulated.delivery import Event, Shutdown, deliver, exception
from vmm.emulated.linear import Physical
from vmm.executors.guest_map import Range
from vmm.executors.state import blank, write_all
from vmm.sync.region import Region

DOUBLE_FAULT, STACK_FAULT, PROTECTION, PAGE_FAULT = 8, 12, 13, 14
NOT_CANONICAL, NOT_PRESENT = 0x800000001000, STACK - 0x800
INTERRUPT = 0x40


class World:
    """Handlers of double faults, #SS and #PF have a stack of their own (tools/lockstep/world.py)."""

    def __init__(self, mode, rsp):
        self.memory, self.state = Region.anonymous("delivery", BYTES), blank()
        build(self.memory.view, MODES[mode])
        write_all(self.state, fields_of(MODES[mode]))
        self.state.general.rip, self.state.general.rsp, self.state.general.rflags = 0x10000, rsp, 0x202
        self.physical = Physical([Range(0, BYTES, self.memory.address)])

    def deliver(self, event):
        """The vector of the handler that it is in then."""
        deliver(self.state, self.physical, event)
        return (self.state.general.rip - STUBS) // 4

    def pushed(self, words):
        at = self.state.general.rsp
        return [int.from_bytes(self.memory.view[at + 8 * i:at + 8 * i + 8], "little") for i in range(words)]


@pytest.mark.parametrize("rsp, event, vector, error", [
    (NOT_CANONICAL, Event(INTERRUPT), STACK_FAULT, 1),                  # an external event's: bit 0
    (NOT_CANONICAL, exception(PROTECTION, 0), DOUBLE_FAULT, 0),         # contributory, twice
    (NOT_PRESENT, exception(PROTECTION, 0), PAGE_FAULT, 2),             # serially
    (READ_ONLY + 0x800, Event(INTERRUPT), PAGE_FAULT, 3),
    (1 << 63, exception(6, 0), STACK_FAULT, 1),                         # benign
])
def test_a_stack_that_cannot_be_pushed_to(rsp, event, vector, error):
    world = World("long-0", rsp)
    assert world.deliver(event) == vector
    assert HANDLERS_STACK < world.state.general.rsp < BYTES
    assert world.pushed(2) == [error, 0x10000] and world.pushed(5)[4] == rsp
    assert world.state.control.cr2 == (rsp - 8 if vector == PAGE_FAULT else 0)


def test_out_of_a_double_fault():
    world = World("long-0", STACK)
    world.state.segments.idt.limit = 0          # no handler at all
    with pytest.raises(Shutdown):
        world.deliver(Event(INTERRUPT))


def test_from_ring_3():
    world = World("long-3", NOT_CANONICAL)      # of the user's, which is not used
    assert world.deliver(Event(INTERRUPT)) == INTERRUPT
    assert world.pushed(5) == [0x10000, USER_CODE64, 0x202, NOT_CANONICAL, USER_DATA]
    assert world.state.segments.cs.selector == CODE64 and world.state.segments.ss.selector == 0


def test_a_gate_that_int_may_not_use():
    """Its error code names the gate."""
    world = World("long-3", STACK)
    assert world.deliver(Event(INTERRUPT, software=True)) == PROTECTION
    assert world.pushed(1) == [INTERRUPT << 3 | 2]
