"""The dispatcher itself: posted registers, declined writes in order, string instructions."""

import pytest

from vmm.devices.probe import ProbeDevice
from vmm.devmodel.exit_path import Bus
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD

REGISTERS = ProbeDevice("").layout.registers


class Witness(ProbeDevice):
    """Notes every write that reaches the Python half."""

    def __init__(self, name):
        super().__init__(name)
        self.seen = []
        for register in ("handled", "declined", "user", "claimed"):
            setattr(self, f"on_write_{register}", lambda value, register=register: self.seen.append(
                (register, value)))


def machine(guest, device, mode, bus=Bus.MMIO, base=0xd0000000, cmdline=""):
    made = Machine(MachineConfig(BUILD / guest, 64 << 20, cmdline=cmdline, serial="null"),
                   ((Witness("keeps the memory in maps"), mode),) if bus is Bus.PORT else ())
    made.add_device(device, mode, base, bus)
    return made


def test_posted_registers(mode):
    """Four posted writes and one for userspace, which finds all of them in the page."""
    device, found = Witness("probe"), []
    device.on_write_user = lambda value: found.append(
        (value, *(getattr(device.page, f"posted{i}") for i in range(4))))
    words = [f"write{i}={0xd0000000 + REGISTERS[name].offset:#x}"
             for i, name in enumerate(("posted0", "posted1", "posted2", "posted3", "user"))]
    with Machine(MachineConfig(BUILD / "exits.elf", 64 << 20, cmdline=" ".join(["count=100", *words]),
                               serial="null"), ((device, mode),)) as made:
        assert made.run(60) == 0
        accesses = made.threads[0].exits
    assert found == [(5, left, 2, 3, 4) for left in range(100, 0, -1)]
    assert (accesses < 300) == (mode != "off")      # 5 a round, or 1 and the serial port's


@pytest.mark.bpf_paths("on_mmio", "decline")
def test_declined_writes_reach_userspace_each_once(mode):
    device = Witness("probe")
    with Machine(MachineConfig(BUILD / "exits.elf", 64 << 20, serial="null",
                               cmdline=f"count=500 write0={0xd0000000 + REGISTERS['declined'].offset:#x}"),
                 ((device, mode),)) as made:
        assert made.run(60) == 0
        entry = device.state.control.entry
        assert device.seen == [("declined", 1)] * 500
        assert entry.declined[device.layout.reasons.ASKED] == (0 if mode == "off" else 500)


@pytest.mark.bpf_paths("on_pio", "decline_one")
@pytest.mark.parametrize("port_mode", ["off", "host", "on"])
def test_string_instruction(request, kvm, port_mode):
    """One instruction, five writes: all of them, in order, and what follows after them."""
    if port_mode == "on":
        request.getfixturevalue("bpf")
    device = Witness("probe")
    with machine("string_out.elf", device, port_mode, Bus.PORT, 0x2000) as made:
        assert made.run(60) == 0
        assert device.page.posted0 == 7
    declined = [("declined", v) for v in range(11, 16)]
    assert device.seen[:5] == declined
    assert device.seen[5:] in ([("handled", v) for v in range(11, 16)], [])


def test_one_process_is_one_vm(kvm, bpf):
    """The exit path knows a VM by its process, so a second one is refused, either way round."""
    from vmm.errors import UserError

    def config():
        return MachineConfig(memory=1 << 20, serial="null")
    with Machine(config(), ((Witness("first"), "on"),)), pytest.raises(UserError, match="a process for each"):
        Machine(config())
    with Machine(config()), pytest.raises(UserError, match="a process for each"):
        Machine(config(), ((Witness("second"), "on"),))
    with Machine(config()), Machine(config(), ((Witness("host"), "host"),)):
        pass


def test_stale_object_is_refused(kvm, bpf, monkeypatch):
    """Same offsets, other meaning: the layout hash tells."""
    from dataclasses import replace

    from vmm.devmodel.device_layout import layout_device
    from vmm.offload.objects import OffloadError
    for mode in ("host", "on"):
        device = Witness("probe")
        device.layout = replace(layout_device(device.schema), hash=1)
        monkeypatch.setattr(Witness, "registers", property(lambda self: self.layout))
        with pytest.raises(OffloadError, match="build it again"):
            Machine(MachineConfig(memory=1 << 20, serial="null"), ((device, mode),))
