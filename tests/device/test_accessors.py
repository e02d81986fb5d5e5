"""A method that no access would ever reach is refused where the class is made."""

import pytest

from vmm.device.options import choice, text, whole
from vmm.device.register_device import RegisterDevice
from vmm.devmodel import SchemaError
from vmm.devmodel.schema import NOTIFY, POSTED, RO, WO, Device, reg, u32
from vmm.errors import UserError
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


@pytest.mark.parametrize("given, says", [
    (lambda self: 0, "too many positional arguments; wanted a function of 1 value"),
    (lambda self, index, value: 0, "missing a required argument: 'value'"), (5, "5; wanted a function of 1 value")])
def test_what_takes_something_else(given, says):
    with pytest.raises(SchemaError, match="FewDevice.on_write_doorbell: ") as error:
        type("FewDevice", (RegisterDevice,), {"schema": Few, "on_write_doorbell": given})
    assert says in str(error.value)


@pytest.mark.parametrize("name, option, says", [
    ("mode", choice("a", ("a", "b"), "x"), "called as something that every device has"),
    ("base", text("", "x"), "called as something"), ("attach", text("", "x"), "called as something"),
    ("n", whole(100, 0, 4, "x"), "default 100; wanted 0 to 4"), ("c", choice("q", (), "x"), "default 'q'"),
    ("s", text("", ""), "no meaning")])
def test_options_that_cannot_be(name, option, says):
    with pytest.raises(SchemaError) as error:
        type("FewDevice", (RegisterDevice,), {"schema": Few, "on_write_doorbell": lambda self, value: 0, name: option})
    assert says in str(error.value)


def test_options_given_by_a_program():
    kind = type("FewDevice", (RegisterDevice,), {"schema": Few, "on_write_doorbell": lambda self, value: 0,
                                                 "n": whole(1, 0, 10, "x")})
    assert kind("few", n=10).n == 10
    with pytest.raises(UserError, match="FewDevice: n 11; wanted 0 to 10"):
        kind("few", n=11)


def test_a_trace_that_does_not_fit_is_told(caplog):
    with caplog.at_level("INFO", "splitvmm.trace"):
        device("on_write_doorbell")("few").trace("%u %u", 1)
    assert "'%u %u' of (1,): not enough arguments" in caplog.text


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
