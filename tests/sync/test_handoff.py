"""Declined writes come out in order, each once."""

import pytest

from vmm.devmodel.exit_path import DECLINES, machine_layout, vcpu_layout
from vmm.devmodel.view import address_of, ffi, view_of
from vmm.sync.handoff import Declines, LostDecline


class Kernel:
    """The writing side: what decline() in platform_bpf.h does."""

    def __init__(self):
        self.raw = ffi.new("uint64_t[]", vcpu_layout().size // 8 + 8)
        self.exits = view_of(vcpu_layout())(int(ffi.cast("uintptr_t", self.raw)), self.raw)
        self.machine_raw = ffi.new("uint64_t[]", machine_layout().size // 8)
        self.machine = view_of(machine_layout())(int(ffi.cast("uintptr_t", self.machine_raw)), self.machine_raw)
        self.head = ffi.cast("uint32_t *", address_of(self.exits.outbox))
        self.ring = ffi.cast("char *", address_of(self.exits.outbox.ring[0]))

    def decline(self, value, device=1, offset=0x50, width=4, reason=3):
        if self.head[0] - self.exits.inbox.tail & 0xffffffff >= DECLINES:
            self.head[1] += 1
            return
        at = self.ring + self.head[0] % DECLINES * 24
        ffi.cast("uint64_t *", at)[0] = value
        ffi.cast("uint32_t *", at)[2] = device
        ffi.cast("uint16_t *", at)[6], ffi.cast("uint16_t *", at)[7] = offset, width
        ffi.cast("uint32_t *", at)[4] = reason
        self.head[0] = self.head[0] + 1 & 0xffffffff


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def declines(kernel):
    return Declines(kernel.exits, kernel.machine)


def test_in_order(kernel, declines):
    for i in range(10):
        kernel.decline(i)
    assert [d.value for d in declines.take()] == list(range(10))
    assert list(declines.take()) == []
    assert kernel.machine.user.declined == 10


def test_fields(kernel, declines):
    kernel.decline(2**64 - 1, device=63, offset=0xfff, width=8, reason=15)
    (one,) = declines.take()
    assert (one.value, one.device, one.offset, one.width, one.reason) == (2**64 - 1, 63, 0xfff, 8, 15)


def test_exactly_once_if_the_reader_stops_midway(kernel, declines):
    for i in range(5):
        kernel.decline(i)
    reader = declines.take()
    assert [next(reader).value, next(reader).value] == [0, 1]
    assert [d.value for d in declines.take()] == [2, 3, 4]


def test_round_and_round(kernel, declines):
    kernel.head[0] = 0xfffffff0
    kernel.exits.inbox.tail = 0xfffffff0
    for i in range(DECLINES):
        kernel.decline(i)
    assert [d.value for d in declines.take()] == list(range(DECLINES))


def test_a_lost_decline_is_an_error_and_the_rest_is_not_lost(kernel, declines):
    for i in range(DECLINES + 1):
        kernel.decline(i)
    got = []
    with pytest.raises(LostDecline, match="1 declined writes"):
        for one in declines.take():
            got.append(one.value)
    assert got == list(range(DECLINES))
