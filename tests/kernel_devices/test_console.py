"""virtio-console, in the Python half, in the native handler and in the BPF one, over a socket pair."""

import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from functools import partial

import pytest

from tests import waiting
from tools.driver import EVENT_IDX, INDIRECT, INDIRECT_DESC, RING_PACKED, WRITE, Driver
from vmm.devmodel.devices.console import RECEIVE, TRANSMIT
from vmm.devmodel.exit_path import COLLECT_ADDRESS, COLLECT_VECTOR, MESSAGE_OWNER_SHIFT, Bus
from vmm.errors import UserError
from vmm.machine.config import ConsoleConfig
from vmm.virtqueue.uring import Uring

wait_for = partial(waiting.wait_for, timeout_s=10)

IN, OUT = 0x90000, 0xa0000


class Port:
    """A console's driver, and the other end of its wire."""

    def __init__(self, machine_with, tmp_path, mode, packed=0, transport="mmio", size=16, features=0):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "console"))
            listener.listen()
            self.machine = machine_with(memory=4 << 20, consoles=[ConsoleConfig(
                f"socket={tmp_path / 'console'}", offload=mode, packed=bool(packed), transport=transport)])
            self.peer, _ = listener.accept()
        self.peer.settimeout(10)
        self.device = self.machine.devices[0]
        self.driver = Driver(self.machine, self.device, features=INDIRECT_DESC | packed | features, size=size)
        self.memory = self.driver.memory

    def send(self, data, pieces=1):
        """Out of `pieces` buffers; returns when they are used."""
        self.memory.write(OUT, data)
        step = len(data) // pieces
        self.driver.rings[TRANSMIT].request([
            (OUT + i * step, len(data) - i * step if i == pieces - 1 else step, 0) for i in range(pieces)])
        self.driver.rings[TRANSMIT].ring()
        assert self.driver.rings[TRANSMIT].take() == [(0, 0)]

    def post(self, count=1, length=256, first=0):
        for i in range(first, first + count):
            self.driver.rings[RECEIVE].request([(IN + length * i, length, WRITE)], i)
        self.driver.registers.write("queue_notify", RECEIVE)

    def received(self, count, length=256):
        """Until so many bytes have come."""
        data, deadline = b"", time.monotonic() + 10
        while len(data) < count:
            for head, written in self.driver.rings[RECEIVE].take():
                data += self.memory.read(IN + length * head, written)
            assert time.monotonic() < deadline, data
            time.sleep(0.001)
        return data

    def close(self):
        self.machine.close()
        self.peer.close()


@pytest.fixture
def port_of(machine_with, tmp_path, ring):
    made = []

    def make(*arguments, **options):
        made.append(Port(machine_with, tmp_path, *arguments, **options))
        return made[-1]
    yield make
    for port in made:
        port.close()


@pytest.fixture(params=[(0, "mmio"), (RING_PACKED, "pci")], ids=["split-mmio", "packed-pci"])
def port(request, mode_of_device, port_of):
    return port_of(mode_of_device, *request.param)


def test_output(port):
    for pieces in (1, 2, 5):
        port.send(b"hello, world", pieces)
        assert port.peer.recv(100) == b"hello, world"
    state = port.device.state.queue[TRANSMIT]
    assert (state.entry.handled, state.user.handled) == ((0, 3) if port.device.mode == "off" else (3, 0))


def test_input(port):
    port.post(4)
    for i in range(4):
        port.peer.send(b"line %d\n" % i)
        assert port.received(7) == b"line %d\n" % i
    state = port.device.state.queue[RECEIVE]
    assert (state.entry.handled, state.user.handled) == ((0, 4) if port.device.mode == "off" else (4, 0))


def test_input_waits_for_buffers(port):
    port.peer.send(b"0123456789")
    port.post(1, length=4)
    assert port.received(4, 4) == b"0123"
    port.post(2, length=4, first=1)
    assert port.received(6, 4) == b"456789"


def test_output_faster_than_it_is_taken(port):
    """A partial write is gone on with, in order, whoever made it."""
    data = bytes(range(256)) * 1024
    got = bytearray()

    def take():
        while len(got) < 4 * len(data):
            got.extend(port.peer.recv(1000))
    thread = threading.Thread(target=take)
    thread.start()
    for _ in range(4):
        port.send(data)
    thread.join()
    assert got == 4 * data


def test_one_output_at_a_time(port_of, offload):
    """io_uring keeps no order between writes that wait for room, here in a socket that is full."""
    port, filler = port_of(offload), 0
    with socket.socket(fileno=os.dup(port.device.uring_files()[TRANSMIT])) as full, pytest.raises(BlockingIOError):
        while True:
            filler += full.send(b"." * 4096, socket.MSG_DONTWAIT)
    transmit, uring, flying = port.driver.rings[TRANSMIT], port.device.queues[TRANSMIT].uring, []
    port.memory.write(OUT, bytes(range(8)))
    for i in range(8):
        transmit.request([(OUT + i, 1, 0)], i)
        port.driver.registers.write("queue_notify", TRANSMIT)
        flying.append(uring.outstanding)
    got = bytearray()
    while len(got) < filler + 8:
        got.extend(port.peer.recv(10000))
    transmit.settle()
    assert flying == [1] * 8 and got[filler:] == bytes(range(8)) and transmit.take() == [(i, 0) for i in range(8)]


def one_in_flight_one_waiting(port) -> int:
    """Two outputs, `first` and `second`, at a line that is full; how many bytes of it come before them."""
    filler = 0
    with socket.socket(fileno=os.dup(port.device.uring_files()[TRANSMIT])) as full, pytest.raises(BlockingIOError):
        while True:
            filler += full.send(b"." * 4096, socket.MSG_DONTWAIT)
    port.memory.write(OUT, b"firstsecond")
    port.driver.rings[TRANSMIT].request([(OUT, 5, 0)])
    port.driver.registers.write("queue_notify", TRANSMIT)
    assert port.device.queues[TRANSMIT].uring.outstanding == 1
    port.driver.rings[TRANSMIT].request([(OUT + 5, 6, 0)], 1)
    return filler


def test_output_stays_in_order(port_of, offload):
    """Userspace takes the queue with a write in flight: what that has goes first."""
    port, got = port_of(offload), bytearray()
    filler = one_in_flight_one_waiting(port)

    def take():
        while len(got) < filler + 11:
            got.extend(port.peer.recv(10000))
    thread = threading.Timer(0.2, take)     # meanwhile userspace is at it
    thread.start()
    port.device.upcalled(TRANSMIT, 0)
    thread.join()
    assert got[filler:] == b"firstsecond"


def test_emergency_write_behind_output_in_flight(machine_with, tmp_path, ring):
    """It takes its turn, and what waits behind it is served and shown, though nobody rings again."""
    port, got = Port(machine_with, tmp_path, "host"), bytearray()
    filler = one_in_flight_one_waiting(port)

    def take():
        while len(got) < filler + 12:
            got.extend(port.peer.recv(10000))
    thread = threading.Timer(0.2, take)
    thread.start()
    at = port.device.place.base + port.device.transport.config + 8
    port.machine.guest_write(Bus.MMIO, at, 4, ord("!"))
    assert port.driver.rings[TRANSMIT].used_index() == 2
    thread.join()
    assert got[filler:] == b"first!second"
    port.close()


def test_gigabytes_of_output_take_no_memory(machine_with, mode_of_device, ring):
    """A few descriptors that name the same memory again and again."""
    parts = [(0x200000, 2 << 20, 0)] * 700
    machine = machine_with(memory=8 << 20, consoles=[ConsoleConfig("null", offload=mode_of_device)])
    driver = Driver(machine, machine.devices[0], features=INDIRECT_DESC)
    transmit = driver.rings[TRANSMIT]
    transmit.chain(parts, table=0x100000)
    transmit.request([(0x100000, 16 * len(parts), INDIRECT)])
    tracemalloc.start()
    transmit.ring()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert transmit.take() == [(0, 0)] and peak < 4 << 20


def test_interrupts_are_suppressed(port_of, mode_of_device, interrupts):
    """Event index: one interrupt where the driver asked for one, whoever served."""
    port = port_of(mode_of_device, features=EVENT_IDX)
    port.driver.rings[TRANSMIT].set_used_event(3)
    for expected in (0, 0, 0, 1, 1, 1):
        port.send(b"hello")
        assert port.peer.recv(100) == b"hello"
        wait_for(lambda expected=expected: interrupts(port.machine) >= expected)
    time.sleep(0.05)
    assert interrupts(port.machine) == 1


def test_end_of_input(port):
    """The guest is told nothing; the other way still works."""
    port.post(2)
    port.peer.send(b"last")
    assert port.received(4) == b"last"
    port.peer.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    port.send(b"still here")
    assert port.peer.recv(100) == b"still here"
    assert port.device.state.stream.ended == 1 and not port.driver.needs_reset


def test_toggle_loses_nothing(port_of, offload):
    port = port_of(offload, size=64)
    port.post(60, 64)
    for i in range(30):
        port.peer.send(b"in %02d" % i)
        port.machine.set_offload(port.device, ("off", offload)[i % 2])
        port.send(b"out %02d" % i)
        assert port.peer.recv(100) == b"out %02d" % i and port.received(5, 64) == b"in %02d" % i


def test_reset(port):
    port.post(4)
    port.driver.start()
    port.peer.send(b"after")
    port.post(1)
    assert port.received(5) == b"after"


@pytest.mark.timeout(60)
def test_reset_of_what_the_ring_has_not_taken(port_of, offload, monkeypatch):
    """A read that is cancelled too early, as the ring's thread has yet to see it, is cancelled again."""
    port, cancel, calls = port_of(offload), Uring.cancel, []
    port.post()
    wait_for(lambda: port.device.queues[RECEIVE].uring.outstanding)
    monkeypatch.setattr(Uring, "cancel", lambda uring: calls.append(uring) or len(calls) == 1 or cancel(uring))
    port.driver.registers.write("status", 0)
    assert len(calls) >= 2 and not port.device.queues[RECEIVE].uring.flying


def test_only_its_own_message_calls_a_collector(port_of):
    """Another device's would show completions for which nobody interrupts the driver."""
    port = port_of("on")
    vm, uring = port.machine.vm, port.device.queues[TRANSMIT].uring
    port.memory.write(OUT, b"x")
    port.driver.rings[TRANSMIT].request([(OUT, 1, 0)])
    with vm.held_back():
        port.driver.registers.write("queue_notify", TRANSMIT)
        uring.enter()
        wait_for(lambda: uring.pending)
        slot = port.device.place.slot
        for owner in (0, slot + 2, slot + 1):       # of nobody, of another, of itself
            vm.message(COLLECT_ADDRESS, COLLECT_VECTOR + TRANSMIT | owner << MESSAGE_OWNER_SHIFT)
            assert port.driver.rings[TRANSMIT].used_index() == (owner == slot + 1), owner


def test_emergency_write(port):
    """Before there is any queue (5.3.4)."""
    at = port.device.place.base + port.device.transport.config + 8
    for byte in b"!?":
        port.machine.guest_write(Bus.MMIO, at, 4, byte)
    assert port.peer.recv(2) == b"!?"


@pytest.mark.parametrize("queue, flags", [(TRANSMIT, WRITE), (RECEIVE, 0)])
def test_wrong_direction(port, queue, flags):
    port.driver.rings[queue].request([(OUT, 64, flags)])
    port.driver.rings[queue].ring()
    port.peer.send(b"x")
    deadline = time.monotonic() + 10
    while not port.driver.needs_reset and time.monotonic() < deadline:
        time.sleep(0.001)
    assert port.driver.needs_reset


def test_a_file_on_standard_output_is_appended_to(tmp_path):
    """Its position does not move with writes that io_uring completes later (on 9p, say)."""
    path = tmp_path / "out"
    code = ("import os; from vmm.devices.endpoints import open_both; os.lseek(1, 0, 0); "
            "os.write(open_both('stdio', '')[1], b'two')")
    with open(path, "w") as out:
        out.write("one")
        out.flush()
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
        out.write("three")
    assert path.read_text() == "onetwothree"


def test_file(tmp_path, machine_with, offload):
    path = tmp_path / "out"
    machine = machine_with(memory=4 << 20, consoles=[ConsoleConfig(f"file={path}", offload=offload)])
    driver = Driver(machine, machine.devices[0])
    for i in range(20):
        driver.memory.write(OUT, b"%03d\n" % i)
        driver.rings[TRANSMIT].request([(OUT, 4, 0)])
        driver.rings[TRANSMIT].ring()
    assert path.read_bytes() == b"".join(b"%03d\n" % i for i in range(20))


@pytest.mark.parametrize("where, says", [("nowhere", "wanted stdio, null"), ("socket=/no/such", "that listens"),
                                         ("file=/no/such/file", "wanted a file")])
def test_mistakes(where, says, machine_with):
    with pytest.raises(UserError, match=says):
        machine_with(memory=4 << 20, consoles=[ConsoleConfig(where)])
