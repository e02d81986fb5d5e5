"""/dev/kvm: a VM, its memory slots, interrupts and vCPUs.  Numbers and structs are the
system headers' own (cffi, API mode); facts from Documentation/virt/kvm/api.rst."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..devmodel.exit_path import SIGNAL, Bus
from ..errors import UserError
from . import cpuid
from .addresses import KVM_TSS
from .host_path import HostPath
from .slots import Slot, WithSlots

if TYPE_CHECKING:
    from .coalesced import CoalescedRing

CREATE_TRIES = 100
MISC_ENABLE, FAST_STRINGS = 0x1a0, 1                        # SDM volume 4
ALL_MASKED = 0xffff                                         # interrupts of both 8259s
MTRR_DEFAULT_TYPE, MTRR_ENABLED, MTRR_WRITE_BACK = 0x2ff, 1 << 11, 6


class KvmError(UserError):
    """KVM is missing, forbidden or refuses; says what to do."""


def binding():
    """cffi's, of vmm/native/kvm_run.c and serial.c.  Raises KvmError."""
    try:
        from . import _kvm
    except ImportError as error:
        raise KvmError(f"vmm/kvm/_kvm: {error}; wanted `make setup` to have built it") from None
    return _kvm.ffi, _kvm.lib


class NoKvm(KvmError):
    """None that could run any guest."""


NEEDED = {
    "KVM_CAP_USER_MEMORY": "guest memory",
    "KVM_CAP_IRQCHIP": "an in-kernel interrupt controller",
    "KVM_CAP_IRQ_ROUTING": "interrupt routing",
    "KVM_CAP_IOEVENTFD": "doorbells that stay in the kernel",
    "KVM_CAP_IRQFD": "interrupts from file descriptors",
    "KVM_CAP_READONLY_MEM": "register pages that the guest reads without an exit",
    "KVM_CAP_EXT_CPUID": "CPUID",
}


def open_kvm(path: str = "/dev/kvm") -> int:
    """A descriptor of /dev/kvm.  Raises KvmError that says what to do."""
    _ffi, lib = binding()
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoKvm(f"{path}: not there; load kvm_intel or kvm_amd, and enable virtualization in "
                    "the firmware") from None
    except PermissionError:
        raise NoKvm(f"{path}: permission denied; join the group that owns it "
                    "(often `kvm`), or be root") from None
    except OSError as error:
        raise NoKvm(f"{path}: {error.strerror}; wanted a host with working KVM") from None
    version = lib.kvm_call_value(fd, lib.KVM_GET_API_VERSION, 0)
    if version != lib.KVM_API_VERSION:
        os.close(fd)
        raise NoKvm(f"{path}: API version {version}; wanted {lib.KVM_API_VERSION}")
    return fd


class Vm(WithSlots):
    """One virtual machine with the in-kernel irqchip.  Raises KvmError throughout."""

    writable_flags = 0      # KVM_MEM_, of slots that a guest may write

    def __init__(self):
        super().__init__()
        self.ffi, self.lib = binding()
        with ExitStack() as made:
            self._make(made)
            made.pop_all()

    def _make(self, made: ExitStack) -> None:
        """`made` has what is closed if the rest fails."""
        self.kvm_fd = open_kvm()
        made.callback(os.close, self.kvm_fd)
        for name, use in NEEDED.items():
            if self.capability(name) <= 0:
                raise NoKvm(f"/dev/kvm: no {name}; wanted it for {use}: a newer kernel has it")
        self.fd = self._check(self._create(), "creating a VM")
        made.callback(os.close, self.fd)
        # a driver that has a BAR moved would have all RAM entered anew, page by page
        self._check(self.lib.keep_other_slots(self.fd), "keeping memory slots apart")
        self.call("KVM_SET_TSS_ADDR", KVM_TSS)
        self._make_chips()
        self.run_bytes = self._check(
            self.lib.kvm_call_value(self.kvm_fd, self.lib.KVM_GET_VCPU_MMAP_SIZE, 0), "sizing kvm_run")

    def _make_chips(self) -> None:
        self.call("KVM_CREATE_IRQCHIP", 0)
        self.leave_pics(ALL_MASKED)
        if self.capability("KVM_CAP_PIT2") > 0:
            self.call("KVM_CREATE_PIT2", self.ffi.new("struct kvm_pit_config *", {
                "flags": self.lib.KVM_PIT_SPEAKER_DUMMY}))

    def _create(self) -> int:
        """A VM's descriptor, or -errno.  What an io_uring of this process has yet to clean up looks like
        a signal to KVM, which gives up then (mm_take_all_locks, mm/mmap.c)."""
        for _ in range(CREATE_TRIES):
            result = self.lib.kvm_call_value(self.kvm_fd, self.lib.KVM_CREATE_VM, 0)
            if result != -errno.EINTR:
                break
        return result

    def capability(self, name: str) -> int:
        return self.lib.kvm_call_value(self.kvm_fd, self.lib.KVM_CHECK_EXTENSION,
                                       getattr(self.lib, name))

    def supported_cpuid(self) -> Iterator:
        """What CPUID may say in a guest: entries as KVM has them, each until the next one."""
        found = self.ffi.new("struct cpuid_list *", {"nent": 256})
        self.call("KVM_GET_SUPPORTED_CPUID", found, self.kvm_fd)
        for i in range(found.nent):
            yield found.entries[i]

    def _check(self, result: int, doing: str) -> int:
        if result < 0:
            raise KvmError(f"KVM, {doing}: {os.strerror(-result)}")
        return result

    def call(self, request: str, argument=0, fd: int | None = None) -> int:
        """An ioctl by its name, with a number or a struct."""
        number, fd = getattr(self.lib, request), self.fd if fd is None else fd
        result = self.lib.kvm_call_value(fd, number, argument) if isinstance(argument, int) else \
            self.lib.kvm_call(fd, number, argument)
        return self._check(result, request)

    def _place(self, number: int, slot: Slot | None) -> None:
        gpa, size, address, read_only = slot or Slot(0, 0, 0, False)
        self.call("KVM_SET_USER_MEMORY_REGION", self.ffi.new("struct kvm_userspace_memory_region *", {
            "slot": number, "flags": self.lib.KVM_MEM_READONLY if read_only else self.writable_flags,
            "guest_phys_addr": gpa, "memory_size": size, "userspace_addr": address}))

    def ioeventfd(self, bus: Bus, address: int, width: int, fd: int, on: bool) -> None:
        """Claim (or no longer) writes of exactly this place and width."""
        flags = (self.lib.KVM_IOEVENTFD_FLAG_PIO if bus == Bus.PORT else 0) | \
                (0 if on else self.lib.KVM_IOEVENTFD_FLAG_DEASSIGN)
        self.call("KVM_IOEVENTFD", self.ffi.new("struct kvm_ioeventfd *", {
            "addr": address, "len": width, "fd": fd, "flags": flags}))

    def irqfd(self, fd: int, gsi: int, on: bool) -> None:
        """Raise (or no longer) `gsi` whenever the eventfd is written."""
        self.call("KVM_IRQFD", self.ffi.new("struct kvm_irqfd *", {
            "fd": fd, "gsi": gsi, "flags": 0 if on else self.lib.KVM_IRQFD_FLAG_DEASSIGN}))

    def set_routing(self, entries: list[dict]) -> None:
        """Replace the table of interrupt routes."""
        table = self.ffi.new("struct routing_entry[]", entries)
        self._check(self.lib.set_routing(self.fd, table, len(entries)), "setting interrupt routes")

    def ioapic_pins(self) -> list[int]:
        """The I/O APIC's redirection table, one 64-bit entry for each pin."""
        pins = self.ffi.new("uint64_t[]", self.lib.KVM_IOAPIC_NUM_PINS)
        self._check(self.lib.ioapic_pins(self.fd, pins), "reading the I/O APIC")
        return list(pins)

    def pic_masks(self) -> tuple[int, int]:
        """The 8259s' interrupt mask registers: of interrupts 0 to 7, and 8 to 15."""
        masks = self.ffi.new("uint8_t[2]")
        self._check(self.lib.pic_masks(self.fd, masks), "reading the 8259s")
        return masks[0], masks[1]

    def leave_pics(self, masks: int) -> None:
        """Set up the 8259s as firmware does; bit n of `masks` masks interrupt n."""
        self._check(self.lib.leave_pics(self.fd, masks), "setting up the 8259s")

    def host_path(self) -> HostPath:
        """What the host's exits come to first.  Raises BpfUnavailable."""
        return HostPath()

    def pulse(self, gsi: int) -> None:
        """One edge on an interrupt line."""
        self._check(self.lib.pulse_line(self.fd, gsi), f"raising interrupt {gsi}")

    def set_level(self, gsi: int, high: bool) -> None:
        """Keep an interrupt line high or low."""
        self.call("KVM_IRQ_LINE", self.ffi.new("struct kvm_irq_level *", {"irq": gsi, "level": int(high)}))

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.kvm_fd)


def described(vcpu: Any) -> str:
    """A vCPU's registers, whoever runs it, for an error."""
    regs, sregs = vcpu.get_regs(), vcpu.get_sregs()
    names = "rip rflags rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15".split()
    words = [f"{name} {getattr(regs, name):#x}" for name in names]
    words += [f"{name} {getattr(sregs, name):#x}" for name in "cr0 cr2 cr3 cr4 efer".split()]
    words += [f"cs {sregs.cs.selector:#x} base {sregs.cs.base:#x}"]
    lines = ["  " + "  ".join(words[i:i + 6]) for i in range(0, len(words), 6)]
    return "\n".join([f"vCPU {vcpu.index}:", *lines])


class Vcpu:
    """One vCPU of `cpus`: its registers, and the loop struct that vcpu_enter() runs on."""

    def __init__(self, vm: Vm, index: int, cpus: int):
        self.vm, self.index, self.ffi, self.lib = vm, index, vm.ffi, vm.lib
        self.coalesced: CoalescedRing | None = None     # what is in it comes before what ended KVM_RUN
        with ExitStack() as made:
            self._make(made, cpus)
            made.pop_all()

    def _make(self, made: ExitStack, cpus: int) -> None:
        """`made` has what is closed if the rest fails."""
        vm, index = self.vm, self.index
        self.fd = vm.call("KVM_CREATE_VCPU", index)
        made.callback(os.close, self.fd)
        self.kvm_run = self.lib.map_run(self.fd, vm.run_bytes)
        if not self.kvm_run:
            raise KvmError(f"vCPU {index}: mapping kvm_run: {os.strerror(self.ffi.errno)}")
        made.callback(self.lib.unmap_run, self.kvm_run, vm.run_bytes)
        self.loop = self.ffi.new("struct vcpu_loop *", {
            "vcpu_fd": self.fd, "vm_fd": vm.fd, "signal": SIGNAL, "run": self.kvm_run})
        self._set_cpuid(cpus)
        self._set_msrs()

    def follow(self, declines, read, all_read: int, ring: int) -> None:
        """What the kernel half declined is dealt with before an exit that came with it: pointers to how many writes it
        declined, and how many of them were read; addresses of how many of all vCPUs' were, and of where they are."""
        loop, cast = self.loop, self.ffi.cast
        loop.declines, loop.declines_read = cast("uint32_t *", declines), cast("uint32_t *", read)
        loop.all_read, loop.outbox = cast("uint32_t *", all_read), cast("void *", ring)

    def run_after(self, function: int, data: int) -> None:
        """Have a function of C's (vcpu_loop.after) called after each exit with an access that was answered; 0 for
        none."""
        self.kvm_run.kvm_valid_regs = self.lib.KVM_SYNC_X86_REGS if function else 0
        self.loop.after = self.ffi.cast("int (*)(struct vcpu_loop *, void *)", function)
        self.loop.after_data = self.ffi.cast("void *", data)

    def _set_cpuid(self, cpus: int) -> None:
        tsc_deadline = self.vm.capability("KVM_CAP_TSC_DEADLINE_TIMER") > 0
        entries = cpuid.adapt(self.vm.supported_cpuid(), self.index, cpus, tsc_deadline)
        self.vm.call("KVM_SET_CPUID2", self.ffi.new("struct cpuid_list *", {
            "nent": len(entries), "entries": entries}), self.fd)

    def _set_msrs(self) -> None:
        """As firmware leaves them: fast string instructions, memory cached unless a range says
        otherwise."""
        values = {MISC_ENABLE: FAST_STRINGS, MTRR_DEFAULT_TYPE: MTRR_ENABLED | MTRR_WRITE_BACK}
        for index, data in values.items():      # one by one: a host may lack either
            self.lib.kvm_call(self.fd, self.lib.KVM_SET_MSRS, self.ffi.new("struct msr_list *", {
                "nmsrs": 1, "entries": [{"index": index, "data": data}]}))

    def get_regs(self):
        regs = self.ffi.new("struct kvm_regs *")
        self.vm.call("KVM_GET_REGS", regs, self.fd)
        return regs

    def set_regs(self, **values: int) -> None:
        self.vm.call("KVM_SET_REGS", self.ffi.new("struct kvm_regs *", {"rflags": 2, **values}), self.fd)

    def get_sregs(self):
        sregs = self.ffi.new("struct kvm_sregs *")
        self.vm.call("KVM_GET_SREGS", sregs, self.fd)
        return sregs

    def set_sregs(self, sregs) -> None:
        self.vm.call("KVM_SET_SREGS", sregs, self.fd)

    def get_lapic(self):
        """The local APIC's registers, each at its offset in the APIC's page."""
        state = self.ffi.new("struct kvm_lapic_state *")
        self.vm.call("KVM_GET_LAPIC", state, self.fd)
        return state

    def set_lapic(self, state) -> None:
        self.vm.call("KVM_SET_LAPIC", state, self.fd)

    def enter(self) -> int:
        """Run the guest until Python is needed: an exit reason, or -errno.EINTR."""
        result = self.lib.vcpu_enter(self.loop)
        if result < 0 and result != -errno.EINTR:
            raise KvmError(f"vCPU {self.index}: KVM_RUN: {os.strerror(-result)}\n{self.describe()}")
        return result

    def describe(self) -> str:
        return described(self)

    def close(self) -> None:
        self.lib.unmap_run(self.kvm_run, self.vm.run_bytes)
        os.close(self.fd)
