"""Which header holds what: the common ones, and one for each device."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from . import devices as declared
from . import emit_c, exit_path, recording, uring, virtqueue
from .c_names import check_names
from .device_layout import DeviceLayout, layout_device
from .emit_device import device_parts
from .layout import BlockLayout, in_order, layout_block
from .schema import Block, Device
from .vcpu import VcpuState

COMMON = ("virtqueue.gen.h",)   # every device's header includes these


def _structs(*roots: BlockLayout) -> list[str]:
    return [emit_c.struct(block) for block in in_order(roots)]


def virtqueue_header() -> str:
    roots = [layout_block(b) for b in virtqueue.MEMORY_STRUCTS]
    return emit_c.header("virtqueue", "vmm/devmodel/virtqueue.py", [
        emit_c.enumeration(virtqueue.Side),
        emit_c.constants({name: number for number, name in
                          enumerate(virtqueue.COMMON_REASONS, start=1)}, "DECLINE_"),
        emit_c.constants({"CAUSE_USED_BUFFER": virtqueue.CAUSE_USED_BUFFER}),
        *_structs(*roots, virtqueue.control_layout(), virtqueue.queue_layout())])


def exit_path_header() -> str:
    roots = [layout_block(b) for b in exit_path.STRUCTS]
    return emit_c.header("exit_path", "vmm/devmodel/exit_path.py", [
        emit_c.constants(exit_path.CONSTANTS),
        *(emit_c.enumeration(e) for e in exit_path.ENUMS),
        *_structs(*roots, exit_path.vcpu_layout(), exit_path.machine_layout())])


def uring_header() -> str:
    return emit_c.header("uring", "vmm/devmodel/uring.py", [
        emit_c.constants(uring.CONSTANTS, "URING_"), *(emit_c.enumeration(e) for e in uring.ENUMS),
        *_structs(*(layout_block(b) for b in uring.STRUCTS), uring.uring_layout())])


def recording_header() -> str:
    return emit_c.header("recording", "vmm/devmodel/recording.py", [
        emit_c.constants(recording.CONSTANTS), *(emit_c.enumeration(e) for e in recording.ENUMS),
        *_structs(recording.event_ring_layout())])


def device_header(device: type[Device], source: str, extra: tuple = (), prefix: str = "") -> str:
    """The header of one device, as `splitvmm compile` writes it.

    `extra` holds the schema module's MEMORY_STRUCTS, ENUMS and CONSTANTS, if it has any.
    """
    layout = layout_device(device)
    known = frozenset(block.c_name for block in in_order(
        [virtqueue.control_layout(), virtqueue.queue_layout()]))
    structs, enums, values = extra or ((), (), {})
    upper = layout.c_name.upper()
    parts = []
    if values:
        parts.append(emit_c.constants(values, f"{upper}_"))
    parts += [emit_c.enumeration(e) for e in enums]
    parts += _structs(*(layout_block(b) for b in structs))
    parts += device_parts(layout, known, tuple(enums))
    check_names(layout, parts)
    return emit_c.header(layout.c_name, source, parts, tuple(prefix + name for name in COMMON))


def block_header(block: type[Block], source: str) -> str:
    """The header of a block that is no device's: a vCPU's state, say."""
    layout = layout_block(block)
    enums = {each: None for inner in in_order([layout]) for item in inner.fields if (each := item.type.enum)}
    return emit_c.header(layout.c_name, source, [*map(emit_c.enumeration, enums), *_structs(layout)])


def module_extra(module: ModuleType) -> tuple:
    return (getattr(module, "MEMORY_STRUCTS", ()), getattr(module, "ENUMS", ()),
            getattr(module, "CONSTANTS", {}))


TRANSPORTS = ("virtio_mmio", "virtio_pci")     # no C reads these


def devices() -> dict[str, ModuleType]:
    """Name -> module of every device declared in this package: `blk.py` declares `Blk`."""
    found = {}
    for info in pkgutil.iter_modules(declared.__path__):
        module = import_module(f".{info.name}", declared.__name__)
        if info.name not in TRANSPORTS and device_of(module):
            found[info.name] = module
    return found


def device_of(module: ModuleType) -> type[Device] | None:
    """The device that a module of this package declares, under the module's name."""
    name = module.__name__.rpartition(".")[2]
    return next((d for d in vars(module).values() if isinstance(d, type) and issubclass(d, Device)
                 and d is not Device and d.c_name == name and d.__module__ == module.__name__), None)


def _known(module: ModuleType) -> type[Device]:
    """Of a module that `devices` has found."""
    device = device_of(module)
    assert device is not None
    return device


def committed() -> dict[str, str]:
    """Path -> text, for every header that is kept in the repository."""
    headers = {
        "kernel_devices/virtqueue.gen.h": virtqueue_header(),
        "kernel_devices/exit_path.gen.h": exit_path_header(),
        "kernel_devices/uring.gen.h": uring_header(),
        "kernel_devices/recording.gen.h": recording_header(),
        "vmm/native/vcpu_state.gen.h": block_header(VcpuState, "vmm/devmodel/vcpu.py"),
    }
    for name, module in devices().items():
        headers[f"kernel_devices/{name}/{name}.gen.h"] = device_header(
            _known(module), f"vmm/devmodel/devices/{name}.py", module_extra(module), "../")
    return headers


def state_layouts() -> dict[str, DeviceLayout]:
    """Built object's stem -> layout that it must agree with."""
    return {name: layout_device(_known(module)) for name, module in devices().items()}
