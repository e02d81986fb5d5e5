"""The SSDT: register devices whose schema says by which name a guest finds them.  Made when a machine is, as
the DSDT, which iasl compiled, cannot know them."""

from __future__ import annotations

from ..devmodel.announced import BY_COMPATIBLE
from ..devmodel.record import record
from . import aml

DEVICE_PROPERTIES = "daffd814-6eba-4d8c-8a91-bc9bbf4aa301"      # of _DSD (UEFI Forum, DSD Guide, 3)


@record
class Announced:
    """A device, and what its driver has to know; `acpi` or `compatible` is its name, the other is ""."""

    acpi: str
    compatible: str
    windows: list[tuple[int, int]]      # guest-physical address and bytes of each
    gsi: int


def terms(devices: list[Announced]) -> bytes:
    """What the table declares: all of them, in order."""
    return aml.scope("\\_SB", *(_device(number, device) for number, device in enumerate(devices)))


def _device(number: int, device: Announced) -> bytes:
    resources = [aml.memory(base, size) for base, size in device.windows]
    return aml.device(
        f"D{number:03}",
        aml.name("_HID", aml.string(device.acpi or BY_COMPATIBLE)),
        aml.name("_UID", aml.integer(number)),
        aml.name("_CRS", aml.resources(*resources, aml.interrupt(device.gsi))),
        *([aml.name("_DSD", _properties(device))] if device.compatible else []))


def _properties(device: Announced) -> bytes:
    """By these a guest finds out what a PRP0001 is (Linux, firmware-guide/acpi/enumeration.rst)."""
    return aml.package(aml.uuid(DEVICE_PROPERTIES),
                       aml.package(aml.package(aml.string("compatible"), aml.string(device.compatible))))
