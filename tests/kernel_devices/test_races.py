"""Guest memory that changes while the handler reads it: descriptors rewritten between check and
use, by another thread, as another vCPU would."""

import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tools.driver import NEXT, WRITE, BlkDriver
from vmm.devmodel.devices.blk import RequestType

D = BlkDriver
RAM = 4 << 20
GUARD = 0x200000        # guest-physical; no descriptor ever points here


@pytest.mark.parametrize("field", ["length", "address", "next", "flags", "head", "avail index"])
def test_rewritten_between_check_and_use(image, machine_of, offload, field):
    machine = machine_of(image, offload, read_only=True)
    driver = BlkDriver(machine, machine.devices[0])
    memory, ring, stop = driver.memory, driver.rings[0], threading.Event()
    memory.write(GUARD, b"\x5a" * 65536)

    def data(address=D.DATA, length=512, flags=NEXT | WRITE, following=2):
        ring.put(1, address, length, flags, following)

    rewrite = {
        "length": lambda: (data(length=0xffffffff), data(length=0), data()),
        "address": lambda: (data(address=RAM - 1), data(address=2**64 - 1), data()),
        "next": lambda: (data(following=1), data(following=0xffff), data()),
        "flags": lambda: (data(flags=4), data(flags=NEXT), data()),
        "head": lambda: (memory.write_u16(ring.avail + 4, 0xffff), memory.write_u16(ring.avail + 4, 0)),
        "avail index": lambda: (memory.write_u16(ring.avail + 2, ring.offered + 9),
                                memory.write_u16(ring.avail + 2, ring.offered)),
    }[field]

    def rewriter():
        while not stop.is_set():
            rewrite()
    thread = threading.Thread(target=rewriter)
    thread.start()
    try:
        for _ in range(2000):
            driver.header(RequestType.IN, 1)
            ring.chain([(D.HEADER, 16, 0), (D.DATA, 512, WRITE), (D.STATUS, 1, WRITE)])
            ring.offer(0)
            ring.ring()
            if driver.needs_reset:
                driver.start()
                ring = driver.rings[0]
    finally:
        stop.set()
        thread.join()
    assert memory.read(GUARD, 65536) == b"\x5a" * 65536
    driver.start()
    assert driver.read(3, 1)[:8] == (3).to_bytes(8, "little")


def on_threads(*runs):
    """Each on a thread of its own, at once; raises what one of them raised."""
    with ThreadPoolExecutor(len(runs)) as pool:
        for done in [pool.submit(run) for run in runs]:
            done.result()


def test_two_vcpus_decline_at_once(image, machine_of):
    """In `on` each has an outbox of its own, and a signal of its own."""
    machine = machine_of(image, "on", queues=2, asynchronous="off")
    driver, count = BlkDriver(machine, machine.devices[0]), 300

    def vcpu(queue):
        ring, at = driver.rings[queue], 0x100000 * (queue + 1)
        for i in range(count):
            for kind, flags in ((RequestType.OUT, 0), (RequestType.IN, WRITE)):
                driver.memory.write(at, struct.pack("<IIQ", kind, 0, 100 * queue + i % 50))
                if kind == RequestType.OUT:
                    driver.memory.write(at + 512, bytes([i % 251]) * 512)
                ring.request([(at, 16, 0), (at + 512, 512, flags), (at + 64, 1, WRITE)])
                assert bool(ring.ring()) == (kind == RequestType.IN)
                assert len(ring.take()) == 1 and driver.memory.read(at + 512, 1)[0] == i % 251
    on_threads(lambda: vcpu(0), lambda: vcpu(1))
    for queue in machine.devices[0].queues:
        assert (queue.state.entry.handled, queue.state.user.handled) == (count, count)
    assert sorted(exits.outbox.head for exits in machine.bpf.exits)[-2:] == [count, count]


def test_two_vcpus_ring_one_queue(image, machine_of, offload):
    """No doorbell is lost: what is offered before the last one has been served when it returns."""
    machine = machine_of(image, offload, read_only=True)
    driver, offering = BlkDriver(machine, machine.devices[0], size=256), threading.Lock()
    ring, count = driver.rings[0], 2000
    driver.header(RequestType.IN, 1)
    ring.chain([(D.HEADER, 16, 0), (D.DATA, 512, WRITE), (D.STATUS, 1, WRITE)])

    def vcpu():
        for _ in range(count):
            with offering:      # no more than the ring holds: the other may be inside for both
                while ring.offered - ring.used_index() >= driver.size:
                    time.sleep(0)
                ring.offer(0)
            ring.registers.write("queue_notify", 0)
    on_threads(vcpu, vcpu)
    ring.settle()
    assert ring.used_index() == 2 * count and not driver.needs_reset
    entry, user = ring.queue.state.entry, ring.queue.state.user
    assert entry.handled + user.handled == 2 * count and entry.doorbells == 2 * count
