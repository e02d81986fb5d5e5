"""The native and the BPF handler with the Python half behind them, against the Python half alone: whatever
a driver writes into the rings, they leave the same guest memory, disk and device behind."""

import logging
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.driver import EVENT_IDX, INDIRECT, INDIRECT_DESC, NEXT, WRITE, BlkDriver

D = BlkDriver
RAM = 2 << 20
TABLE = D.DATA + 0x20000
SECTORS = 256

addresses = st.one_of(
    st.sampled_from([D.HEADER, D.HEADER + 8, D.STATUS, D.DATA, D.DATA + 4096, TABLE, RAM - 512, RAM - 1, RAM,
                     0, 0x10000, 0x11000, 0x12000, 0xd0000000, 2**32, 2**64 - 16]),
    st.integers(0, RAM - 1))
lengths = st.one_of(st.sampled_from([0, 1, 8, 15, 16, 17, 20, 48, 512, 513, 1024, 4096, 0xffffffff]),
                    st.integers(1, 8192))
flags = st.sampled_from([0, NEXT, WRITE, NEXT | WRITE, NEXT, NEXT | WRITE, INDIRECT, INDIRECT | NEXT, 8])
wild = st.tuples(addresses, lengths, flags, st.integers(0, 17))


@st.composite
def plausible(draw):
    """A chain much like a driver's, so that most get past the first checks; two in three are as they should be."""
    honest = draw(st.sampled_from([True, True, False]))
    one = draw(st.sampled_from([512, 1024, 4096]))
    data = [(D.DATA, one, WRITE)] if honest else draw(st.lists(st.tuples(
        st.sampled_from([D.DATA, D.DATA + 700, D.DATA + 9000]), st.sampled_from([512, 1024, 512, 4096, 256, 20]),
        st.sampled_from([WRITE, WRITE, WRITE, 0])), min_size=1, max_size=3))
    parts = [(D.HEADER, 16, 0), *sorted(data, key=lambda part: part[2]), (D.STATUS, 1, WRITE)]
    return [(address, length, flag | (NEXT if i < len(parts) - 1 else 0), i + 1)
            for i, (address, length, flag) in enumerate(parts)]


@st.composite
def sound(draw):
    """A request for sectors that are there, as a driver would lay it out."""
    kind = draw(st.sampled_from([0, 0, 0, 1]))
    sizes = draw(st.lists(st.sampled_from([512, 1024, 4096]), min_size=1, max_size=3))
    parts = [(D.HEADER, 16, NEXT), *((D.DATA + 5000 * i, size, NEXT | (0 if kind else WRITE))
                                     for i, size in enumerate(sizes)), (D.STATUS, 1, WRITE)]
    chain = [(*part, i + 1) for i, part in enumerate(parts)]
    return {"kind": kind, "sector": draw(st.integers(0, SECTORS - 24)), "ring": chain, "table": chain,
            "heads": draw(st.sampled_from([[0], [0, 0, 0], [0, 5, 0]])), "indirect": draw(st.booleans())}


odd = st.fixed_dictionaries({
    "kind": st.sampled_from([0, 0, 0, 0, 0, 1, 4, 8, 11, 13, 99]),
    "sector": st.sampled_from([0, 1, 2, 100, 100, SECTORS - 1, SECTORS, 2**55, 2**64 - 1]),
    "ring": st.one_of(plausible(), plausible(), st.lists(wild, min_size=1, max_size=8)),
    "table": st.one_of(plausible(), st.lists(wild, max_size=4)),
    "heads": st.one_of(st.just([0]), st.just([0, 0, 0]), st.just([0, 0, 16]), st.just([0, 5, 0]),
                       st.lists(st.integers(0, 17), min_size=1, max_size=6)),
    "indirect": st.sampled_from([False, False, True]),
})
requests = st.one_of(sound(), odd, odd)


def play(driver, request):
    """Put the request into a fresh queue, ring, and say all that can be seen of the outcome."""
    memory = driver.memory
    memory.write(0, bytes(RAM))
    driver.start()
    driver.header(request["kind"], request["sector"])
    ring = driver.rings[0]
    for index, (address, length, flag, following) in enumerate(request["ring"]):
        ring.put(index, address, length, flag, following)
    for index, (address, length, flag, following) in enumerate(request["table"]):
        ring.put(index, address, length, flag, following, table=TABLE)
    if request["indirect"]:
        ring.put(0, TABLE, 16 * len(request["table"]), INDIRECT)
    for head in request["heads"]:
        ring.offer(head)
    ring.ring()
    ring.ring()
    position = driver.device.state.queue[0].position
    return {"memory": zlib.crc32(memory.view), "needs reset": driver.needs_reset,
            "interrupts": driver.registers.read("interrupt_status"),
            "position": (position.next_avail, position.next_used),
            "disk": zlib.crc32(driver.device.image.path.read_bytes()), "used": ring.used_index()}


@pytest.fixture
def compare(tmp_path, machine_of, offload):
    def compare(features, examples, how="off"):
        drivers = []
        for mode in ("off", offload):
            image = tmp_path / mode
            image.write_bytes(b"".join(i.to_bytes(8, "little") * 64 for i in range(SECTORS)))
            machine = machine_of(image, mode, RAM, serial="same", asynchronous=how)
            drivers.append(BlkDriver(machine, machine.devices[0], features=features))

        @settings(max_examples=examples, deadline=None, derandomize=True,
                  suppress_health_check=[HealthCheck.too_slow])
        @given(requests)
        def equal(request):
            user, kernel = (play(driver, request) for driver in drivers)
            assert user == kernel
        equal()
        assert drivers[1].device.state.queue[0].entry.handled > examples / 10      # the handler was really asked
    return compare


@pytest.fixture(autouse=True)
def quiet():
    """Every other example breaks a rule, and is logged."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_equal(compare):
    compare(INDIRECT_DESC, 400)


def test_equal_with_event_index(compare):
    compare(INDIRECT_DESC | EVENT_IDX, 200)


def test_equal_through_the_ring(compare, ring):
    compare(INDIRECT_DESC, 200, "on")
