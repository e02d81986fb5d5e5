"""Built objects of a device, held against its schema before they are used; and routes, as both
dispatchers have them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..device.place import Routed
from ..device.register_device import RegisterDevice
from ..devmodel.abi import AbiMismatch, check_object
from ..devmodel.device_layout import DeviceLayout
from ..devmodel.digest import sha256
from ..devmodel.exit_path import Route, RouteKey
from ..devmodel.layout import BlockLayout, in_order, layout_block
from ..devmodel.uring import uring_layout
from ..devmodel.view import ffi, view_of
from ..errors import UserError
from ..kvm.bpf import BpfUnavailable


class OffloadError(UserError):
    """A device cannot be offloaded as asked; says why."""


def struct_bytes(layout: BlockLayout, **fields: int):
    """Bytes of a struct, by its schema."""
    raw = ffi.new("char[]", layout.size + 8)
    at = int(ffi.cast("uintptr_t", raw)) + 7 & ~7
    view = view_of(layout)(at, raw)
    for name, value in fields.items():
        setattr(view, name, value)
    return bytes(ffi.buffer(ffi.cast("char *", at), layout.size))


def route_bytes(device: RegisterDevice, route: Routed) -> tuple[bytes, bytes]:
    """Key and value of one route, as both dispatchers have them."""
    key = struct_bytes(layout_block(RouteKey), address=route.address, bus=device.place.bus,
                  width=route.width)
    value = struct_bytes(layout_block(Route), device=device.place.slot, action=route.action,
                    offset=route.offset, target=route.target, interrupts=int(route.interrupts),
                    page=device.place.first_page + route.page)
    return key, value


def check_abi(path: Path, layout: DeviceLayout) -> None:
    """The built object against the schema.  Raises OffloadError.

    The answer depends on the object's bytes and the layout alone, so it is kept beside the
    object, under the digests of both; reading the debug information takes a tenth of a second.
    """
    if not path.exists():
        raise OffloadError(f"{path} is missing; wanted it built, by `make` or `splitvmm build`")
    record = path.with_name(path.name + ".abi")
    wanted = f"{sha256(path.read_bytes()).hexdigest()} {layout.hash:016x}\n".encode()
    with contextlib.suppress(OSError):      # one that cannot be read is none
        if record.read_bytes() == wanted:
            return
    try:
        check_object(path, [*layout.structs(), *in_order([uring_layout()])], required=(layout.state.c_name,))
    except AbiMismatch as error:
        raise OffloadError(str(error)) from None
    with contextlib.suppress(OSError):      # a folder that may not be written: then each time
        record.write_bytes(wanted)


def check_hash(path: Path, layout: DeviceLayout, found: int) -> None:
    """What debug information does not show: values of enums, reasons, who takes a register.  Raises OffloadError."""
    if found != layout.hash:
        raise OffloadError(f"{path}: built for layout {found:#018x}; wanted {layout.hash:#018x}, version "
                           f"{layout.version} of {layout.device.__name__}: build it again")


def unavailable(error: Exception) -> str:
    """Why a mode cannot be had, in one line."""
    return str(error).splitlines()[0]


LOADING_ERRORS = (BpfUnavailable, OffloadError)
