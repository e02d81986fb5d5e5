"""A vCPU that is emulated, with memory and a device and without a machine: any state, any code."""

import struct
from contextlib import contextmanager

from vmm.devices.testdev import Scratch
from vmm.devmodel.exit_path import Bus
from vmm.emulated.vcpu import EmulatedVcpu
from vmm.emulated.vm import EmulatedVm
from vmm.executors.reset import reset
from vmm.executors.state import write_all
from vmm.kvm.bus import AddressSpace
from vmm.sync.region import Region

RAM_BYTES, ROM_BYTES = 2 << 20, 64 << 10
ROM, DEVICE, DEVICE_BYTES = 0xffff0000, 0xd0000000, 0x1000
CODE, STACK, GDT, IDT, TABLES, HANDLERS = 0x20000, 0x8000, 0x4000, 0x5000, 0x10000, 0x30000
GATE_BYTES = 16
HALT = b"\xfa\xf4"                      # cli; hlt
FLAT_CODE, FLAT_CODE_64, FLAT_DATA = 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff
PE, PG, PAE, LONG_MODE, PAGE_OF_1G = 1, 1 << 31, 1 << 5, 0x500, 0xe7


class _Accesses:
    def __init__(self, buses):
        self._buses = buses

    def read(self, bus, address, width):
        return self._buses[bus].read(address, width)

    def write(self, bus, address, width, value):
        self._buses[bus].write(address, width, value)

    def raise_(self, line):
        pass


class Bare:
    """vCPU 0 is at `code`, in 32- or 64-bit mode with flat segments; each vector's handler halts it."""

    def __init__(self, vm, regions, cpus):
        self.vm, self.memory, self.rom = vm, regions[0].view, regions[1].view
        buses = {bus: AddressSpace(bus) for bus in (Bus.PORT, Bus.MMIO)}
        self.device = Scratch(DEVICE_BYTES)
        buses[Bus.MMIO].add(DEVICE, DEVICE_BYTES, self.device, "device")
        vm.add_chips(buses[Bus.PORT], buses[Bus.MMIO], lambda: None)
        vm.add_memory(0, RAM_BYTES, regions[0].address)
        vm.add_memory(ROM, ROM_BYTES, regions[1].address, read_only=True)
        self.vcpus = [EmulatedVcpu(vm, i, cpus, buses[Bus.MMIO], _Accesses(buses)) for i in range(cpus)]
        self.vcpu = self.vcpus[0]
        self.state = self.vcpu.state

    def start(self, code, at=CODE, long=False, **general):
        fields = reset()
        segments = fields["segments"]
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            is_code = name == "cs"
            segments[name] |= {"base": 0, "limit": 0xffffffff, "selector": 8 if is_code else 16,
                               "access": (0xa09b if long else 0xc09b) if is_code else 0xc093}
        segments["gdt"] |= {"base": GDT, "limit": 0x7f}
        segments["idt"] |= {"base": IDT, "limit": 0xfff}
        fields["control"]["cr0"] |= PE
        if long:
            fields["control"] |= {"cr0": fields["control"]["cr0"] | PG, "cr4": PAE, "efer": LONG_MODE, "cr3": TABLES}
        fields["general"] |= {"rip": at, "rsp": STACK, **general}
        write_all(self.state, fields)
        self.memory[at:at + len(code)] = code
        self._tables(long)

    def _tables(self, long):
        struct.pack_into("<2Q", self.memory, GDT + 8, FLAT_CODE_64 if long else FLAT_CODE, FLAT_DATA)
        for vector in range(32):
            handler = HANDLERS + GATE_BYTES * vector
            gate = handler & 0xffff | 8 << 16 | 0x8e << 40 | handler >> 16 << 48
            struct.pack_into("<Q", self.memory, IDT + (16 if long else 8) * vector, gate)
            self.memory[handler:handler + len(HALT)] = HALT
        struct.pack_into("<Q", self.memory, TABLES, TABLES + 0x1007)
        struct.pack_into("<4Q", self.memory, TABLES + 0x1000, *(i << 30 | PAGE_OF_1G for i in range(4)))

    def run(self, most=50):
        """Until it halts."""
        for _ in range(most):
            if self.state.activity:
                return
            self.vcpu.advance()

    @property
    def fault(self):
        """The vector whose handler it halted in, or None."""
        vector, behind = divmod(self.state.general.rip - HANDLERS, GATE_BYTES)
        return vector if 0 <= vector < 32 and behind == len(HALT) else None


@contextmanager
def bare(cpus=1):
    vm, regions = EmulatedVm(cpus), [Region.anonymous("ram", RAM_BYTES), Region.anonymous("rom", ROM_BYTES)]
    made = Bare(vm, regions, cpus)
    try:
        yield made
    finally:
        for vcpu in made.vcpus:
            vcpu.close()
        vm.close()
        made.memory = made.rom = None
        for region in regions:
            region.close()
