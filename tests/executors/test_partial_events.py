"""Partial emulation, instruction by instruction: what comes meanwhile, and what has yet to be done."""

import errno
from contextlib import ExitStack, closing

import pytest

from vmm.devmodel.exit_path import Bus
from vmm.kvm.bus import AddressSpace
from vmm.kvm.memory import GuestMemory
from vmm.kvm.vm import KvmError, Vcpu, Vm

pytest.importorskip("unicorn")
pytest.importorskip("capstone")

from vmm.executors.partial import Partial

CODE, HANDLER = 0x1000, 0x2000
NMI = 2                 # its vector
KVM_NMI = 0xae9a        # linux/kvm.h


class Ports:
    """What a guest in real mode accesses: `on_read` by port, or address; all is remembered."""

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
        for name in ("cs", "ds", "es", "ss"):       # with smaller ones nothing is run beside KVM
            getattr(sregs, name).limit, getattr(sregs, name).g = 0xffffffff, 1
        self.vcpu.set_sregs(sregs)
        self.vcpu.set_regs(rip=CODE, rsp=0x8000)
        self.partial = made.enter_context(closing(
            Partial(self.vcpu, AddressSpace(Bus.MMIO), self.ports, 50, self.errors.append)))

    def enter(self):
        """Up to what is Python's, an access being done."""
        reason, loop = self.vcpu.enter(), self.vcpu.loop
        if reason in (self.vcpu.lib.KVM_EXIT_IO, self.vcpu.lib.KVM_EXIT_MMIO):
            data = self.vcpu.ffi.buffer(loop.data, loop.width * loop.count)
            for at in range(0, len(data), loop.width):
                self._access(loop, data, slice(at, at + loop.width))
        return reason

    def _access(self, loop, data, at):
        if loop.is_write:
            self.ports.write(loop.bus, loop.address, loop.width, int.from_bytes(data[at], "little"))
        else:
            data[at] = self.ports.read(loop.bus, loop.address, loop.width).to_bytes(loop.width, "little")


@pytest.fixture
def guest(kvm):
    with ExitStack() as made:
        yield lambda code: Guest(made, code)


def test_an_nmi_that_comes_meanwhile(guest):
    """It stays KVM's, whatever of the events is given back: here the shadow of STI."""
    made = guest(bytes.fromhex("e480 eb00 e480 fb 0fa2 e681 ebfa"))     # in, jmp, in, sti; then cpuid, out 0x81
    made.memory.write(NMI * 4, HANDLER.to_bytes(4, "little"))
    made.memory.write(HANDLER, bytes.fromhex("e682 cf"))                # out 0x82; iret

    def read():
        if len(made.ports.seen) == 2:
            made.vcpu.lib.kvm_call_value(made.vcpu.fd, KVM_NMI, 0)
        return 0
    made.ports.on_read[0x80] = read
    for _ in range(6):
        made.enter()
    assert made.partial.counters()["spared"] >= 1
    assert 0x82 in [each[0] for each in made.ports.seen[2:]]


def declining(made):
    """How many writes the exit path has declined, and how many of those were read: to be changed."""
    counts = made.vcpu.ffi.new("uint32_t[2]")
    made.vcpu.follow(counts, counts + 1, 0, 0)      # nobody assists
    return counts


def test_a_decline_of_the_rest_of_an_instruction(guest):
    """It is Python's to do before the emulator goes on."""
    made = guest(bytes.fromhex("e480 eb00 e480 ebfa"))      # in, jmp, in, ...
    counts = declining(made)
    made.enter()
    counts[0] += 1          # as by KVM_RUN, when the instruction is done
    assert made.vcpu.enter() == -errno.EINTR and made.ports.seen == [0x80]
    counts[1] += 1
    made.enter()
    assert made.ports.seen == [0x80] * len(made.ports.seen)


def test_a_decline_before_an_exit_of_the_same_instruction(guest):
    """The exit is told once, behind it."""
    # mov ax, -1; mov ds, ax; mov es, ax; mov si, 0x20; mov di, 0x30; movsb, behind RAM; out 0x81, ...
    made = guest(bytes.fromhex("b8ffff 8ed8 8ec0 be2000 bf3000 a4 e681 ebfc"))
    counts, loop, lib = declining(made), made.vcpu.loop, made.vcpu.lib
    assert made.vcpu.enter() == lib.KVM_EXIT_MMIO and (loop.is_write, loop.address) == (0, 0x100010)
    lib.vcpu_answer(loop, 0x5a)
    counts[0] += 1
    assert made.vcpu.enter() == -errno.EINTR
    counts[1] += 1
    assert made.vcpu.enter() == lib.KVM_EXIT_MMIO
    assert (loop.is_write, loop.address, loop.value) == (1, 0x100020, 0x5a)
    made.enter()
    assert set(made.ports.seen) == {(0x81, 0xff)} and not made.errors


def test_kvm_fails_as_the_instruction_ends(guest):
    """The access is not told once more."""
    made = guest(bytes.fromhex("e480 ebfc"))        # in, ...
    made.enter()
    made.vcpu.loop.vcpu_fd = -1
    with pytest.raises(KvmError, match="KVM_RUN: Bad file descriptor"):
        made.enter()
    assert made.ports.seen == [0x80]


@pytest.mark.parametrize("code, told", [
    ("ba8000 bf0020 6c", [0x80, (0x101ff0, 7)]),        # nothing else is written
    ("be0010 bf0020 a6", [0x100ff0, 0x101ff0])], ids=["ins", "cmps"])
def test_string_instructions_at_registers(guest, code, told):
    """As KVM does them: Unicorn writes a 0 before it reads the port of INS, and reads what CMPS compares the other way
    round."""
    # mov ax, -1; mov ds, ax; mov es, ax; in, jmp; the code; out 0x81, ...
    made = guest(bytes.fromhex("b8ffff 8ed8 8ec0 e480 eb00" + code + "e681 ebfc"))
    made.ports.on_read[0x80] = lambda: 7
    while (0x81, 7) not in made.ports.seen and (0x81, 0xff) not in made.ports.seen:
        made.enter()
    assert made.ports.seen[1:1 + len(told)] == told
