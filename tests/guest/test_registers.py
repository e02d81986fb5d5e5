"""A register device under a guest: handlers that run alone, interrupts by one rule, accesses of any width,
in every offload mode."""

import shutil
import threading
from pathlib import Path

import pytest
from counter import CounterDevice

from tests.handlers import copy_example, make
from vmm.device.register_device import RegisterDevice
from vmm.devices.probe import ProbeReadDevice
from vmm.devmodel.schema import EXACT, NOTIFY, POSTED, WO, Device, reg, u32
from vmm.devmodel.view import OwnershipError
from vmm.kvm.addresses import FIRST_PIN, VIRTIO_MMIO
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD

HERE = Path(__file__).parent
BASE = VIRTIO_MMIO
REGISTERS = CounterDevice().layout.registers


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Where counter's handler is."""
    folder = copy_example(tmp_path_factory.mktemp("counter") / "device")
    for name in ("counter.py", "counter.c"):
        shutil.copy(HERE / name, folder)
    done = make(folder, "NAME=counter", "CLASS=Counter")
    assert done.returncode == 0, done.stderr
    return folder / "build"


def machine(device, mode, cmdline, cpus=1):
    config = MachineConfig(BUILD / "registers.elf", 64 << 20, cmdline=cmdline, cpus=cpus, serial="null")
    return Machine(config, ((device, mode),))


def at(name):
    return hex(BASE + REGISTERS[name].offset)


@pytest.fixture
def counter(built, monkeypatch):
    monkeypatch.setattr(CounterDevice, "handlers", built)
    return CounterDevice()


# one vCPU at a time

COUNT = 3000


def test_two_vcpus_lose_no_write(counter, mode):
    with machine(counter, mode, f"a={at('increment')} av=1 count={COUNT} cpus=2", 2) as made:
        assert made.run(120) == 0
        entry, reasons = counter.state.control.entry, counter.layout.reasons
        assert counter.page.count == counter.state.total.sum == 2 * COUNT
        assert entry.active == entry.rings == 0
        if mode != "off":
            assert entry.handled > COUNT
            assert entry.handled + entry.declined[reasons.BUSY] + entry.declined[reasons.HELD_BY_USER] == 2 * COUNT


def test_each_vcpu_sees_its_own_writes(counter, mode):
    """A vCPU reads the count after each of its increments: it has grown by one at least."""
    words = f"a={at('increment')} av=1 b={at('count')} count=500 report={at('report')}"
    with machine(counter, mode, words) as made:
        assert made.run(120) == 0
        assert counter.reported == list(range(1, 501))


def test_python_that_holds_the_device_keeps_handlers_out(counter, mode):
    """Another thread counts, too, by reading and writing what the handlers do."""
    with machine(counter, mode, f"a={at('increment')} av=1 count={COUNT}") as made:
        made.start()
        added = 0
        while made.status is None and added < COUNT:
            with counter.control, counter.control:      # whoever has it may take it again
                counter.on_write_increment(1)
            added += 1
        assert made.wait(120) == 0
        assert counter.page.count == counter.state.total.sum == COUNT + added


def test_holder_fields_are_the_holders(counter, mode):
    with machine(counter, mode, "") as made:
        if mode != "off":
            with pytest.raises(OwnershipError, match="sum belongs to the holder"):
                counter.state.total.sum = 1
        with counter.control:
            counter.state.total.sum = 2
        assert counter.state.total.sum == 2 and made.status is None


def test_python_waits_for_python(counter):
    """`with device.control` is for any thread: a second one waits for the first."""
    with machine(counter, "off", ""):
        inside, waited = threading.Event(), []

        def other():
            with counter.control:
                waited.append(inside.is_set())
        with counter.control:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(0.05)       # it would be through by now
            inside.set()
        thread.join()
    assert waited == [True]


# interrupts

@pytest.mark.parametrize("register, interrupts", [("quiet", 0), ("loud", 10), ("always", 10), ("posted", 10),
                                                  ("user", 10), ("declined", 10), ("count", 0)])
def test_interrupts(counter, mode, register, interrupts):
    words = f"a={at(register)} av=1 count=10 pin={FIRST_PIN} report={at('report')}"
    with machine(counter, mode, words) as made:
        assert made.run(120) == 0
        assert counter.reported == [interrupts]


# widths

ACCESSES = [
    ("count", 8, 5 << 32, {"count": 5}),                        # read-only, and increment
    ("increment", 2, 0x102, {"count": 0x102}),
    ("increment", 1, 7, {"count": 7}),
    ("posted", 8, 0x0000_0008_0000_0009, {"posted": 9, "user": 8}),
    ("posted", 2, 0x1234, {"posted": 0x1234}),
    ("user", 1, 0x12, {"user": 0x12}),
]


@pytest.mark.parametrize("register, width, value, becomes", ACCESSES)
def test_writes_of_any_width(counter, mode, register, width, value, becomes):
    with machine(counter, mode, f"a={at(register)} aw={width} av={value}") as made:
        assert made.run(120) == 0
        found = {name: getattr(counter.page, name) for name in ("count", "posted", "user")}
        assert found == {"count": 0, "posted": 0, "user": 0, **becomes}


class Whole(Device, id=0, version=1, widths=EXACT):
    """A posted register, a doorbell, and one of userspace's; no specification but this file."""

    posted = reg(0x00, u32, "stored", takes=POSTED)
    doorbell = reg(0x04, u32, "rings", access=WO, takes=NOTIFY)
    user = reg(0x08, u32, "userspace's")


class WholeDevice(RegisterDevice):
    schema = Whole

    def __init__(self):
        super().__init__("whole")
        self.rung = []

    def on_write_doorbell(self, value):
        self.rung.append(value)


def test_exact_device_refuses_parts_aloud_once(mode, caplog):
    device, parts = WholeDevice(), [(0, 8), (0, 1), (2, 2), (4, 2), (5, 1), (8, 2)]
    words = " ".join(f"{letter}={hex(BASE + offset)} {letter}w={width} {letter}v={2**31 - 1}"
                     for letter, (offset, width) in zip("abcdef", parts))
    with machine(device, mode, f"{words} g={hex(BASE)} gv=1 h={hex(BASE + 4)} hv=2 count=3") as made:
        assert made.run(120) == 0
        assert (device.page.posted, device.rung, device.page.user) == (1, [2, 2, 2], 0)
    assert [r.message for r in caplog.records if "widths=EXACT" in r.message] == [
        f"whole: a write of {width} bytes at {offset:#x}; wanted one of a whole register, as Whole has widths=EXACT"
        for offset, width in parts]


def test_interrupts_of_a_write_in_parts(counter, mode):
    """Two registers, each of which interrupts once it is written: the CPU may take the two as one."""
    words = f"a={at('posted')} aw=8 av=1 count=10 pin={FIRST_PIN} report={at('report')}"
    with machine(counter, mode, words) as made:
        assert made.run(120) == 0
        assert 10 <= counter.reported[0] <= 20


def test_reads_of_any_width(counter, mode):
    """Of a page that is memory, and of one whose reads all leave the guest."""
    other = BASE + 0x1000
    words = (f"a={at('count')} aw=8 av={0x04030201 << 32} b={at('count')} bw=1 c={hex(BASE + 1)} cw=1 "
             f"d={at('count')} dw=8 e={hex(other)} f={hex(other)} fw=8 g={hex(other)} gw=1 report={at('report')}")
    config = MachineConfig(BUILD / "registers.elf", 64 << 20, cmdline=words, serial="null")
    with Machine(config, ((counter, mode), (ProbeReadDevice("reads"), mode))) as made:
        assert made.run(120) == 0
    assert counter.reported == [0x01, 0x02, 0x04030201, 1, 2, 3]
