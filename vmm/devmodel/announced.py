"""By which name a guest's firmware announces a device: the options `acpi=` and `compatible=` of a schema."""

from __future__ import annotations

import re

from .schema import SchemaError

PNP_ID, ACPI_ID = r"[A-Z]{3}[0-9A-F]{4}", r"[A-Z0-9]{4}[0-9A-F]{4}"         # ACPI 6.4, 6.1.5
# "manufacturer,model" (Devicetree Specification 0.4, 2.3.1), and what else drivers' tables have in it
COMPATIBLE = r"[A-Za-z0-9][\w.+-]*,[\w.+-]+"
COMPATIBLE_BYTES = 127                  # of a driver's table (Linux, struct of_device_id)
BY_COMPATIBLE = "PRP0001"               # the _HID of a device whose `compatible` says what it is


def announced(where: str, options: dict, has_queues: bool) -> tuple[str, str]:
    """`acpi` and `compatible` as given, or "".  Raises SchemaError."""
    acpi, compatible = (_text(where, name, options) for name in ("acpi", "compatible"))
    if acpi and compatible:
        raise SchemaError(where, "acpi= and compatible=", "one of them, as a device has one _HID")
    for name, value in (("acpi", acpi), ("compatible", compatible)):
        if value and has_queues:
            raise SchemaError(where, f"{name} {value!r}, and queues",
                              "one or the other, as a virtio device is found by its transport")
    if acpi:
        _check_acpi(where, acpi)
    if compatible and not (re.fullmatch(COMPATIBLE, compatible, re.ASCII) and len(compatible) <= COMPATIBLE_BYTES):
        raise SchemaError(where, f"compatible {compatible!r}", '"vendor,name" of letters, digits and . _ + -, '
                          f"{COMPATIBLE_BYTES} characters at most")
    return acpi, compatible


def _text(where: str, name: str, options: dict) -> str:
    value = options.get(name)
    if value is None:
        return ""
    if not (isinstance(value, str) and value):
        raise SchemaError(where, f"{name} {value!r}", "a string")
    return value


def _check_acpi(where: str, acpi: str) -> None:
    if not (re.fullmatch(PNP_ID, acpi) or re.fullmatch(ACPI_ID, acpi)):
        raise SchemaError(where, f"acpi {acpi!r}", "a vendor's three capital letters, or four capital letters or "
                          "digits, then four hexadecimal digits, as in SVMM0001")
    if acpi == BY_COMPATIBLE:
        raise SchemaError(where, f"acpi {acpi!r}", 'compatible="vendor,name", which makes it that')
    if len(acpi) == 8 and acpi.startswith("ACPI"):
        raise SchemaError(where, f"acpi {acpi!r}", "another vendor, as these are the specification's own")
