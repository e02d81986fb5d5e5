"""A method that no access would ever reach is refused where the class is made."""

import pytest

from vmm.device.register_device import RegisterDevice
from vmm.devmodel import SchemaError
from vmm.devmodel.schema import NOTIFY, POSTED, RO, WO, Device, reg, u32
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine
from vmm.virtio.virtio_mmio import MmioTransport


class Few(Device, id=0, version=1):
    """A few registers; no specification but this file."""

    plain = reg(0x00, u32, "userspace's")
    fixed = reg(0x04, u32, "read only", access=RO)
    stored = reg(0x08, u32, "posted", takes=POSTED)
    doorbell = reg(0x0c, u32, "rings", access=WO, takes=NOTIFY)
    clock = reg(0x10, u32, "moves when read", access=RO, read_effect=True)


class Empty(Device, id=0, version=1):
    """Nothing that a guest could reach; no specification but this file."""


def device(*methods):
    """A class with these methods."""
    return type("FewDevice", (RegisterDevice,), {"schema": Few, **{name: lambda self, *_: 0 for name in methods}})


def test_sound():
    assert device("on_write_doorbell", "on_write_plain", "on_read_clock")("few").layout.registers


@pytest.mark.parametrize("method, says", [
    ("on_write_plian", "FewDevice.on_write_plian: no register plian in Few; wanted one of plain, fixed, stored"),
    ("on_read_clok", "FewDevice.on_read_clok: no register clok in Few"),
    ("on_write_fixed", "FewDevice.on_write_fixed: a register that is read-only"),
    ("on_write_stored", "FewDevice.on_write_stored: a posted register"),
    ("on_read_doorbell", "FewDevice.on_read_doorbell: a register that is write-only"),
    ("on_read_plain", "FewDevice.on_read_plain: a register that the guest may read from memory"),
])
def test_never_reached(method, says):
    with pytest.raises(SchemaError) as error:
        device("on_write_doorbell", method)
    assert str(error.value).startswith(says)


def test_method_given_to_an_object():
    few = device("on_write_doorbell")("few")
    few.on_write_plian = few.on_write_doorbell
    with pytest.raises(SchemaError, match="FewDevice.on_write_plian: no register plian in Few"):
        Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((few, "off"),))


def test_no_register_at_all():
    with pytest.raises(SchemaError, match="Mine: no registers in Empty; wanted one"):
        type("Mine", (RegisterDevice,), {"schema": Empty})


def test_doorbell_that_nobody_answers():
    with pytest.raises(SchemaError, match="FewDevice: no on_write_doorbell; wanted one, as Few.doorbell has "
                                          "takes=NOTIFY"):
        device("on_write_plain")


def test_transports_are_checked_too():
    with pytest.raises(SchemaError, match="Misspelt.on_write_statsu: no register statsu in VirtioMmio"):
        type("Misspelt", (MmioTransport,), {"on_write_statsu": lambda self, value: None})


def test_a_class_that_names_no_schema_yet():
    """A base of several devices."""
    base = type("Base", (RegisterDevice,), {"on_write_doorbell": lambda self, value: None})
    assert type("Derived", (base,), {"schema": Few})("few").name == "few"
