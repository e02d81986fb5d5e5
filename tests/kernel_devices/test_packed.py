"""Packed rings, each case against the Python half, and against the native and the BPF handler with the
Python half behind it (VIRTIO 1.2, section 2.8)."""

import logging
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.driver import EVENT_IDX, INDIRECT, INDIRECT_DESC, NEXT, RING_PACKED, WRITE, BlkDriver
from vmm.devmodel.devices.blk import RequestType

IN, OUT = RequestType.IN, RequestType.OUT
D = BlkDriver
RAM = 4 << 20
TABLE = D.DATA + 0x20000
HEAD, DATA, END = (D.HEADER, 16, 0), (D.DATA, 512, WRITE), (D.STATUS, 1, WRITE)


def sector(number: int) -> bytes:
    return number.to_bytes(8, "little") * 64


@pytest.fixture
def driver_of(request, mode_of_device, image, machine_of):
    if mode_of_device == "on":
        request.getfixturevalue("ring")

    def make(features=INDIRECT_DESC, size=16):
        how = "on" if mode_of_device == "on" else "auto"
        machine = machine_of(image, mode_of_device, packed=True, asynchronous=how)
        return BlkDriver(machine, machine.devices[0], features=features | RING_PACKED, size=size)
    return make


@pytest.fixture
def driver(driver_of):
    return driver_of()


def handled(driver):
    entry, user = driver.device.state.queue[0].entry, driver.device.state.queue[0].user
    return user.handled if driver.device.mode == "off" else entry.handled


@pytest.mark.parametrize("size", [16, 17, 3, 255, 256])
def test_many_rounds(driver_of, size):
    """Sizes need be no power of two; both wrap counters turn many times, at every place."""
    driver = driver_of(size=size)
    for i in range(3 * size + 20):
        assert driver.read(i, 2) == sector(i) + sector(i + 1)
        if i % 4 == 0:
            driver.write(i, sector(i))
    driver.flush()
    assert handled(driver) == 3 * size + 20 + -(-(3 * size + 20) // 4) + 1


def test_not_offered_unless_asked(image, machine_of):
    assert not machine_of(image).devices[0].offered & RING_PACKED


def test_batch(driver):
    """Several requests and one doorbell; completions are seen together."""
    ring = driver.rings[0]
    for i in range(5):
        driver.memory.write(D.HEADER + 32 * i, struct.pack("<IIQ", IN, 0, 100 + i))
        ring.request([(D.HEADER + 32 * i, 16, 0), (D.DATA + 512 * i, 512, WRITE), (D.STATUS + 0x400 + i, 1, WRITE)],
                     10 + i)
    ring.ring()
    assert ring.take() == [(10 + i, 513) for i in range(5)]
    assert driver.memory.read(D.DATA, 2560) == b"".join(sector(100 + i) for i in range(5))


def test_a_status_behind_what_was_not_written(driver):
    """There is no length, but something was written (2.8.3, 2.8.4)."""
    ring = driver.rings[0]
    driver.request(99, 0, [DATA])
    assert driver.status() == 2
    _, length, _, flags = struct.unpack("<QIHH", driver.memory.read(ring.desc, 16))
    assert (length, flags) == (0, ring.AVAIL | ring.USED | WRITE)


def test_indirect(driver):
    """A table is one place in the ring; its descriptors follow each other, whatever their flags."""
    ring = driver.rings[0]
    driver.header(IN, 20)
    for i, (address, length, flags) in enumerate([HEAD, DATA, END]):
        ring.put(i, address, length, flags, table=TABLE)
    for head in (7, 8):
        ring.request([(TABLE, 48, INDIRECT)], head)
        ring.ring()
        assert driver.status() == 0 and driver.memory.read(D.DATA, 512) == sector(20)
        assert ring.take() == [(head, 513)]


def test_completed_in_any_order(image, machine_of, offload, ring):
    """Writes through the ring, whose descriptors later completions overwrite."""
    driver = BlkDriver(machine := machine_of(image, offload, packed=True, asynchronous="on"), machine.devices[0],
                       features=RING_PACKED, size=8)
    for round_ in range(60):
        for i in range(2):
            at = D.HEADER + 32 * i
            driver.memory.write(at, struct.pack("<IIQ", OUT if i == 0 else IN, 0, 10 * round_ + i))
            driver.memory.write(D.DATA, sector(1000 + round_))
            driver.rings[0].request([(at, 16, 0), (D.DATA + 4096 * i, 512, WRITE if i else 0),
                                     (D.STATUS + 0x400 + i, 1, WRITE)], i)
        driver.rings[0].ring()
        assert sorted(driver.rings[0].take()) == [(0, 1), (1, 513)]
        assert driver.memory.read(D.DATA + 4096, 8) == (10 * round_ + 1).to_bytes(8, "little")
        assert driver.read(10 * round_, 1) == sector(1000 + round_)


def test_back_and_forth(image, machine_of, offload):
    """Positions and wrap counters go with the queue."""
    machine = machine_of(image, offload, packed=True)
    driver = BlkDriver(machine, machine.devices[0], features=RING_PACKED, size=7)
    for i in range(60):
        machine.set_offload(machine.devices[0], ("off", offload)[i % 2])
        assert driver.read(i, 1) == sector(i)
    state = driver.device.state.queue[0]
    assert state.entry.handled == state.user.handled == 30


# Events (2.8.10)

def test_no_interrupt_flag(driver, interrupts):
    """In `on` a doorbell's claim interrupts, whatever the driver wants (PROTOCOL.md)."""
    claimed = driver.device.mode == "on"
    driver.rings[0].set_no_interrupt(True)
    driver.read(0, 1)
    assert interrupts(driver.machine) == claimed
    driver.rings[0].set_no_interrupt(False)
    driver.read(0, 1)
    assert interrupts(driver.machine) == claimed + 1


def test_interrupt_at_a_descriptor(driver_of, interrupts):
    """Each request takes three places; the driver wants to hear of one, wherever it is.  In `on` the claim
    interrupts each time: the card's tests have the handler's own choice."""
    driver = driver_of(EVENT_IDX, size=10)
    ring = driver.rings[0]
    for ahead in (0, 2, 3, 8, 5, 6, 7, 1, 4):
        place, wrap = ring.used_place + ahead, ring.used_wrap
        ring.set_event(ring.AT_DESCRIPTOR, place % 10, wrap if place < 10 else not wrap)
        before, taken = interrupts(driver.machine), []
        for _ in range(3):
            driver.read(1, 1)
            taken.append(interrupts(driver.machine) - before)
        if driver.device.mode == "on":
            assert taken == [1, 2, 3], ahead
        else:
            assert taken.index(1) == ahead // 3 and taken[-1] == 1, ahead


def test_doorbell_is_asked_for(driver_of):
    driver = driver_of(EVENT_IDX, size=10)
    ring = driver.rings[0]
    for _ in range(20):
        driver.read(1, 1)
        assert ring.avail_event() == (ring.place | ring.wrap << 15, ring.AT_DESCRIPTOR)


def test_every_doorbell_without_events(driver):
    driver.read(1, 1)
    assert driver.rings[0].avail_event()[1] == driver.rings[0].ENABLE


# Hostile chains end in NEEDS_RESET, the same way in both halves

def mark(ring):
    return ring.mark()


HOSTILE = {
    "no end": lambda ring: [ring.put(i, D.DATA, 512, NEXT | mark(ring)) for i in range(16)],
    "zero length": lambda ring: ring.request([HEAD, (D.DATA, 0, WRITE), END]),
    "readable after writable": lambda ring: ring.request([HEAD, DATA, (D.DATA, 512, 0), END]),
    "outside RAM": lambda ring: ring.request([HEAD, (RAM, 512, WRITE), END]),
    "across the end": lambda ring: ring.request([HEAD, (RAM - 511, 512, WRITE), END]),
    "wraps": lambda ring: ring.request([HEAD, (2**64 - 256, 512, WRITE), END]),
    "status outside": lambda ring: ring.request([HEAD, DATA, (RAM, 1, WRITE)]),
    "no status": lambda ring: ring.request([HEAD]),
    "indirect in indirect": lambda ring: (ring.put(0, TABLE, 16, INDIRECT, table=TABLE),
                                          ring.request([(TABLE, 16, INDIRECT)])),
    "half a table": lambda ring: ring.request([(TABLE, 47, INDIRECT)]),
    "empty table": lambda ring: ring.request([(TABLE, 0, INDIRECT)]),
    "table and more": lambda ring: ring.request([(TABLE, 48, INDIRECT), DATA]),
    "table outside": lambda ring: ring.request([(RAM - 16, 48, INDIRECT)]),
    "table wraps": lambda ring: ring.request([(2**64 - 16, 48, INDIRECT)]),
    "huge table": lambda ring: ring.request([(TABLE, 0xfffffff0, INDIRECT)]),
}


@pytest.mark.parametrize("trap", HOSTILE)
def test_hostile_chain(driver, trap):
    ring = driver.rings[0]
    driver.header(IN, 1)
    HOSTILE[trap](ring)
    assert ring.ring() == 0 and ring.take() == [] and driver.needs_reset and driver.status() == 0xff
    ring.ring()
    assert ring.take() == []
    driver.start()
    assert driver.read(5, 1) == sector(5)


@pytest.mark.parametrize("change", [dict(size=0), dict(size=512), dict(desc=0x10008), dict(avail=0x11002),
                                    dict(used=0x12001), dict(desc=RAM - 16), dict(used=2**64 - 4),
                                    dict(avail=0xd0000000)], ids=str)
def test_unsound_setup(driver, change):
    ring = driver.rings[0]
    driver.registers.write("queue_sel", 0)
    driver.registers.write("queue_ready", 0)
    for name, value in change.items():
        setattr(ring, name, value)
    assert driver.place(ring) == 0 and driver.needs_reset


# Both halves leave the same behind, whatever is in the ring

addresses = st.sampled_from([D.HEADER, D.HEADER + 8, D.STATUS, D.DATA, D.DATA + 4096, TABLE, (2 << 20) - 512, 2 << 20,
                             0, 0x10000, 0x11000, 0x12000, 2**32, 2**64 - 16])
lengths = st.sampled_from([0, 1, 15, 16, 17, 20, 48, 512, 513, 1024, 4096, 0xffffffff])
flags = st.sampled_from([0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | NEXT, 8])
marks = st.sampled_from([0x80, 0x80, 0x80, 0x8000, 0, 0x8080])
wild = st.tuples(addresses, lengths, st.builds(lambda a, b: a | b, flags, marks), st.integers(0, 17))


@st.composite
def plausible(draw):
    honest = draw(st.sampled_from([True, True, False]))
    one = draw(st.sampled_from([512, 1024, 4096]))
    data = [(D.DATA, one, WRITE)] if honest else draw(st.lists(st.tuples(
        st.sampled_from([D.DATA, D.DATA + 700]), st.sampled_from([512, 1024, 4096, 256]),
        st.sampled_from([WRITE, WRITE, 0])), min_size=1, max_size=3))
    parts = [HEAD, *sorted(data, key=lambda part: part[2]), END]
    return [(address, length, flag | 0x80 | (NEXT if i < len(parts) - 1 else 0), 9)
            for i, (address, length, flag) in enumerate(parts)]


requests = st.fixed_dictionaries({
    "kind": st.sampled_from([0, 0, 0, 0, 0, 0, 1, 4, 8, 11, 99]),
    "sector": st.sampled_from([0, 1, 7, 100, 100, 255, 256, 2**55]),
    "ring": st.one_of(plausible(), plausible(), st.builds(lambda a, b: a + b, plausible(), plausible()),
                      st.lists(wild, min_size=1, max_size=12)),
    "table": st.one_of(plausible(), st.lists(wild, max_size=4)),
    "event": st.tuples(st.integers(0, 3), st.integers(0, 15), st.booleans()),
})


def play(driver, request):
    memory = driver.memory
    memory.write(0, bytes(2 << 20))
    driver.start()
    driver.header(request["kind"], request["sector"])
    ring = driver.rings[0]
    ring.set_event(*request["event"])
    for table, where in (("table", TABLE), ("ring", None)):
        for index, (address, length, flag, head) in enumerate(request[table]):
            ring.put(index, address, length, flag, head, where)
    ring.ring()
    ring.ring()
    position = driver.device.state.queue[0].position
    return {"memory": zlib.crc32(memory.view), "needs reset": driver.needs_reset,
            "changed": driver.registers.read("interrupt_status") & 2,
            "position": (position.next_avail, position.next_used),
            "disk": zlib.crc32(driver.device.image.path.read_bytes())}


@pytest.mark.parametrize("features", [INDIRECT_DESC, INDIRECT_DESC | EVENT_IDX], ids=["flags", "events"])
def test_equal(tmp_path, machine_of, offload, features):
    drivers = []
    logging.disable(logging.WARNING)    # every other example breaks a rule
    for mode in ("off", offload):
        image = tmp_path / mode
        image.write_bytes(b"".join(sector(i) for i in range(256)))
        machine = machine_of(image, mode, 2 << 20, serial="same", asynchronous="off", packed=True)
        drivers.append(BlkDriver(machine, machine.devices[0], features=features | RING_PACKED))

    @settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(requests)
    def equal(request):
        user, kernel = (play(driver, request) for driver in drivers)
        assert user == kernel
    try:
        equal()
        assert drivers[1].device.state.queue[0].entry.handled > 20      # the handler was really asked
    finally:
        logging.disable(logging.NOTSET)
