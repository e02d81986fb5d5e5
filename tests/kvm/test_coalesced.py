"""Writes that KVM puts into a ring: of guests, and of a ring made here, which no KVM would write so."""

import errno
import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest

from vmm.devmodel.exit_path import Bus
from vmm.kvm._kvm import ffi, lib
from vmm.kvm.coalesced import CAPABILITY, CoalescedRing, why_not
from vmm.kvm.vcpu import VcpuThread
from vmm.kvm.vm import KvmError
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD
from vmm.sync.region import PAGE

BASE, ZONE = 0xd0100000, 0xd0100100


class Recorder:
    """Notes writes, by their distance from ZONE; a read finds how many there were before it."""

    def __init__(self):
        self.seen = []

    def write(self, offset, width, value):
        self.seen.append((offset + BASE - ZONE, width, value))

    def read(self, offset, width):
        return len(self.seen)


@contextmanager
def machine(accesses, zones, count=1, words="", cpus=1):
    """A guest with a Recorder that goes through accesses so often: (distance from ZONE, bytes, value) each."""
    for letter, (at, width, value) in zip("abcdefgh", accesses):
        words += f" {letter}={ZONE + at:#x} {letter}w={width} {letter}v={value}"
    config = MachineConfig(BUILD / "registers.elf", 64 << 20, cpus, f"{words} count={count} cpus={cpus}", serial="null")
    with Machine(config) as made:
        if reason := why_not(made.vm):
            pytest.skip(reason)
        made.recorder = Recorder()
        made.buses[Bus.MMIO].add(BASE, PAGE, made.recorder, "recorder")
        ring = CoalescedRing(made.vm, made.vcpus, made.buses[Bus.MMIO])
        for at, size in zones:
            ring.add(ZONE + at, size)
        yield made


def exits(made):
    return sum(thread.exits - thread.port_exits for thread in made.threads)


# guests

def test_every_width_in_order_and_before_the_exit(kvm):
    accesses = [(7, 1, 0xff), (2, 2, 0xfffe), (8, 8, 2**63 - 1), (4, 4, 2**31), (8, 8, 1), (0, 1, 2), (16, 4, 3)]
    with machine(accesses, [(0, 16)], count=50) as made:
        assert made.run(60) == 0
        assert made.recorder.seen == accesses * 50
        assert exits(made) == 50        # for the last one, which is in no zone


def test_before_a_read(kvm):
    """A write in the zone, a read of how many there were, and what it found, written by the guest elsewhere."""
    with machine([(0, 4, 7)], [(0, 16)], count=3, words=f"b={ZONE + 32:#x} report={ZONE + 64:#x}") as made:
        assert made.run(60) == 0
        assert made.recorder.seen == [(0, 4, 7), (64, 8, 1), (0, 4, 7), (64, 8, 3), (0, 4, 7), (64, 8, 5)]
        assert exits(made) == 6


def test_before_the_guest_ends(kvm):
    with machine([(0, 4, 7)], [(0, 16)], count=20) as made:
        assert made.run(60) == 0
        assert made.recorder.seen == [(0, 4, 7)] * 20 and exits(made) == 0


def test_full_ring(kvm):
    """KVM then comes out with the write that has no place, which is the next one.  Before Linux 6.12 it may take
    the ring for full when it is half full."""
    accesses = [(i, 1, i) for i in range(7)]
    with machine(accesses, [(0, 16)], count=100) as made:
        assert made.run(60) == 0
        assert made.recorder.seen == accesses * 100
        most = lib.KVM_COALESCED_MMIO_MAX       # of its places, one stays free
        assert 700 // most <= exits(made) <= 700 // (most // 2)


@pytest.mark.parametrize("zones, crossing", [
    ([(0, 16)], [(14, 4, 8), (-1, 2, 9), (9, 8, 10), (16, 1, 11)]),
    ([(0, 8), (8, 8)], [(4, 8, 8), (7, 2, 9), (15, 2, 10)]),
])
def test_a_write_that_crosses_the_end_of_a_zone(kvm, zones, crossing):
    """It comes out whole, and after those before it."""
    accesses = [(0, 8, 1), *crossing, (12, 4, 2), (20, 4, 3)]
    with machine(accesses, zones, count=10) as made:
        assert made.run(60) == 0
        assert made.recorder.seen == accesses * 10
        assert exits(made) == 10 * (len(crossing) + 1)


def test_two_vcpus_have_one_ring(kvm):
    """Each write once, and each vCPU's in its order."""
    accesses = [(0, 4, 1), (4, 4, 2), (8, 4, 3), (32, 4, 4)]
    with machine(accesses, [(0, 16)], count=1000, cpus=2) as made:
        assert made.run(120) == 0
        seen = made.recorder.seen
    assert {access: seen.count(access) for access in accesses} == dict.fromkeys(accesses, 2000)
    ahead = 0       # writes of the first register that have not been followed by one of the last
    for at, _, _ in seen:
        ahead += {0: 1, 32: -1}.get(at, 0)
        assert 0 <= ahead <= 2


# the thread

@pytest.mark.parametrize("reason", [lib.KVM_EXIT_MMIO, lib.KVM_EXIT_IO, -errno.EINTR, lib.KVM_EXIT_SHUTDOWN])
def test_drained_before_whatever_ended_kvm_run(reason):
    done = []

    class Space:
        def write(self, *_):
            done.append("access")
    ring = SimpleNamespace(drain=lambda: done.append("ring"))
    vcpu = SimpleNamespace(index=0, lib=lib, enter=lambda: reason, coalesced=ring,
                           loop=SimpleNamespace(count=1, is_write=1, address=0, width=4, value=0))
    going = iter([True, False])
    host = SimpleNamespace(buses={bus: Space() for bus in Bus}, declined=lambda _: done.append("declined"))
    thread = VcpuThread(vcpu, host, SimpleNamespace(checkpoint=lambda: next(going)))
    thread._explain = lambda _: done.append("error")
    with suppress(RuntimeError):
        thread._loop()
    assert done == ["ring", {-errno.EINTR: "declined", lib.KVM_EXIT_SHUTDOWN: "error"}.get(reason, "access")]


# a ring made here

class Made:
    """A VM and its ring, on page 2 of `pages`."""

    def __init__(self, pages=3, page=2):
        self.memory = ffi.new("char[]", 3 * PAGE)
        self.raw = ffi.cast("struct kvm_coalesced_mmio_ring *", self.memory + 2 * PAGE)
        self.registered, self.recorder = [], Recorder()
        self.vm = SimpleNamespace(ffi=ffi, lib=lib, run_bytes=pages * PAGE, capability={CAPABILITY: page}.get,
                                  call=lambda name, zone: self.registered.append((name, zone.addr, zone.size)))
        self.vcpu = SimpleNamespace(kvm_run=ffi.cast("struct kvm_run *", self.memory))
        self.space = SimpleNamespace(write=lambda address, *rest: self.recorder.write(address - BASE, *rest))

    def ring(self):
        return CoalescedRing(self.vm, [self.vcpu], self.space)

    def put(self, address, width, value=0, port=0):
        entry = self.raw.coalesced_mmio[self.raw.last]
        entry.phys_addr, entry.len, entry.pio, entry.data = address, width, port, value.to_bytes(8, "little")
        self.raw.last = (self.raw.last + 1) % lib.KVM_COALESCED_MMIO_MAX


@pytest.fixture
def made():
    made = Made()
    made.ring().add(ZONE, 16)
    return made


def test_zones_are_registered(made):
    made.vcpu.coalesced.add(ZONE + 64, 4)
    assert made.registered == [("KVM_REGISTER_COALESCED_MMIO", ZONE, 16), ("KVM_REGISTER_COALESCED_MMIO", ZONE + 64, 4)]


def test_round_its_end_and_no_bytes_of_earlier_writes(made):
    made.raw.first = made.raw.last = lib.KVM_COALESCED_MMIO_MAX - 2
    for width in (1, 3, 8, 5):
        made.put(ZONE, width, 2**64 - 1)
    made.vcpu.coalesced.drain()
    assert made.recorder.seen == [(0, width, 2**(8 * width) - 1) for width in (1, 3, 8, 5)]
    assert made.raw.first == made.raw.last == 2


def test_what_others_add_meanwhile_is_left(made):
    """Or a guest could keep a vCPU's thread there for good."""
    write = made.space.write

    def write_and_add(*access):
        write(*access)
        if len(made.recorder.seen) < 100:
            made.put(ZONE, 4, 2)
    made.space.write = write_and_add
    made.put(ZONE, 4, 1)
    made.vcpu.coalesced.drain()
    assert made.recorder.seen == [(0, 4, 1)]
    made.vcpu.coalesced.drain()
    assert made.recorder.seen == [(0, 4, 1), (0, 4, 2)]


def test_another_thread_waits_for_what_was_in_it(made):
    """What that one came out for is after it, though the ring is empty by then."""
    done = []

    def other():
        made.vcpu.coalesced.drain()
        done.append("another vCPU's exit")

    def write(*_):
        thread.start()
        thread.join(0.05)       # it would be through by now
        done.append("write")
    made.space.write, thread = write, threading.Thread(target=other)
    made.put(ZONE, 4, 1)
    made.vcpu.coalesced.drain()
    thread.join()
    assert done == ["write", "another vCPU's exit"]


@pytest.mark.parametrize("address, width, port, said", [
    (ZONE, 0, 0, "0 bytes at 0xd0100100"), (ZONE, 9, 0, "9 bytes at"), (ZONE, 2**32 - 1, 0, "4294967295 bytes at"),
    (ZONE - 1, 4, 0, "4 bytes at 0xd01000ff"), (ZONE + 13, 4, 0, "4 bytes at"), (ZONE + 16, 1, 0, "1 bytes at"),
    (2**64 - 2, 4, 0, "4 bytes at 0xfffffffffffffffe"), (ZONE, 4, 1, "4 bytes at port 0xd0100100"),
])
def test_entries_that_kvm_does_not_write(made, address, width, port, said):
    made.put(ZONE, 4, 1)
    made.put(address, width, port=port)
    with pytest.raises(KvmError, match=f"{said}.*; wanted 1 to 8 in 0xd0100100 to 0xd010010f"):
        made.vcpu.coalesced.drain()
    assert made.recorder.seen == [(0, 4, 1)]


@pytest.mark.parametrize("last", [lib.KVM_COALESCED_MMIO_MAX, 2**32 - 1])
def test_an_index_that_kvm_does_not_write(made, last):
    made.raw.last = last
    with pytest.raises(KvmError, match=f"last is {last}; wanted less than {lib.KVM_COALESCED_MMIO_MAX}"):
        made.vcpu.coalesced.drain()
    assert not made.recorder.seen


def test_a_kvm_without_it():
    with pytest.raises(KvmError, match="no KVM_CAP_COALESCED_MMIO; wanted"):
        Made(page=0).ring()
    with pytest.raises(KvmError, match="kvm_run of 0x2000 bytes; wanted a ring of writes in it, at 0x2000"):
        Made(pages=2).ring()
