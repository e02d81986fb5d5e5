"""`on` without a guest and without /dev/kvm: the dispatcher, the handlers and the collectors are
loaded as for a guest, and run by BPF_PROG_RUN where KVM would come by its tracepoints.

A thread that writes to a BpfRunMachine is a vCPU of it, and each write goes the way that a guest's
goes in KVM (arch/x86/kvm/x86.c: emulator_write_emulated, virt/kvm/eventfd.c):

  1. the tracepoint, kvm_mmio or kvm_pio: the dispatcher runs, on this thread, and tail-calls handlers
  2. the I/O bus: an ioeventfd that claims the write is signalled; its irqfd injects an interrupt, here
  3. the tracepoint kvm_msi_set_irq: each device's collector runs before that
  4. KVM_RUN returns: for a write that nobody claimed, and for the signal that a decline has sent

Other eventfds (of rings, above all) are waited for by a thread of ours, which does steps 2 and 3 for
them.  In KVM that is whoever signals, io_uring's threads mostly, with interrupts off perhaps: whether
a handler is short enough for that only a guest can show.
"""

from __future__ import annotations

import itertools
import signal
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import RAISE, SIGNAL, UPCALL, Bus
from ..devmodel.virtqueue import RING_ASLEEP
from ..machine.config import MachineConfig
from ..machine.machine import Machine
from ..offload.bpf_backend import WATCHED
from ..sync.handoff import Declined
from .played_vm import PlayedVm

VCPUS = 4                       # threads that write to one machine
SCRATCH = 1 << 16               # bytes, enough for any device's


@dataclass
class Writer:
    """A thread as a vCPU of one machine."""

    index: int
    backend: object = None      # which knows of it
    handed_over: bool = False   # a write of its own went to the Python half


class BpfRunMachine(Machine):
    """A machine without vCPUs whose devices may be `on` nevertheless."""

    vm: PlayedVm    # type: ignore[assignment]  # it does what is asked of a Vm

    def __init__(self, config: MachineConfig, devices: tuple[tuple[RegisterDevice, str], ...] = ()):
        self._writers, self._indices = threading.local(), itertools.count()
        super().__init__(replace(config, kvm=False, cpus=VCPUS), devices)

    def _make_vm(self) -> PlayedVm:     # type: ignore[override]  # as above
        played = self.closes(PlayedVm())
        played.failed = self.running.failed
        return played

    def add_device(self, device: RegisterDevice, mode: str, base: int | None = None, bus: Bus = Bus.MMIO) -> None:
        look = device.poll_completions      # for those whose interrupt has come, and no collector with it

        def poll_completions() -> None:
            self._inject_waiting()
            look()
        device.poll_completions = poll_completions      # type: ignore[method-assign]  # of this device alone
        super().add_device(device, mode, base, bus)

    def _writer(self) -> Writer:
        """This thread's, made known to the kernel half as a vCPU's thread makes itself known."""
        if not hasattr(self._writers, "me"):
            signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL])
            self._writers.me = Writer(next(self._indices))
        writer = self._writers.me
        if self.bpf and writer.backend is not self.bpf:
            self.bpf.on_thread(writer.index)
            writer.backend = self.bpf
        return writer

    def guest_write(self, bus: Bus, address: int, width: int, value: int) -> int:
        """1 if the kernel half did all of it (whether it has interrupted is in `vm.interrupts`)."""
        return self._instruction(bus, [(address, value)], width, width)

    def string_out(self, port: int, width: int, values: list[int]) -> int:
        """What a string instruction writes: KVM traces all of it at once (kernel_pio(), arch/x86/kvm/x86.c)."""
        return self._instruction(Bus.PORT, [(port, value) for value in values], width, width)

    def wide_write(self, address: int, data: bytes) -> int:
        """What an instruction writes that is wider than 8 bytes: traced at once, and put on the bus by 8 until one is
        nobody's (vcpu_mmio_write(), in the same place)."""
        pieces = [(address + at, int.from_bytes(data[at:at + 8], "little")) for at in range(0, len(data), 8)]
        return self._instruction(Bus.MMIO, pieces, 8, len(data))

    def _instruction(self, bus: Bus, writes: list[tuple[int, int]], width: int, traced: int) -> int:
        """Writes of `width` bytes each, (address, value), that are traced as of `traced` bytes; 1 if the kernel half
        did all of them."""
        self._check_open()
        writer = self._writer()
        writer.handed_over = False
        data = b"".join(value.to_bytes(8, "little")[:width] for _, value in writes)
        self.vm.trace(bus, writes[0][0], traced, data, len(data) // traced)
        left = list(itertools.dropwhile(lambda write: self.vm.claim(bus, write[0], width), writes))
        self._take_declines(writer)
        if self.running.error:
            raise self.running.error
        done = [super(BpfRunMachine, self).guest_write(bus, address, width, value) for address, value in left]
        return 0 if writer.handed_over or not all(done) else 1

    def declined(self, vcpu: Any) -> None:      # the native build comes first, as in vcpu_enter()
        for access in self.bpf.declined(vcpu.index):
            self.called(access)

    def hand_over(self, access: Declined) -> None:
        if access.device != WATCHED and access.width not in (UPCALL, RAISE) and hasattr(self._writers, "me") and not (
                access.reason == RING_ASLEEP and self.only_tells(access)):
            self._writers.me.handed_over = True
        super().hand_over(access)

    def _take_declines(self, writer: Writer) -> None:
        """What this thread's outbox has, where KVM_RUN would have returned for its signal."""
        while signal.sigtimedwait([SIGNAL], 0):
            self.declined(writer)       # a vCPU's index is all that it looks at

    def _inject_waiting(self) -> None:
        """A collector that runs on a vCPU's thread declines into its outbox, and not by an upcall."""
        self.vm.inject_waiting()
        if hasattr(self._writers, "me"):
            self._take_declines(self._writers.me)

    def interrupts_of(self, gsi: int) -> int:
        self._inject_waiting()          # Python raises a message by its eventfd
        return self.vm.interrupts[gsi]

    def last_visit(self, device: RegisterDevice, field: str, queue: int = 0) -> int:
        """A field of `struct tally`, which tells of a queue's last visit; the handler's private memory."""
        loaded = self.bpf._objects[device.place.slot]
        fd = loaded.lib.bpf_map__fd(loaded.lib.bpf_object__find_map_by_name(loaded.handle, b"scratch"))
        element = loaded.ffi.new("char[]", SCRATCH)
        if loaded.lib.bpf_map_lookup_elem(fd, loaded.ffi.new("uint32_t *", queue), element):
            raise OSError(loaded.ffi.errno, f"{loaded.path}: scratch memory of queue {queue}")
        at, size = member(loaded.path, "tally", field)
        return int.from_bytes(loaded.ffi.buffer(element)[at:at + size], "little")


@lru_cache
def member(path: Path, struct: str, name: str) -> tuple[int, int]:
    """Offset and size of a struct's member, from an object's debug information."""
    with path.open("rb") as file:
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            for entry in unit.iter_DIEs():
                if entry.tag == "DW_TAG_structure_type" and _name(entry) == struct:
                    return _place(next(m for m in entry.iter_children()
                                       if _name(m) == name))
    raise LookupError(f"{path}: no struct {struct}; wanted debug information with it")


def _name(entry: Any) -> str:
    found = entry.attributes.get("DW_AT_name")
    return found.value.decode() if found else ""


def _place(entry: Any) -> tuple[int, int]:
    kind = entry
    while "DW_AT_byte_size" not in kind.attributes:
        kind = kind.get_DIE_from_attribute("DW_AT_type")
    return entry.attributes["DW_AT_data_member_location"].value, kind.attributes["DW_AT_byte_size"].value


def machine_without_vcpus(config: MachineConfig, devices: tuple[tuple[RegisterDevice, str], ...] = ()) -> Machine:
    """A machine for a driver in Python; one that runs BPF if a device of it asks for that.  `devices` are
    as a Machine takes them."""
    config = replace(config, kvm=False)
    modes = config.modes | {mode for _, mode in devices}
    return BpfRunMachine(config, devices) if "on" in modes else Machine(config, devices)
