"""Partial emulation, instruction by instruction: what comes meanwhile, and what has yet to be done."""

from contextlib import ExitStack, closing

import pytest

from vmm.devmodel.exit_path import Bus
from vmm.kvm.bus import AddressSpace
from vmm.kvm.memory import GuestMemory
from vmm.kvm.vm import Vcpu, Vm

pytest.importorskip("unicorn")
pytest.importorskip("capstone")

from vmm.executors.partial import Partial  # noqa: E402

CODE, HANDLER = 0x1000, 0x2000
NMI = 2                 # its vector
KVM_NMI = 0xae9a        # linux/kvm.h


class Ports:
    """Those of a guest in real mode: `on_read` and `on_write` by port; all accesses are remembered."""

    def __init__(self):
        self.seen, self.on_read = [], {}

    def read(self, _bus, port, _width):
        self.seen.append(port)
        return self.on_read.get(port, lambda: 0)()

    def write(self, _bus, port, _width, value):
        self.seen.append((port, value))

    def raise_(self, line):
        raise AssertionError(line)


class Guest:
    """One vCPU that runs `code` in real mode, with partial emulation after each exit."""

    def __init__(self, made, code):
        self.vm = made.enter_context(closing(Vm()))
        memory = made.enter_context(closing(GuestMemory(1 << 20)))
        for slot in memory.slots():
            self.vm.add_memory(*slot)
        self.memory, self.ports, self.errors = memory, Ports(), []
        memory.write(CODE, code)
        self.vcpu = made.enter_context(closing(Vcpu(self.vm, 0, 1)))
        sregs = self.vcpu.get_sregs()
        sregs.cs.base = sregs.cs.selector = 0
        self.vcpu.set_sregs(sregs)
        self.vcpu.set_regs(rip=CODE, rsp=0x8000)
        self.partial = made.enter_context(closing(
            Partial(self.vcpu, AddressSpace(Bus.MMIO), self.ports, 50, self.errors.append)))

    def enter(self):
        """Up to what is Python's, an access of a port being done."""
        reason, loop = self.vcpu.enter(), self.vcpu.loop
        if reason == self.vcpu.lib.KVM_EXIT_IO:
            if loop.is_write:
                self.ports.write(1, loop.address, loop.width, loop.value)
            else:
                self.vcpu.lib.vcpu_answer(loop, self.ports.read(1, loop.address, loop.width))
        return reason


@pytest.fixture
def guest(kvm):
    with ExitStack() as made:
        yield lambda code: Guest(made, code)


def test_an_nmi_that_comes_meanwhile(guest):
    """It stays KVM's, whatever of the events is given back: here the shadow of STI."""
    made = guest(bytes.fromhex("e480 eb00 e480 fb 0fa2 e681 ebfa"))     # in, jmp, in, sti; then cpuid, out 0x81
    made.memory.write(NMI * 4, HANDLER.to_bytes(4, "little"))
    made.memory.write(HANDLER, bytes.fromhex("e682 cf"))                # out 0x82; iret
    reads = iter([lambda: 0, lambda: made.vcpu.lib.kvm_call_value(made.vcpu.fd, KVM_NMI, 0)])
    made.ports.on_read[0x80] = lambda: next(reads)()
    for _ in range(6):
        made.enter()
    assert made.partial.counters()["spared"] >= 1
    assert 0x82 in [each[0] for each in made.ports.seen[2:]]
