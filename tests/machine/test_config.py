"""What a program asks a machine to be is checked as the command line's values are."""

from pathlib import Path

import pytest

from vmm import DiskConfig, ExecutorConfig, Machine, MachineConfig, RngConfig, UserError


@pytest.mark.parametrize("other, said", [
    ({"executor": ExecutorConfig("emu")}, "executor 'emu'; wanted kvm, auto or emulator"),
    ({"executor": ExecutorConfig("emulator", 5)}, "executor emulator with blocks; wanted them with auto alone"),
    ({"executor": ExecutorConfig("auto", -5)}, "executor blocks -5; wanted a whole number from 0 to 1048576"),
    ({"cpus": 0}, "0 CPUs; wanted 1 to 64"),
    ({"cpus": 65}, "65 CPUs; wanted 1 to 64"),
    ({"vga": "cirrus"}, "vga 'cirrus'; wanted std or none"),
    ({"machine_ports": "x"}, "machine ports 'x'; wanted test, or none"),
    ({"keys": "x"}, "keys without firmware; wanted both"),
    ({"disks": [DiskConfig(Path("disk.img"), cache="unsafe")]}, "cache 'unsafe'; wanted writeback, none or write"),
    ({"disks": [DiskConfig(Path("disk.img"), transport="ccw")]}, "transport 'ccw'; wanted mmio or pci"),
    ({"rng": RngConfig(asynchronous="yes")}, "asynchronous 'yes'; wanted on, off or auto"),
])
def test_refused(other, said):
    with pytest.raises(UserError) as refused:
        Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False, **other))
    assert said in str(refused.value)


def test_paths_as_text():
    from vmm import NicConfig, RecordConfig
    config = MachineConfig(guest="a.elf", modules=["m"], initrd="i", firmware="seabios", verifier_log="log")
    assert [config.guest, *config.modules, config.initrd, config.firmware, config.verifier_log] == [
        *map(Path, ("a.elf", "m", "i", "seabios", "log"))]
    assert DiskConfig("d.img").path == Path("d.img") and RecordConfig("r").path == Path("r")
    assert NicConfig(socket="s").socket == Path("s") and NicConfig(tap="t").socket is None


def test_all_configurations_are_exported():
    """By what programs import."""
    import vmm
    from vmm.machine import config
    of_machine = {name for name, kind in vars(config).items() if name.endswith("Config")}
    assert of_machine - {"VirtioConfig"} <= set(vmm.__all__)
