"""What a recording says of a device, so that it can be read where there is no schema of it."""

from __future__ import annotations

from ..device.register_device import RegisterDevice
from ..devmodel.register_layout import PlacedRegister
from ..devmodel.schema import Takes, Values


def describe(device: RegisterDevice) -> dict:
    """Of an attached device, as plain data: docs/recording.md has what is in it."""
    layout, shown = device.layout, device.registers
    return {
        "device": device.place.slot, "name": device.name, "schema": layout.c_name, "version": layout.version,
        "layout": layout.hash, "bus": device.place.bus.name.lower(), "base": device.place.base,
        "transport": shown.c_name if device.has_transport else None, "queues": _queues(device),
        "reasons": {int(reason): reason.name.lower() for reason in layout.reasons},
        "registers": [_register(name, each) for name, each in shown.registers.items()]}


def _queues(device: RegisterDevice) -> list[str]:
    names = [f"{name}[{i}]" if queue.count > 1 else name
             for name, queue in device.layout.queues.items() for i in range(queue.count)]
    return names[:device.queue_count]


def _register(name: str, register: PlacedRegister) -> dict:
    return {"name": name, "offset": register.offset, "width": register.type.size,
            "doorbell": register.takes is Takes.NOTIFY, "values": _values(register.type.enum),
            "bits": [[bits.name, bits.low, bits.width, _values(bits.enum)] for bits in register.bits]}


def _values(values: Values | None) -> dict[int, str]:
    return {int(value): value.name.lower() for value in values or ()}
