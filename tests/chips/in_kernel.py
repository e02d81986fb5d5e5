"""KVM's own chips, driven access by access: a guest of one vCPU does each that it is told, and what the chips then
have is read by KVM_GET_IRQCHIP, KVM_GET_PIT2 and KVM_GET_LAPIC."""

from __future__ import annotations

import errno
import signal
import struct
from contextlib import ExitStack, closing
from typing import NamedTuple

from vmm.kvm.addresses import EXIT_PORT, IOAPIC, MIB
from vmm.kvm.chips import chip_routes
from vmm.kvm.memory import GuestMemory
from vmm.kvm.vm import Vcpu, Vm

CODE, TABLES, RESULT, VECTOR, STACK = 0x1000, 0x4000, 0x8000, 0x8008, 0x9000
STUBS, STUB_BYTES = 0x10000, 16
GDT, IDT = TABLES, TABLES + 0x100
ISR, IRR = 0x10, 0x20           # registers of local APICs
PIC_NAMES = ("last_irr irr imr isr priority_add irq_base read_reg_select poll special_mask init_state auto_eoi "
             "rotate_on_auto_eoi special_fully_nested_mode init4 elcr elcr_mask").split()
COUNTER_NAMES = ("count latched_count count_latched status_latched status read_state write_state write_latch rw_mode "
                 "mode bcd gate").split()
HANG_S = 30
OUT_PORT = bytes.fromhex("ba") + EXIT_PORT.to_bytes(4, "little") + bytes.fromhex("ee")      # mov $port, %edx; out
STORE_EAX, STORE_VECTOR = (b"\xa3" + at.to_bytes(4, "little") for at in (RESULT, VECTOR))
NO_VECTOR = 0xffffffff
KVM_SIGNAL_MSI = 0x4020aea5     # _IOW(KVMIO, 0xa5, struct kvm_msi)


class Access(NamedTuple):
    """One of the guest's; `value` is None of a read."""

    bus: str                    # "port", "memory" or "msr"
    address: int
    width: int = 1
    value: int | None = None


def code_of(access: Access) -> bytes:
    """32-bit code that does it, and leaves at RESULT what it read."""
    bus, address, width, value = access
    prefix = b"\x66" if width == 2 else b""
    load = b"\x31\xc0" if value is None else b"\xb8" + (value & 0xffffffff).to_bytes(4, "little")
    if bus == "port":
        opcode = (0xec if value is None else 0xee) | (width > 1)
        return b"\xba" + address.to_bytes(4, "little") + load + prefix + bytes([opcode]) + STORE_EAX
    if bus == "memory":
        opcode = (0xa0 if value is None else 0xa2) | (width > 1)
        return load + prefix + bytes([opcode]) + address.to_bytes(4, "little") + STORE_EAX
    load += b"\xba" + ((value or 0) >> 32).to_bytes(4, "little") + b"\xb9" + address.to_bytes(4, "little")
    return load + (b"\x0f\x32" if value is None else b"\x0f\x30") + STORE_EAX


class InKernel:
    """A VM whose guest does accesses, with interrupts disabled but where it is told to take one.  Of several CPUs only
    the first one runs."""

    def __init__(self, cpus: int = 1):
        with ExitStack() as made:
            self.vm = made.enter_context(closing(Vm()))
            memory = made.enter_context(closing(GuestMemory(MIB)))
            for slot in memory.slots():
                self.vm.add_memory(*slot)
            self.memory = memory
            self.vcpus = [made.enter_context(closing(Vcpu(self.vm, index, cpus))) for index in range(cpus)]
            self.vcpu = self.vcpus[0]
            self.vm.set_routing(chip_routes(self.vm.lib, ()))
            self._prepare()
            self.close = made.pop_all().close

    def _prepare(self) -> None:
        """Flat, 32 bits; an IDT whose every stub leaves its vector at VECTOR."""
        flat = struct.pack("<HHBBBB", 0xffff, 0, 0, 0x9b, 0xcf, 0), struct.pack("<HHBBBB", 0xffff, 0, 0, 0x93, 0xcf, 0)
        self.memory.write(GDT, bytes(8) + flat[0] + flat[1])
        for vector in range(256):
            at = STUBS + STUB_BYTES * vector
            self.memory.write(IDT + 8 * vector, struct.pack("<HHHH", at & 0xffff, 8, 0x8e00, at >> 16))
            self.memory.write(at, b"\xb8" + vector.to_bytes(4, "little") + STORE_VECTOR + OUT_PORT)
        sregs, ffi = self.vcpu.get_sregs(), {"base": 0, "limit": 0xffffffff, "present": 1, "s": 1, "g": 1, "db": 1}
        sregs.cs = {**ffi, "selector": 8, "type": 11}
        for name in ("ds", "es", "fs", "gs", "ss"):
            setattr(sregs, name, {**ffi, "selector": 16, "type": 3})
        sregs.gdt, sregs.idt = {"base": GDT, "limit": 23}, {"base": IDT, "limit": 256 * 8 - 1}
        sregs.cr0 |= 1
        self.vcpu.set_sregs(sregs)

    def _run(self, code: bytes) -> tuple[int, int]:
        """Run that, until it writes to its port; what is at RESULT and VECTOR then."""
        self.memory.write(CODE, code + OUT_PORT)
        self.memory.write(RESULT, b"\xff" * 12)
        self.vcpu.set_regs(rip=CODE, rsp=STACK)
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, HANG_S)
        try:
            reason = self.vcpu.enter()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert reason != -errno.EINTR, "the guest hangs"
        loop = self.vcpu.loop
        assert reason == self.vm.lib.KVM_EXIT_IO and loop.address == EXIT_PORT, (reason, hex(loop.address))
        return tuple(int.from_bytes(self.memory.read(at, 4), "little") for at in (RESULT, VECTOR))

    def do(self, access: Access) -> int | None:
        """What it read; None if it faulted."""
        result, vector = self._run(code_of(access))
        assert vector in (NO_VECTOR, 13), f"exception {vector}"
        return result if vector == NO_VECTOR else None

    def interrupted(self) -> int:
        """sti; hlt: the vector that it is interrupted by."""
        return self._run(bytes.fromhex("fb f4"))[1]

    def set_line(self, gsi: int, level: bool) -> None:
        self.vm.call("KVM_IRQ_LINE", self.vm.ffi.new("uint32_t[2]", (gsi, level)))

    def message(self, address: int, data: int) -> None:
        """An MSI; KVM tells of an error where there is none that it is meant for."""
        self.vm.lib.kvm_call(self.vm.fd, KVM_SIGNAL_MSI, self.vm.ffi.new("uint32_t[8]", [address, 0, data]))

    # state

    def _chip(self, number: int) -> bytes:
        chip = self.vm.ffi.new("uint32_t[130]", [number])
        self.vm.call("KVM_GET_IRQCHIP", chip)
        return bytes(self.vm.ffi.buffer(chip))[8:]

    def pic(self, number: int) -> dict[str, int]:
        """struct kvm_pic_state."""
        return dict(zip(PIC_NAMES, self._chip(number)))

    def ioapic(self) -> dict:
        """struct kvm_ioapic_state."""
        _base, selected, id_, irr, _pad, *pins = struct.unpack_from("<QIIII24Q", self._chip(2))
        return {"ioregsel": selected, "id": id_, "irr": irr, "redirtbl": pins}

    def pit(self) -> list[dict[str, int]]:
        """struct kvm_pit_channel_state of each counter."""
        state = self.vm.ffi.new("uint8_t[112]")
        self.vm.call("KVM_GET_PIT2", state)
        return [dict(zip(COUNTER_NAMES, struct.unpack_from("<IH10B", bytes(state), 24 * at))) for at in range(3)]

    def state(self) -> dict:
        """All of them, as vmm/chips/state.py has it."""
        return {"pics": [self.pic(0), self.pic(1)], "ioapic": self.ioapic(), "counters": self.pit(), "speaker": 0}

    def set_state(self, state: dict) -> None:
        """The same, but for the 8254."""
        for number, pic in enumerate(state["pics"]):
            self._set_chip(number, bytes(pic.get(name, 0) for name in PIC_NAMES))
        chip = state["ioapic"]
        self._set_chip(2, struct.pack("<QIIII24Q", IOAPIC, chip["ioregsel"], chip["id"], chip["irr"], 0,
                                      *chip["redirtbl"]))

    def _set_chip(self, number: int, content: bytes) -> None:
        chip = self.vm.ffi.new("uint32_t[130]", [number])
        self.vm.ffi.buffer(chip)[8:8 + len(content)] = content
        self.vm.call("KVM_SET_IRQCHIP", chip)

    def lapic(self, cpu: int = 0) -> list[int]:
        """64 registers."""
        return list(struct.unpack_from("<" + "I12x" * 64, self.vm.ffi.buffer(self.vcpus[cpu].get_lapic())))

    def put_in_service(self, vector: int) -> None:
        """Have its local APIC as it is when the CPU has taken that.  A KVM that emulates ring 0 ends a local APIC's
        interrupt as the guest takes it, which cannot be compared."""
        registers = self.lapic()
        at, bit = vector // 32, 1 << vector % 32
        assert registers[IRR + at] & bit
        registers[IRR + at] ^= bit
        registers[ISR + at] |= bit
        self.set_lapic(registers)

    def set_lapic(self, registers: list[int], cpu: int = 0) -> None:
        state = self.vcpus[cpu].get_lapic()
        self.vm.ffi.buffer(state)[:] = struct.pack("<" + "I12x" * 64, *registers)
        self.vcpus[cpu].set_lapic(state)
