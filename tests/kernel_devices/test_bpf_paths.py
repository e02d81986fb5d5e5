"""What only the BPF build has: the dispatcher, the outbox, upcalls, collectors, and records of what happens there.
Each test names the functions whose paths it runs; test_bpf_paths_named.py looks for those that none names."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

import vmm.offload.recording as recording
from tests import waiting
from tools.driver import WRITE, BlkDriver
from vmm.device.place import Routed
from vmm.devmodel.devices.blk import SECTOR, RequestType
from vmm.devmodel.exit_path import (
    COLLECT_ADDRESS,
    COLLECT_VECTOR,
    DECLINES,
    MESSAGE_OWNER_SHIFT,
    RAISE,
    REGION_SHIFT,
    SIGNAL,
    UPCALLS_BYTES,
    VCPUS,
    Action,
    Bus,
)
from vmm.devmodel.layout import PAGE
from vmm.devmodel.recording import EVENTS, EventKind
from vmm.devmodel.view import ffi
from vmm.devmodel.virtqueue import RING_ASLEEP
from vmm.kvm.addresses import IOAPIC, PIC_MASKS
from vmm.kvm.bpf import BpfUnavailable
from vmm.machine.config import DiskConfig, MachineConfig, RecordConfig
from vmm.offload.bpf_backend import IOAPIC_WINDOW
from vmm.offload.objects import route_bytes
from vmm.paths import ROOT
from vmm.sync.handoff import LostDecline
from vmm.testing.bpf_run import machine_without_vcpus
from vmm.testing.driver import Registers
from vmm.tracefile.reader import Reader
from vmm.virtqueue.uring import NEED_WAKEUP

wait_for = partial(waiting.wait_for, timeout_s=60)

pytestmark = pytest.mark.usefixtures("bpf_run")
runs = pytest.mark.bpf_paths
PORT = 0x2000
TRACE_READ, TRACE_WRITE, PIO_IN = 1, 2, 0       # arch/x86/kvm/trace.h


class Guest(Registers):
    """One vCPU, which may make several writes before KVM_RUN returns."""

    def __init__(self, machine, device):
        super().__init__(machine, device)
        self.seen, self.reasons = device.seen, device.layout.reasons
        self.entry = device.state.control.entry
        self.write("posted32", 0)   # this thread is a vCPU from now on

    def trace(self, name, value):
        """What the tracepoint does, and neither what KVM nor what userspace does after it."""
        address, width = self._place(name)
        self.machine.vm.trace(self.device.place.bus, address, width, value.to_bytes(width, "little"))

    def shown(self):
        return self.device.page.shown

    def went_up(self):
        """The outbox, read empty: (register, value, reason) each."""
        names = {register.offset: name for name, register in self.device.registers.registers.items()}
        drain_signals()
        return [(names[one.offset], one.value, one.reason) for one in self.machine.bpf.declined(0)]


def drain_signals():
    while signal.sigtimedwait([SIGNAL], 0):
        pass


@pytest.fixture
def guest_of(chime):
    """guest_of(bus): a vCPU of a machine with one device."""
    made = []

    def make(bus=Bus.MMIO, kind=chime.ChimeDevice, **config):
        device = kind("chime")
        first = ((device, "on"),) if bus is Bus.MMIO else ((chime.ChimeDevice("has the memory in maps"), "on"),)
        machine = machine_without_vcpus(MachineConfig(memory=4 << 20, serial="null", kvm=False, **config), first)
        made.append(machine)
        if bus is Bus.PORT:
            machine.add_device(device, "on", PORT, bus)
        return Guest(machine, device)
    yield make
    drain_signals()
    for machine in made:
        machine.close()


@pytest.fixture
def guest(guest_of):
    return guest_of()


@pytest.fixture
def ports(guest_of):
    return guest_of(Bus.PORT)


# the dispatcher

@runs("on_mmio", "dispatch", "device_exit", "device_written", "device_state", "device_page_at", "current_access")
def test_a_doorbell(guest):
    assert guest.write("taken", 1 << 63 | 5) == 1 and guest.shown() == 1 << 63 | 5
    assert (guest.seen, guest.entry.handled, guest.went_up()) == ([], 1, [])


@runs("on_pio", "dispatch")
def test_a_doorbell_at_a_port(ports):
    assert ports.write("port", 5) == 1 and (ports.seen, ports.entry.handled) == ([], 1)


@pytest.mark.parametrize("width", [8, 16, 32, 64])
@runs("dispatch")
def test_a_posted_register(guest, width):
    """As many bytes as it has, and none beside them."""
    name, data = f"posted{width}", bytes(range(0xf1, 0xf1 + width // 8))
    page = ffi.buffer(ffi.cast("char *", guest.device.place.page), PAGE)
    at, wanted = guest.device.registers.registers[name].offset, bytearray(page)
    wanted[at:at + len(data)] = data
    assert guest.write(name, int.from_bytes(data, "little")) == 1 and bytes(page) == wanted


@runs("dispatch")
def test_acknowledged(guest):
    assert guest.write("acknowledge", 0x0f) == 1 and guest.device.page.cause == 0xf0


@runs("on_mmio", "on_pio")
def test_reads_are_nobodys(guest, ports):
    for bell, name, arguments in ((guest, "on_mmio", lambda at, width: (TRACE_READ, width, at, 0)),
                                  (ports, "on_pio", lambda at, width: (PIO_IN, at, width, 1, 0))):
        for program in bell.machine.vm.attached:
            program.run(name, *arguments(*bell._place("port")))
        assert bell.entry.doorbells == 0 and not bell.went_up()


OTHER_PROCESS = """
import sys
from vmm.kvm._bpf import lib
fd, *given = map(int, sys.argv[1:])
sys.exit(lib.run_program(fd, given, len(given)))
"""


def run_elsewhere(program, name, *arguments):
    """Run a program on a thread of another process: another VM's, if that has one."""
    fd = program.loaded.program(name)
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, *map(str, (fd, *arguments))], pass_fds=[fd], cwd=ROOT,
                   check=True, timeout=60)


@runs("dispatch", "dispatch_wide", "this_machine")
def test_writes_of_other_processes(guest):
    """A VM of theirs may have anything at the same address."""
    (program,) = guest.machine.vm.attached
    address, width = guest._place("taken")
    for bytes_ in (width, 16):
        run_elsewhere(program, "on_mmio", TRACE_WRITE, bytes_, address, 0)
    on_a_thread(lambda: guest.trace("left", 8))     # behind what they may have said
    wait_for(lambda: guest.seen)
    assert guest.seen == [("left", 8)] and guest.entry.doorbells == 1 and guest.shown() == 0


@runs("dispatch")
def test_a_doorbell_without_a_program(guest):
    """It goes up: a tail call that finds none returns to the dispatcher."""
    slot = guest.device.place.slot.to_bytes(4, "little")
    guest.machine.bpf.maps.delete(guest.machine.bpf._programs, slot)
    guest.trace("taken", 7)
    assert guest.went_up() == [("taken", 7, 0)] and guest.shown() == 0


@runs("decline_one", "dispatch")
def test_a_string_of_doorbells(ports):
    """Each goes up, in order, and none is served before those ahead of it."""
    assert ports.machine.string_out(*ports._place("port"), [3, 1, 2]) == 0
    assert ports.seen == [("port", 3), ("port", 1), ("port", 2)] and ports.entry.doorbells == 0
    assert ports.write("port", 9) == 1


@runs("dispatch")
def test_a_string_to_a_posted_register(ports):
    assert ports.machine.string_out(*ports._place("posted32"), [3, 1, 2]) == 1 and ports.device.page.posted32 == 2


@runs("decline_one", "dispatch")
def test_a_string_of_acknowledgements(ports):
    """All of them count, not the last alone."""
    assert ports.machine.string_out(*ports._place("acknowledge"), [1, 2, 0x80]) == 0 and ports.device.page.cause == 0x7c


def eights(*values):
    return b"".join(value.to_bytes(8, "little") for value in values)


@runs("dispatch_wide", "decline_piece")
def test_a_write_of_several_registers(guest):
    """By 8 bytes, each to the Python half, in order; a posted one is in the page."""
    assert guest.machine.wide_write(guest._place("taken")[0], eights(5, 6, 7)) == 0
    assert guest.seen == [("taken", 5), ("left", 6)] and guest.device.page.after == 7
    assert guest.entry.doorbells == 0 and guest.shown() == 0


@runs("decline_piece")
def test_a_write_that_ends_in_userspace(guest):
    """KVM stops at what nobody claims, and userspace does the rest: nothing is done twice."""
    guest.machine.wide_write(guest._place("after")[0], eights(1, 2, 3, 4))
    assert guest.seen == [("ignored", 2), ("last", 3), ("user", 4)] and guest.device.page.after == 1


@runs("decline_piece")
def test_a_write_whose_end_is_narrower(guest):
    """The last piece is of as many bytes as are left: nobody takes half a register."""
    guest.trace("after", 0)
    data = eights(5, 6)[:12]
    guest.machine.vm.trace(Bus.MMIO, guest._place("taken")[0], len(data), data)
    assert guest.went_up() == [("taken", 5, 0)]


@runs("dispatch", "decline_piece")
def test_what_is_to_be_ignored(guest):
    """It is taken, alone and in a wider write, and what is beside it is served."""
    bpf, (address, width) = guest.machine.bpf, guest._place("ignored")
    bpf.maps.update(bpf._routes, *route_bytes(guest.device, Routed(address, width, Action.IGNORE, address & 0xfff)))
    guest.machine.vm.ioeventfd(Bus.MMIO, address, width, bpf._sink, True)
    assert guest.write("ignored", 1) == 1 and guest.seen == []
    assert guest.machine.wide_write(address, eights(2, 3)) == 0 and guest.seen == [("last", 3)]


@runs("declines_before", "this_vcpu")
def test_what_follows_a_decline(guest):
    """It goes up after that, in order, until userspace has seen it; then the handler serves again."""
    guest.trace("left", 1)
    guest.trace("taken", 2)
    guest.trace("posted32", 3)
    assert guest.device.page.posted32 == 0 and guest.shown() == 0
    assert guest.went_up() == [("left", 1, guest.reasons.ASKED), ("taken", 2, 0), ("posted32", 3, 0)]
    assert guest.write("taken", 4) == 1 and guest.shown() == 4


@runs("dispatch", "decline")
def test_userspace_is_told_what_is_masked(guest, monkeypatch):
    """Writes to the I/O APIC's data register, in each width, and to the 8259s' masks; KVM does them."""
    told = []
    monkeypatch.setattr(guest.machine.interrupts, "update", lambda: told.append(1))
    for width in (1, 2, 4, 8):
        guest.machine.vm.trace(Bus.MMIO, IOAPIC + IOAPIC_WINDOW, width, bytes(width))
    for port in PIC_MASKS:
        guest.machine.vm.trace(Bus.PORT, port, 1, b"\0")
    guest.write("left", 0)      # KVM_RUN returns
    assert len(told) == 4 + len(PIC_MASKS)


# a vCPU's thread, and others

@runs("register_vcpu")
def test_more_threads_than_there_is_room_for(guest):
    refused = []

    def register():
        try:
            guest.machine.bpf.on_thread(0)
        except BpfUnavailable as error:
            refused.append(str(error))
    for _ in range(VCPUS):      # and the one that writes
        thread = threading.Thread(target=register)
        thread.start()
        thread.join()
    assert refused == ["vCPU 0: no room in the map of threads"]


@runs("decline")
def test_a_decline_signals_its_own_thread(guest):
    guest.trace("left", 1)
    assert signal.sigtimedwait([SIGNAL], 0) and guest.went_up() == [("left", 1, guest.reasons.ASKED)]


@runs("decline")
def test_the_outbox_is_full(guest):
    """What finds no place is counted, and told after what found one."""
    for value in range(DECLINES + 3):
        guest.trace("left", value)
    drain_signals()
    got, left = [], guest.machine.bpf.declined(0)
    with pytest.raises(LostDecline, match="3 declined writes"):
        while True:
            got.append(next(left).value)
    assert got == list(range(DECLINES))


def on_a_thread(function):
    """On one that is no vCPU's."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@runs("decline", "this_vcpu")
def test_a_thread_that_is_no_vcpus_calls(guest):
    on_a_thread(lambda: guest.trace("left", 8))
    wait_for(lambda: guest.seen)
    assert guest.seen == [("left", 8)] and guest.went_up() == []


@runs("decline")
def test_more_calls_than_there_is_room_for(guest):
    """What finds no place is not said, and what comes later is."""
    most = UPCALLS_BYTES // 32      # a record is 24 bytes, and 8 of the ring's own
    with guest.device.lock:         # nobody answers
        on_a_thread(lambda: [guest.trace("left", value) for value in range(3 * most)])
    wait_for(lambda: len(guest.seen) >= most - 1)
    on_a_thread(lambda: guest.trace("left", 1 << 40))
    wait_for(lambda: guest.seen[-1] == ("left", 1 << 40))
    values = [value for _, value in guest.seen[:-1]]
    assert values == list(range(len(values))) and len(values) < 3 * most


@runs("raise_line", "decline", "device_exit")
def test_a_line_is_raised(guest):
    before = guest.interrupts
    guest.trace("loud", 1)
    (one,) = guest.machine.bpf.declined(0)
    drain_signals()
    assert (one.width, one.value) == (RAISE, guest.device.registers.registers["loud"].offset)
    assert guest.write("loud", 2) == 1 and guest.interrupts == before + 1 and guest.seen == []


# queues

@pytest.fixture
def disk(image, machine_of):
    """A disk's driver, in a machine without io_uring."""
    machine = machine_of(image, "on", asynchronous="off")
    return BlkDriver(machine, machine.devices[0])


@pytest.fixture
def flying(image, machine_of, ring):
    """The same, with one."""
    machine = machine_of(image, "on", asynchronous="on")
    return BlkDriver(machine, machine.devices[0])


def sector(number):
    return number.to_bytes(8, "little") * 64


@runs("serve_next_apart", "device_scratch", "image_read", "ram_at", "ram_layout", "copy")
def test_a_read(disk):
    assert disk.read(7, 2) == sector(7) + sector(8) and disk.device.state.queue[0].entry.handled == 1
    assert disk.identify() == b"disk0"


@runs("image_read")
def test_a_page_that_is_not_mapped(disk, image):
    """Declined, and read by the Python half."""
    with image.open("r+b") as file:
        subprocess.run(["fallocate", "--punch-hole", "--offset", "0", "--length", "4096", image], check=True)
        os.fsync(file.fileno())
    assert disk.read(1, 1) == bytes(SECTOR)
    assert disk.registers.declined == {} and disk_declines(disk) == {"NOT_RESIDENT": 1}


def disk_declines(disk):
    counts = disk.device.state.queue[0].entry.declined
    return {reason.name: counts[reason] for reason in disk.device.layout.reasons if counts[reason]}


@runs("image_write")
def test_a_write_without_a_ring(disk, image):
    disk.write(3, b"x" * SECTOR)
    assert image.read_bytes()[3 * SECTOR:4 * SECTOR] == b"x" * SECTOR and disk_declines(disk)


@runs("ram_at")
def test_a_buffer_in_two_elements_of_memory(image, machine_of):
    machine = machine_of(image, "on", memory=3 << REGION_SHIFT - 1, asynchronous="off")
    disk, memory = BlkDriver(machine, machine.devices[0]), machine.memory
    assert memory.element == 1 << REGION_SHIFT - 1
    for at, declines in ((memory.element + 512, {}), (2 * memory.element + 512, {}),
                         (memory.element - 256, {"STRADDLES": 1})):
        disk.request(RequestType.IN, 5, [(at, SECTOR, WRITE)])
        disk.rings[0].take()
        assert disk.memory.read(at, SECTOR) == sector(5) and disk_declines(disk) == declines


@runs("uring_enter", "uring_memory")
def test_the_thread_that_polls_sleeps(flying):
    """The request is submitted; userspace is asked to wake it."""
    uring = flying.device.queues[0].uring
    wait_for(lambda: uring._words[2][0] & NEED_WAKEUP)
    flying.write(1, bytes(SECTOR))
    assert flying.device.state.queue[0].entry.declined[RING_ASLEEP] and not flying.device.state.queue[0].user.handled


def one_back(flying, kind=RequestType.OUT, at=1):
    """A request whose completion is there, and collected by nobody yet."""
    uring = flying.device.queues[0].uring
    flying.header(kind, at)
    flying.rings[0].request([(flying.HEADER, 16, 0), (flying.DATA, SECTOR, WRITE if kind == RequestType.IN else 0),
                             (flying.STATUS, 1, WRITE)])
    flying.registers.write("queue_notify", 0)
    uring.enter()
    wait_for(lambda: uring.pending)


@runs("on_message", "device_collect", "visit_apart", "visit_packed", "complete_one_apart", "interrupt_later")
def test_a_collector_acts_for_its_own_device(flying):
    """Not on another's message, nor for another process."""
    vm, slot, ring = flying.machine.vm, flying.device.place.slot, flying.rings[0]
    with vm.held_back():
        one_back(flying)
        (program,) = vm.attached
        message = COLLECT_VECTOR | (slot + 1) << MESSAGE_OWNER_SHIFT
        run_elsewhere(program, "on_message", COLLECT_ADDRESS, message)
        vm.message(COLLECT_ADDRESS, COLLECT_VECTOR | (slot + 2) << MESSAGE_OWNER_SHIFT)
        assert ring.used_index() == 0
        vm.message(0xfee00000, message)     # the guest's
        assert ring.used_index() == 0
        vm.message(COLLECT_ADDRESS, message)
        assert ring.used_index() == 1


@pytest.mark.parametrize("vcpu", [True, False], ids=["on a vCPU's thread", "elsewhere"])
@runs("upcall", "decline")
def test_a_collector_leaves_something(flying, image, monkeypatch, vcpu):
    """A read that comes back short is userspace's."""
    calls, slot = [], flying.device.place.slot
    upcalled = flying.device.upcalled
    monkeypatch.setattr(flying.device, "upcalled", lambda *given: (calls.append((threading.get_ident(), *given)),
                                                                   upcalled(*given)))
    os.truncate(image, 0)
    with flying.machine.vm.held_back():
        one_back(flying, RequestType.IN)
        calls.clear()

        def collect():
            flying.machine.vm.message(COLLECT_ADDRESS, COLLECT_VECTOR | (slot + 1) << MESSAGE_OWNER_SHIFT)
        collect() if vcpu else on_a_thread(collect)
        if vcpu:
            flying.registers.write("queue_notify", 0)   # KVM_RUN returns
    wait_for(flying.rings[0].used_index)
    reasons = flying.device.layout.reasons
    assert (calls[0][0] == threading.get_ident(), *calls[0][1:]) == (vcpu, 0, reasons.IO_FAILED)


# what is recorded and said

@pytest.fixture
def recorded(guest_of, tmp_path, monkeypatch):
    """A guest whose events are taken when it has ended, and where they are."""
    monkeypatch.setattr(recording, "TICK_S", 1000)
    path = tmp_path / "run.rec"
    return guest_of(record=RecordConfig(path)), path


def events_of(guest, path: Path):
    guest.machine.close()
    return [(event.kind, event.register.name if event.register else "", event.value) for event in Reader(path)
            if event.half.name == "KERNEL" and event.kind not in (EventKind.VCPU, EventKind.VISIT)]


@runs("record_event", "record_write", "decline")
def test_writes_and_declines_are_recorded(recorded):
    guest, path = recorded
    guest.write("raised", 1)
    guest.write("left", 2)
    guest.machine.wide_write(guest._place("left")[0], eights(3, 4))
    assert [(kind.name, name, value) for kind, name, value in events_of(guest, path)][1:] == [
        ("WRITE", "raised", 1), ("INTERRUPT", "raised", 1), ("WRITE", "left", 2), ("DECLINE", "left", 2),
        ("WRITE", "left", 3), ("DECLINE", "left", 3), ("WRITE", "after", 4), ("DECLINE", "after", 4)]


@runs("record_event")
def test_events_that_find_no_place(recorded):
    """They are counted, and the write is served all the same."""
    guest, _ = recorded
    ring = guest.machine.recording.ring
    while ring.waiting < EVENTS - 1:
        ring.record(EventKind.READ, 0)
    before = ring.dropped
    assert guest.write("taken", 1) == 1 and guest.shown() == 1
    assert ring.waiting == EVENTS and ring.dropped > before


@runs("trace")
def test_a_handler_says_something(guest_of, caplog):
    caplog.set_level("INFO", "splitvmm.trace")
    guest = guest_of(trace=True)
    guest.write("loud", 7)
    guest.machine.close()
    assert [each.message for each in caplog.records if each.name == "splitvmm.trace"] == ["chime (kernel): loud 7"]


@runs("record_event", "complete_one_apart")
def test_a_disk_is_recorded(image, ring, tmp_path):
    path = tmp_path / "run.rec"
    config = MachineConfig(memory=4 << 20, serial="null", kvm=False, record=RecordConfig(path),
                           disks=[DiskConfig(image, offload="on", asynchronous="on")])
    with machine_without_vcpus(config) as machine:
        BlkDriver(machine, machine.devices[0]).write(1, bytes(SECTOR))
    kinds = [event.kind.name for event in Reader(path) if event.half.name == "KERNEL"]
    assert kinds.index("SUBMIT") < kinds.index("COMPLETE") and "INTERRUPT" in kinds
