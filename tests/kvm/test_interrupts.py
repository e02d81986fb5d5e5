"""A claimed pin's irqfd and route follow the I/O APIC; KVM is played by a recorder."""

import os

import pytest

from vmm.devmodel.exit_path import COLLECT_ADDRESS, COLLECT_VECTOR, MESSAGE_OWNER_SHIFT
from vmm.errors import UserError
from vmm.kvm.addresses import PIT_PIN
from vmm.kvm.interrupts import Interrupts
from vmm.kvm.messages import LEVEL, MASKED, msi_of

MSI, CHIP = "msi", "chip"
MASTER, SLAVE, IOAPIC = 0, 1, 2


class FakeVm:
    """Keeps the routing table and the irqfds, and refuses what KVM would."""

    class lib:
        KVM_IRQ_ROUTING_MSI, KVM_IRQ_ROUTING_IRQCHIP = MSI, CHIP
        KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC = MASTER, SLAVE, IOAPIC
        KVM_IOAPIC_NUM_PINS = 24

    def __init__(self):
        self.pins, self.masks = [MASKED] * 24, (0xff, 0xff)
        self.routes, self.irqfds, self.pulses = {}, {}, []

    def ioapic_pins(self):
        return list(self.pins)

    def pic_masks(self):
        return self.masks

    def set_routing(self, entries):
        """An MSI is its GSI's only route; chips may share one (setup_routing_entry, virt/kvm/irqchip.c)."""
        self.routes = {e["gsi"]: (e["type"], e.get("address_lo"), e.get("data")) for e in entries}
        self.pin_of = {(e["gsi"], e["irqchip"]): e["pin"] for e in entries if e["type"] == CHIP}
        messages = [e["gsi"] for e in entries if e["type"] == MSI]
        assert len(messages) + len(self.pin_of) == len(entries)
        assert not {gsi for gsi, _ in self.pin_of} & set(messages) and len(set(messages)) == len(messages)

    def irqfd(self, fd, gsi, on):
        assert on != ((fd, gsi) in self.irqfds)
        self.irqfds.pop((fd, gsi), None)
        if on:
            self.irqfds[fd, gsi] = True

    def pulse(self, gsi):
        self.pulses.append(gsi)

    def wired(self, pin):
        return any(gsi == pin for _, gsi in self.irqfds)


@pytest.fixture
def vm():
    return FakeVm()


@pytest.fixture
def interrupts(vm):
    made = Interrupts(vm)
    yield made
    made.close()
    assert not vm.irqfds and all(vm.routes[pin][0] == CHIP for pin in range(24) if pin != PIT_PIN)


@pytest.fixture
def pin5(interrupts):
    line = interrupts.pin_line()
    line.claim()
    return line


def test_timer_is_on_its_pin(vm, interrupts):
    """A PC's interrupt 0, which is what KVM's timer raises, is on pin 2."""
    assert vm.pin_of[0, IOAPIC] == PIT_PIN and vm.pin_of[0, MASTER] == 0
    assert not [gsi for gsi, _ in vm.pin_of if gsi == PIT_PIN]


def test_a_pcs_interrupts_reach_the_8259s(vm, interrupts):
    """The second one's come by the first one's pin 2."""
    assert {gsi: pin for (gsi, chip), pin in vm.pin_of.items() if chip == MASTER} == {i: i for i in range(8) if i != 2}
    assert {gsi: pin for (gsi, chip), pin in vm.pin_of.items() if chip == SLAVE} == {8 + i: i for i in range(8)}


@pytest.mark.parametrize("masks, pins", [((0xdf, 0xff), [5]), ((0xff, 0xfd), []), ((0xfb, 0xfd), [9]),
                                         ((0, 0), [5, 9]), ((0xff, 0xff), [])])
def test_unmasked_in_an_8259(vm, interrupts, masks, pins):
    """The chip does it; pin 16 leads to neither 8259."""
    lines = [interrupts.pin_line(pin) for pin in (5, 9, 16)]
    for line in lines:
        line.claim()
    vm.masks = masks
    interrupts.update()
    for line in lines:
        wired = [fd for fd, gsi in vm.irqfds if gsi == line.gsi]
        assert line.gsi not in vm.routes or vm.routes[line.gsi][0] == CHIP
        assert wired == [line.doorbell] * (line.gsi in pins)
    vm.pins[5] = 0x40       # the I/O APIC's is the faster way
    interrupts.update()
    assert vm.routes[5] == (MSI, 0xfee00000, 0x40)


def test_masked_has_no_irqfd(vm, pin5):
    assert not vm.wired(5) and vm.routes[5][0] == CHIP


def test_completions_come_whatever_becomes_of_the_line(vm, interrupts, pin5):
    """The guest may be polling: KVM injects them into nowhere, where they are collected."""
    fd = interrupts.collector(2, 3)
    (gsi,) = (gsi for each, gsi in vm.irqfds if each == fd)
    for entry in (MASKED, 0x40):
        vm.pins[5] = entry
        interrupts.update()
        assert vm.routes[gsi] == (MSI, COLLECT_ADDRESS, COLLECT_VECTOR + 3 | 3 << MESSAGE_OWNER_SHIFT)
    vm.irqfd(fd, gsi, False)
    os.close(fd)


def test_a_guest_cannot_have_another_one_collected(vm, interrupts):
    """Bits that no CPU looks at say whose completions are meant; whatever the guest has there is gone."""
    line = interrupts.message_line()
    line.aim((0xfee01000, 0, 0xabcd0041))
    interrupts.update()
    assert vm.routes[line.gsi] == (MSI, 0xfee01000, 0x41)
    fd = interrupts.collector(4, 0)
    gsi = next(gsi for at, gsi in vm.irqfds if at == fd)
    assert vm.routes[gsi] == (MSI, COLLECT_ADDRESS, COLLECT_VECTOR | 5 << MESSAGE_OWNER_SHIFT)
    vm.irqfd(fd, gsi, False)
    os.close(fd)


def test_follows_the_redirection_entry(vm, interrupts, pin5):
    steps = [(0x40, (MSI, 0xfee00000, 0x40), True), (0x41 | 1 << 56, (MSI, 0xfee01000, 0x41), True),
             (0x41 | MASKED, (CHIP, None, None), False), (0x42 | LEVEL, (CHIP, None, None), True),
             (0x42, (MSI, 0xfee00000, 0x42), True)]
    for entry, route, wired in steps:
        vm.pins[5] = entry
        interrupts.update()
        assert vm.routes[5] == route and vm.wired(5) == wired


def test_released_goes_back_to_the_chip(vm, interrupts, pin5):
    """Else a later pulse would go where the pin pointed once."""
    vm.pins[5] = vm.pins[6] = 0x40
    interrupts.pin_line().claim()
    pin5.release()
    assert vm.routes[5][0] == CHIP and not vm.wired(5)
    assert vm.routes[6][0] == MSI and vm.wired(6)


def test_other_pins_stay_with_the_chip(vm, interrupts, pin5):
    vm.pins[7] = 0x40
    interrupts.update()
    assert vm.routes[7][0] == CHIP


def test_lines_are_given_out_once(interrupts):
    pins = [interrupts.pin_line().gsi for _ in range(19)]
    assert pins == list(range(5, 24))
    with pytest.raises(UserError, match="at most 19, and transport=pci for more"):
        interrupts.pin_line()


# Messages

MESSAGE = (0xfee02000, 0, 0x51)


def test_message_waits_while_masked(vm, interrupts):
    """Its eventfd keeps what it was told; KVM looks at it when the irqfd is made."""
    line = interrupts.message_line()
    interrupts.update()
    assert not vm.irqfds and not line.pending
    line.pulse()
    assert line.pending
    line.aim(MESSAGE)
    interrupts.update()
    assert vm.routes[line.gsi] == (MSI, MESSAGE[0], MESSAGE[2]) and list(vm.irqfds) == [(line.doorbell, line.gsi)]


def test_message_forgotten(interrupts):
    line = interrupts.message_line()
    line.pulse()
    line.forget()
    assert not line.pending


@pytest.mark.parametrize("entry, msi", [
    (0x40, (0xfee00000, 0, 0x40)),
    (0x41 | 3 << 56, (0xfee03000, 0, 0x41)),
    (0x42 | 1 << 11 | 1 << 8 | 1 << 56, (0xfee0100c, 0, 0x142)),
    (0x40 | MASKED, None), (0x40 | LEVEL, None), (0x400, None),
])
def test_redirection_entry_as_msi(entry, msi):
    assert msi_of(entry) == msi
