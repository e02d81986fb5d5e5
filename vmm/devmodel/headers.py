"""Which header holds what: the common ones, and one for each device."""

from __future__ import annotations

from . import blk, emit_c, exit_path, virtqueue
from .layout import DeviceLayout, layout_block, layout_device
from .virtio_mmio import CONFIG, VirtioMmio

COMMON = ("virtqueue.gen.h",)   # every device's header includes these


def _known(*roots) -> frozenset[str]:
    names = set()

    def visit(block):
        names.add(block.c_name)
        for item in block.fields:
            if item.block:
                visit(item.block)
    for root in roots:
        visit(root)
    return frozenset(names)


def _structs(*roots) -> list[str]:
    """Each root and what it contains, inner ones first, none twice."""
    done, parts = set(), []

    def visit(block):
        for item in block.fields:
            if item.block:
                visit(item.block)
        if block.c_name not in done:
            done.add(block.c_name)
            parts.append(emit_c.struct(block))
    for root in roots:
        visit(root)
    return parts


def virtqueue_header() -> str:
    roots = [layout_block(b) for b in virtqueue.MEMORY_STRUCTS]
    return emit_c.header("virtqueue", "vmm/devmodel/virtqueue.py", [
        emit_c.enumeration(virtqueue.Side),
        emit_c.constants({name: number for number, name in
                          enumerate(virtqueue.COMMON_REASONS, start=1)}, "DECLINE_"),
        *_structs(*roots, virtqueue.control_layout(), virtqueue.queue_layout())])


def exit_path_header() -> str:
    roots = [layout_block(b) for b in exit_path.STRUCTS]
    return emit_c.header("exit_path", "vmm/devmodel/exit_path.py", [
        emit_c.constants(exit_path.CONSTANTS),
        *(emit_c.enumeration(e) for e in exit_path.ENUMS),
        *_structs(*roots, exit_path.vcpu_layout(), exit_path.machine_layout())])


def virtio_mmio_header() -> str:
    layout = layout_device(VirtioMmio)
    parts = emit_c.device_parts(layout)
    return emit_c.header("virtio_mmio", "vmm/devmodel/virtio_mmio.py", [
        parts[0], emit_c.constants({"VIRTIO_MMIO_CONFIG": CONFIG}), parts[1],
        emit_c.struct(layout.page)])


def device_header(device: type, source: str, extra: tuple = (), prefix: str = "") -> str:
    """The header of one device, as `splitvmm compile` writes it.

    `extra` holds the schema module's MEMORY_STRUCTS, ENUMS and CONSTANTS, if it has any.
    """
    layout = layout_device(device)
    known = _known(virtqueue.control_layout(), virtqueue.queue_layout())
    structs, enums, values = extra or ((), (), {})
    upper = layout.c_name.upper()
    parts = []
    if values:
        parts.append(emit_c.constants(values, f"{upper}_"))
    parts += [emit_c.enumeration(e) for e in enums]
    parts += _structs(*(layout_block(b) for b in structs))
    parts += emit_c.device_parts(layout, known)
    return emit_c.header(layout.c_name, source, parts, tuple(prefix + name for name in COMMON))


def module_extra(module) -> tuple:
    return (getattr(module, "MEMORY_STRUCTS", ()), getattr(module, "ENUMS", ()),
            getattr(module, "CONSTANTS", {}))


def committed() -> dict[str, str]:
    """Path under kernel_devices/ -> text, for every header that is kept in the repository."""
    from . import probe
    return {
        "virtqueue.gen.h": virtqueue_header(),
        "exit_path.gen.h": exit_path_header(),
        "virtio_mmio.gen.h": virtio_mmio_header(),
        "blk/blk.gen.h": device_header(blk.Blk, "vmm/devmodel/blk.py", module_extra(blk), "../"),
        "probe/probe.gen.h": device_header(probe.Probe, "vmm/devmodel/probe.py", prefix="../"),
    }


def state_layouts() -> dict[str, DeviceLayout]:
    """Built object's stem -> layout that it must agree with."""
    from . import probe
    return {"blk": layout_device(blk.Blk), "probe": layout_device(probe.Probe)}
