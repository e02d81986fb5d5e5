"""Bytes that nobody set reach nobody: padding of what is saved or shared (CVE-2024-0340)."""

import msgpack
import pytest

from vmm.devmodel import layout_device
from vmm.devmodel.devices.blk import Blk
from vmm.devmodel.devices.net import Net
from vmm.devmodel.view import ffi, view_of
from vmm.sync.snapshot import pack


@pytest.mark.parametrize("schema", [Blk, Net])
def test_nothing_but_fields_is_in_a_snapshot(schema):
    """Two states whose fields are equal and whose reserved bytes are not are the same bytes."""
    layout = layout_device(schema)
    saved = []
    for filling in (0x00, 0xff):
        raw = ffi.new("uint64_t[]", layout.state.size // 8)
        ffi.memmove(raw, bytes([filling]) * layout.state.size, layout.state.size)
        _clear(layout.state, raw)
        saved.append(pack(layout, view_of(layout.state)(int(ffi.cast("uintptr_t", raw)), raw)))
    assert saved[0] == saved[1] and "reserved" not in str(msgpack.unpackb(saved[0]))


def _clear(block, raw, at=0):
    """All fields but the reserved ones become 0."""
    memory = ffi.buffer(raw)
    for item in block.fields:
        if item.reserved:
            continue
        count = item.type.count or 1
        size = (item.block.size if item.block else item.type.size)
        for i in range(count):
            start = at + item.offset + i * size
            if item.block:
                _clear(item.block, raw, start)
            else:
                memory[start:start + size] = bytes(size)


def test_memory_that_is_shared_begins_as_zeros(image, machine_of, mode_of_device):
    """Guest memory and a device's state, whoever they were before."""
    machine = machine_of(image, mode_of_device)
    assert not any(bytes(machine.memory.view))
    state = machine.devices[0].state
    assert not state.queue[0].entry.doorbells and not any(state.queue[0].position.reserved)
