"""The chips together: wiring, routes, what the CPUs are told and when."""

import random
import threading

import pytest

from tests.chips.chipsets import IOAPIC, LAPIC, Pc
from tests.scale import scaled
from vmm.chips.apic_registers import BASE_X2APIC
from vmm.chips.chipset import Chipset
from vmm.chips.clock import Clock
from vmm.chips.routing import pc_routes, routes_of
from vmm.errors import UserError
from vmm.kvm._kvm import lib
from vmm.kvm.chips import chip_routes

ICR, ICR_HIGH, EOI, LINT0 = 0x300, 0x310, 0xb0, 0x350
SELF, ALL, OTHERS = 1 << 18, 2 << 18, 3 << 18
NMI, INIT, STARTUP, ASSERT, LEVEL = 4 << 8, 5 << 8, 6 << 8, 1 << 14, 1 << 15


@pytest.fixture
def pc():
    """Two CPUs, both APICs enabled."""
    pc = Pc(2)
    pc.enable(0, 1)
    pc.cpus.take()
    return pc


def test_isa_lines_lead_to_both_kinds_of_chips(pc):
    pc.redirect(4, 0x44)
    pc.outb(0x21, 0)
    pc.chips.pulse(4)
    assert [pc.take(), pc.take(), pc.take()] == [0x44, 0x0c, None]


def test_line_0_is_the_timers_and_line_2_is_none(pc):
    pc.redirect(2, 0x40)
    pc.outb(0x21, 0)
    pc.chips.pulse(0)
    assert [pc.take(), pc.take()] == [0x40, 0x08]
    pc.apic_write(EOI, 0)
    pc.chips.pulse(2)
    pc.chips.pulse(1000)
    assert pc.take() is None


def test_the_8259s_get_through_by_lint0_alone(pc):
    pc.outb(0x21, 0)
    pc.apic_write(LINT0, 0x10700)
    pc.chips.set_level(3, True)
    assert not pc.chips.pending(0) and not pc.chips.pending(1)
    pc.cpus.take()
    pc.apic_write(LINT0, 0x700, cpu=1)
    assert pc.cpus.take() == [("wake", 1)] and not pc.chips.pending(0) and pc.take(1) == 0x0b


def test_the_first_chip_to_be_asked_is_the_local_apic(pc):
    pc.outb(0x21, 0)
    pc.chips.pulse(3)
    pc.chips.message(LAPIC, 0x20)
    assert [pc.take(), pc.take()] == [0x20, 0x0b]


def test_nothing_to_acknowledge(pc):
    assert pc.chips.acknowledge(0) is None


def test_wakes(pc):
    """The CPU whose interrupt it is, once, and not while it has one to take already."""
    pc.chips.message(LAPIC | 1 << 12, 0x44)
    assert pc.cpus.take() == [("wake", 1)]
    pc.chips.message(LAPIC | 1 << 12, 0x55)
    assert pc.cpus.take() == []
    pc.outb(0x21, 0)
    pc.cpus.take()
    pc.chips.pulse(3)
    assert pc.cpus.take() == [("wake", 0)]


def test_cpus_are_told_without_the_lock(pc):
    """They may ask at once."""
    asked = []
    pc.cpus.wake = lambda cpu: asked.append((pc.chips.pending(cpu), pc.chips.acknowledge(cpu)))
    pc.chips.message(LAPIC, 0x44)
    assert asked == [(True, 0x44)]


@pytest.mark.parametrize("shorthand, told", [(SELF, [0]), (ALL, [0, 1]), (OTHERS, [1])])
def test_shorthands(pc, shorthand, told):
    pc.apic_write(ICR, shorthand | NMI)
    assert pc.cpus.take() == [("nmi", cpu) for cpu in told]


def test_how_linux_starts_a_cpu(pc):
    """INIT, its end, two SIPIs.  INIT leaves the APIC as after reset but for its number."""
    pc.apic_write(0x80, 0x30, cpu=1)
    pc.apic_write(ICR_HIGH, 1 << 24)
    for command in (INIT | ASSERT | LEVEL, INIT | LEVEL, STARTUP | 0x9a, STARTUP | 0x9a):
        pc.apic_write(ICR, command)
    assert pc.cpus.take() == [("init", 1), ("sipi", 1, 0x9a), ("sipi", 1, 0x9a)]
    assert pc.apic_read(0x80, 1) == 0 and pc.apic_read(0x20, 1) == 1 << 24 and pc.apic_read(0xf0, 1) == 0xff


def test_init_of_an_x2apic_keeps_its_mode_and_number(pc):
    apic = pc.chips.apic(1)
    apic.set_base(apic.base | BASE_X2APIC)
    pc.apic_write(ICR, OTHERS | INIT | ASSERT)
    assert apic.base & BASE_X2APIC and apic.read_msr(0x802) == 1 and apic.read_msr(0x80d) == 2


def test_messages_to_x2apics(pc):
    """What comes from a device means all by 0xff."""
    for cpu in (0, 1):
        apic = pc.chips.apic(cpu)
        apic.set_base(apic.base | BASE_X2APIC)
    pc.chips.message(LAPIC | 0xff << 12, 0x44)
    assert [pc.take(0), pc.take(1)] == [0x44, 0x44]
    pc.chips.apic(0).write_msr(0x830, 0xff << 32 | 0x55)
    assert not pc.chips.pending(0) and not pc.chips.pending(1)
    pc.chips.apic(0).write_msr(0x830, 0xffffffff << 32 | 0x55)
    assert [pc.take(0), pc.take(1)] == [0x55, 0x55]


def test_the_redirection_hint(pc):
    """One of those that are meant gets it."""
    for cpu in (0, 1):
        pc.apic_write(0xd0, 1 << 24 + cpu, cpu)
    pc.chips.message(LAPIC | 3 << 12 | 1 << 3 | 1 << 2, 0x41)
    assert [pc.take(0), pc.take(1)] == [None, 0x41]


def test_ticks_as_a_watchdogs_nmi(pc):
    """LINT0 as an NMI: each tick of the timer, and no other interrupt of the 8259s'."""
    pc.apic_write(LINT0, NMI, cpu=1)
    pc.outb(0x43, 0x34)
    pc.outb(0x40, 0, 0)
    pc.passes(60_000_000)
    assert [told for told in pc.cpus.take() if told != "earlier"] == [("nmi", 1)]
    pc.chips.pulse(4)
    assert pc.cpus.take() == []


def test_time_that_nobody_wants(pc):
    assert pc.chips.next_ns() is None
    pc.chips.tick()


def test_who_sleeps_until_a_tick_hears_of_an_earlier_one(pc):
    pc.apic_write(0x320, 0x41)
    pc.apic_write(0x380, 2000)
    assert pc.cpus.take() == ["earlier"]
    pc.apic_write(0x380, 3000)
    pc.apic_write(0x380, 0)
    assert pc.cpus.take() == []
    pc.outb(0x43, 0x30)
    pc.outb(0x40, 1, 0)
    assert pc.cpus.take() == ["earlier"]


def test_all_timers(pc):
    """The earliest is when the next tick is due."""
    pc.apic_write(0x3e0, 0xb)
    pc.apic_write(0x3e0, 0xb, cpu=1)
    pc.apic_write(0x320, 0x41)
    pc.apic_write(0x320, 0x42, cpu=1)
    pc.apic_write(0x380, 2000)
    pc.apic_write(0x380, 1000, cpu=1)
    assert pc.chips.next_ns() == pc.clock.now_ns + 1000
    pc.clock.now_ns += 5000
    pc.chips.tick()
    assert [pc.take(0), pc.take(1)] == [0x41, 0x42] and pc.chips.next_ns() is None


# routes

def pin(gsi, chip, number):
    return {"gsi": gsi, "type": 1, "irqchip": chip, "pin": number}


def message(gsi, low, data):
    return {"gsi": gsi, "type": 2, "address_lo": low, "address_hi": 0, "data": data}


def test_routes(pc):
    """All are replaced; a GSI may lead to several, and be a message, whose upper half of data means nothing."""
    pc.outb(0x21, 0)
    pc.outb(0xa1, 0)
    pc.redirect(7, 0x47)
    pc.chips.set_routing([pin(40, 2, 7), pin(40, 1, 1), message(41, LAPIC | 1 << 12, 0x1234 << 16 | 0x66)])
    pc.chips.pulse(40)
    assert [pc.take(), pc.take()] == [0x47, 0x71]
    pc.chips.set_level(41, True)
    pc.chips.set_level(41, False)
    assert pc.take(1) == 0x66 and pc.take(1) is None
    pc.apic_write(EOI, 0)
    pc.chips.pulse(7)
    assert pc.take() is None


def test_the_machines_own_routes_are_those_from_the_start():
    assert routes_of(chip_routes(lib, ())) == pc_routes()


@pytest.mark.parametrize("entry, said", [
    (pin(5, 2, 24), "route of GSI 5: pin 24 of chip 2; wanted one of 8 of chip 0, 8 of chip 1, 24 of chip 2"),
    (pin(5, 3, 0), "route of GSI 5: pin 0 of chip 3; wanted"), (pin(5, 0, -1), "pin -1 of chip 0"),
    ({"gsi": 6, "type": 4}, "route of GSI 6: type 4; wanted 1 .a chip's pin. or 2 .a message.")])
def test_routes_that_lead_nowhere(pc, entry, said):
    with pytest.raises(UserError, match=said):
        pc.chips.set_routing([entry])


# threads

class Sleepers:
    """CPUs that sleep until they are woken."""

    def __init__(self, count):
        self.woken = [threading.Event() for _ in range(count)]

    def wake(self, cpu):
        self.woken[cpu].set()

    def nmi(self, cpu):
        raise AssertionError("there is none")

    init = sipi = nmi

    def earlier(self):
        """No timer runs."""


def test_no_interrupt_is_lost_among_threads():
    """Devices pulse level-triggered lines until each was served; CPUs sleep when there is nothing to take."""
    cpus, rounds, lines = 2, scaled(300), (5, 6, 16)
    sleepers = Sleepers(cpus)
    chips = Chipset(cpus, Clock(), sleepers)
    served = {line: threading.Semaphore(0) for line in lines}
    ended = threading.Event()
    set_up(chips, cpus, lines)

    def cpu_thread(cpu):
        apic = chips.apic(cpu)
        while not ended.is_set():
            if not sleepers.woken[cpu].wait(0.2):
                continue
            sleepers.woken[cpu].clear()
            while chips.pending(cpu):
                vector = chips.acknowledge(cpu)
                chips.set_level(vector - 0x40, False)
                apic.write(EOI, 4, 0)
                served[vector - 0x40].release()

    def device_thread(line):
        rng = random.Random(line)
        for _ in range(rounds):
            chips.set_level(line, True)
            assert served[line].acquire(timeout=20), f"line {line} is served no more"
            if rng.random() < 0.2:
                chips.set_level(line, False)

    run_all([threading.Thread(target=cpu_thread, args=(cpu,)) for cpu in range(cpus)],
            [threading.Thread(target=device_thread, args=(line,)) for line in lines], ended)
    assert not any(chips.pending(cpu) for cpu in range(cpus))


def set_up(chips, cpus, lines):
    for cpu in range(cpus):
        chips.apic(cpu).write(0xf0, 4, 0x1ff)
    for at, line in enumerate(lines):
        entry = 0x40 + line | LEVEL | (at % cpus) << 56
        for half in (1, 0):
            chips.ioapic.write(0, 4, 0x10 + 2 * line + half)
            chips.ioapic.write(0x10, 4, entry >> 32 * half & 0xffffffff)


def run_all(cpus, devices, ended):
    for thread in cpus + devices:
        thread.start()
    for thread in devices:
        thread.join()
    ended.set()
    for thread in cpus:
        thread.join()


def test_what_is_where(pc):
    """All ports, and the I/O APIC's registers."""
    for port in (0x20, 0x21, 0x40, 0x43, 0x61, 0xa0, 0xa1, 0x4d0, 0x4d1):
        assert pc.ports.find(port, 1)[0] is not None
    assert pc.memory.find(IOAPIC, 4)[0] is not None and pc.memory.find(LAPIC, 4)[0] is None
