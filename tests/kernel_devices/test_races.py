"""Guest memory that changes while the handler reads it: descriptors rewritten between check and
use, by another thread, as another vCPU would."""

import threading

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
