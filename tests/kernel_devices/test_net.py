"""virtio-net, each case against the Python half, and against the native and the BPF build of the kernel
half with the Python half behind it; a socket pair is the network."""

import socket
import struct
import threading
import time
import tracemalloc
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import waiting
from tools.driver import (
    ACKNOWLEDGE,
    DRIVER,
    EVENT_IDX,
    FEATURES_OK,
    INDIRECT,
    INDIRECT_DESC,
    NEXT,
    RING_PACKED,
    WRITE,
    NetDriver,
    PackedRing,
)
from vmm.devices.net import (
    CSUM,
    CTRL_ANNOUNCE,
    CTRL_MAC_ADDR,
    CTRL_RX,
    CTRL_VLAN,
    CTRL_VQ,
    GUEST_CSUM,
    GUEST_ECN,
    GUEST_OFFLOADS,
    GUEST_TSO4,
    HOST_ECN,
    MAC,
    MQ,
    MRG_RXBUF,
    STATUS,
)
from vmm.devices.net_backend import Socket
from vmm.devmodel.devices.net import HEADER_BYTES, LARGEST_PACKET, ControlClass
from vmm.devmodel.layout import PAGE
from vmm.devmodel.uring import ENTRIES
from vmm.devmodel.view import ffi
from vmm.devmodel.virtqueue import Side
from vmm.kvm.interrupts import Interrupts
from vmm.machine.config import NicConfig
from vmm.sync._shared import lib
from vmm.virtqueue.uring import Uring

wait_for = partial(waiting.wait_for, timeout_s=5)

MAC_ADDRESS = bytes.fromhex("020000000001")
FEATURES = INDIRECT_DESC | MAC | STATUS | CTRL_VQ | CTRL_RX | CTRL_VLAN | CTRL_MAC_ADDR | CTRL_ANNOUNCE
HEAD = bytes(HEADER_BYTES)


def frame(payload=b"hello", to=b"\xff" * 6, source=MAC_ADDRESS):
    return to + source + b"\x08\x00" + payload.ljust(46, b".")


class Net:
    """A machine with one card, its driver, and the other ends of its wires."""

    def __init__(self, machine_with, mode, features=FEATURES, pairs=1, size=16, offloads=False, **config):
        ours, self.peers = zip(*(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(pairs)))
        for peer in self.peers:
            peer.settimeout(5)
        self.mode, self.peer = mode, self.peers[0]
        backend = Socket(connected=list(ours))
        backend.offloads = offloads
        nic = NicConfig(backend=backend, mac=MAC_ADDRESS, offload=mode, queues=pairs, packed=True, **config)
        self.machine = machine_with(memory=8 << 20, nets=[nic])
        self.device = self.machine.devices[0]
        self.driver = NetDriver(self.machine, self.device, features=features, size=size)

    def sent(self, count=1):
        return [self.peer.recv(70000) for _ in range(count)]

    def nothing_more(self):
        self.peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.peer.recv(70000)
        self.peer.settimeout(5)

    NO_REQUESTS = {"RING_ASLEEP", "HELD_BY_USER"}   # a call; a turn

    def dropped(self):
        d = self.device.state.dropped
        return {n: getattr(d, n) for n in ("spoofed", "limited", "link_down", "failed") if getattr(d, n)}

    def declined(self, queue):
        entry = self.device.state.queue[queue].entry
        return {r.name for r in self.device.layout.reasons if entry.declined[r]} - self.NO_REQUESTS


@pytest.fixture
def net_of(ring, machine_with):
    made = []

    def make(mode, **options):
        made.append(Net(machine_with, mode, **options))
        return made[-1]
    yield make
    for net in made:
        net.machine.close()
        for peer in net.peers:
            peer.close()


@pytest.fixture(params=[0, RING_PACKED], ids=["split", "packed"])
def net(request, mode_of_device, net_of):
    return net_of(mode_of_device, features=FEATURES | request.param)


def test_send(net):
    frames = [frame(bytes([i])) for i in range(5)]
    net.driver.send(*frames)
    assert net.sent(5) == [HEAD + f for f in frames]
    assert sorted(net.driver.rings[1].take()) == [(2 * i, 0) for i in range(5)]
    queue = net.device.state.queue[1]
    assert (queue.entry.handled, queue.user.handled) == ((0, 5) if net.mode == "off" else (5, 0))


@pytest.mark.parametrize("cut", [1, 5, 12, 26, 30])
def test_send_in_pieces(net, cut):
    net.driver.send(frame(), cut=cut)
    assert net.sent() == [HEAD + frame()]


def test_no_doorbell_is_asked_for_while_packets_are_in_flight(net_of, offload):
    """Where they go out at once: here until the peer, whose queue is full, takes some."""
    net = net_of(offload, features=FEATURES | EVENT_IDX)
    queue, ring, at = net.device.queues[1], net.driver.rings[1], net.driver.SEND
    queue.uring.wiring.lazy_notify, before = 1, 0
    with pytest.raises(BlockingIOError):
        while True:
            net.device.backend.sockets[0].send(b"full", socket.MSG_DONTWAIT)
            before += 1
    net.driver.memory.write(at, HEAD + frame())
    for i in range(15):
        ring.request([(at, len(HEAD + frame()), 0)], i)
        ring.registers.write("queue_notify", 1)
    assert queue.uring.flying and ring.avail_event() < 15
    net.sent(before + 15)
    deadline = time.monotonic() + 5
    while ring.avail_event() != 15:
        assert time.monotonic() < deadline, ring.avail_event()
        time.sleep(0.001)


def test_receive(net):
    net.driver.post(16)
    for i in range(3):
        net.peer.send(HEAD + frame(bytes([i])))
    got = net.driver.received(3)
    assert [packet[12:] for packet in got] == [frame(bytes([i])) for i in range(3)]
    assert all(packet[10:12] == b"\1\0" for packet in got)      # num_buffers, 5.1.6.4


def test_receive_runs_dry_and_goes_on(net):
    """Packets wait for buffers, and come in order."""
    net.driver.post(2)
    for i in range(6):
        net.peer.send(HEAD + frame(bytes([i])))
    assert [p[26] for p in net.driver.received(2)] == [0, 1]
    net.driver.post(4, first=2)
    assert [p[26] for p in net.driver.received(4)] == [2, 3, 4, 5]


@pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])
def test_receive_asks_for_a_doorbell_when_it_has_run_dry(net_of, mode_of_device, packed):
    """A driver with event indexes rings only where it is asked to: Linux refills without."""
    net = net_of(mode_of_device, features=FEATURES | EVENT_IDX | packed)
    ring, deadline = net.driver.rings[0], time.monotonic() + 5
    net.driver.post(2)
    for i in range(4):
        net.peer.send(HEAD + frame(bytes([i])))
    net.driver.received(2)
    asked = (2 | 1 << 15, PackedRing.AT_DESCRIPTOR) if packed else 2
    while ring.avail_event() != asked:
        assert time.monotonic() < deadline, ring.avail_event()
        time.sleep(0.001)
    net.driver.post(2, first=2)
    assert [packet[26] for packet in net.driver.received(2)] == [2, 3]


def test_receive_many(net):
    """Some rounds of the ring, in batches."""
    seen = 0
    net.driver.post(16)
    for i in range(120):
        net.peer.send(HEAD + frame(struct.pack("<I", i)))
        if i % 5 == 4:
            for packet in net.driver.received(5):
                assert packet[26:30] == struct.pack("<I", seen)
                seen += 1
            for head in net.driver.taken:
                net.driver.post(1, first=head)
    assert seen == 120


def test_mergeable_small_buffers(net_of, mode_of_device):
    """Packets larger than a buffer fill several; the handler leaves such buffers to userspace."""
    net = net_of(mode_of_device, features=FEATURES | MRG_RXBUF)
    net.driver.post(16, length=256)
    for size in (60, 600, 1400, 61):
        net.peer.send(HEAD + frame(b"x" * size))
    got = net.driver.received(4, length=256)
    assert [p[12:] for p in got] == [frame(b"x" * size) for size in (60, 600, 1400, 61)]
    assert [int.from_bytes(p[10:12], "little") for p in got] == [1, 3, 6, 1]
    assert net.declined(0) == (set() if net.mode == "off" else {"SHORT"})


# Large packets in small buffers: one read has room for the largest, what it leaves is for the next

MERGE = FEATURES | MRG_RXBUF | GUEST_CSUM | GUEST_TSO4


@pytest.fixture(params=[0, RING_PACKED], ids=["split", "packed"])
def merging(request, net_of):
    def make(mode, size=256):
        return net_of(mode, features=MERGE | request.param, size=size, offloads=True)
    return make


def merged(net, sizes, mark=0):
    """Send packets of these sizes and check what arrives."""
    for i, size in enumerate(sizes, mark):
        net.peer.send(HEAD + frame(bytes([i]) * size))
    got = net.driver.received(len(sizes), length=1024)
    assert [p[12:] for p in got] == [frame(bytes([i]) * size) for i, size in enumerate(sizes, mark)]
    assert [int.from_bytes(p[10:12], "little") for p in got] == [-(-(26 + size) // 1024) for size in sizes]
    for head in net.driver.taken:
        net.driver.post(1, 1024, first=head)


def test_merged(merging, mode_of_device):
    net = merging(mode_of_device)
    net.driver.post(200, 1024)
    for round_ in range(8):
        merged(net, (60, 1000, 60000, 997, 998, 999, 33000, 1), 8 * round_)
    queue = net.device.state.queue[0]
    assert (queue.entry.handled, queue.user.handled) == ((0, 64) if net.mode == "off" else (64, 0))
    assert not net.declined(0)


def test_merged_toggles(merging, offload):
    """Buffers that a read did not use, and those that wait, go with the queue."""
    net = merging(offload)
    net.driver.post(200, 1024)
    for i in range(30):
        net.machine.set_offload(net.device, ("off", offload)[i % 2])
        merged(net, (60, 40000, 3000), i)
    queue = net.device.state.queue[0]
    assert queue.entry.handled and queue.user.handled and queue.entry.handled + queue.user.handled == 90


def test_merged_with_too_few_buffers(merging, offload):
    """Room that is never enough for the largest packet: Python serves the queue, until there is more."""
    net = merging(offload)
    net.driver.post(8, 1024)
    merged(net, (60, 3000, 60, 60, 60, 60))
    assert net.device.queues[0].ownership.assigned == Side.USER
    net.driver.post(100, 1024, first=8)
    merged(net, (60000, 60), 40)
    assert net.device.queues[0].ownership.assigned == Side.KERNEL and net.device.state.queue[0].entry.handled


def test_merged_reset(merging, offload):
    """After a reset nothing is written to the buffers of before (2.4)."""
    net = merging(offload)
    net.driver.post(200, 1024)
    wait_for(lambda: net.device.queues[0].uring.outstanding)
    net.driver.registers.write("status", 0)
    uring = net.device.queues[0].uring
    assert uring.flying == 0 and uring.receive.first == uring.receive.end and uring.receive.bytes == 0
    net.driver.memory.write(net.driver.RECEIVE, bytes(200 * 1024))
    net.peer.send(HEAD + frame(b"old"))
    time.sleep(0.05)
    assert not any(net.driver.memory.read(net.driver.RECEIVE, 200 * 1024))
    net.driver.start()
    net.driver.post(200, 1024)
    assert net.driver.received(1, length=1024)[0][12:] == frame(b"old")


def test_larger_than_any_packet(net):
    """Whichever half has it, it is dropped and counted, and the next one goes out."""
    most = LARGEST_PACKET - HEADER_BYTES
    net.driver.send(frame(b"").ljust(most + 1, b"x"))
    net.driver.send(frame(b"next"))
    assert net.sent(1) == [HEAD + frame(b"next")]
    assert net.device.state.dropped.failed == 1


def test_shorter_than_a_header(net):
    """No frame: it is dropped and counted, and the next one goes out."""
    net.driver.send(b"x" * 13)
    net.driver.send(frame(b"next"))
    assert net.sent(1) == [HEAD + frame(b"next")]
    assert net.device.state.dropped.failed == 1


def test_too_small_without_merging(net_of, mode_of_device):
    """5.1.6.3.1: such a buffer takes what fits it; a larger packet is dropped, the buffer is not."""
    net = net_of(mode_of_device)
    net.driver.post(4, length=256)
    for size in (600, 60):
        net.peer.send(HEAD + frame(b"x" * size))
    assert [len(p) for p in net.driver.received(1, length=256)] == [HEADER_BYTES + 14 + 60]


@pytest.mark.parametrize("features", [FEATURES, FEATURES | RING_PACKED], ids=["split", "packed"])
def test_toggle_loses_nothing(net_of, offload, features):
    """Receive buffers and packets under way survive every change of hands."""
    net = net_of(offload, features=features)
    net.driver.post(16)
    ring, expected = net.driver.rings[0], 0
    for i in range(40):
        net.peer.send(HEAD + frame(struct.pack("<I", i)))
        net.machine.set_offload(net.device, ("off", offload)[i % 2])
        for packet in net.driver.received(1):
            assert packet[26:30] == struct.pack("<I", expected)
            expected += 1
        net.driver.post(1, first=net.driver.taken[0])
    assert expected == 40 and len(ring.take()) == 0


def test_rings_are_made_with_the_lock(net_of, offload, monkeypatch):
    """As the thread that receives for userspace may be filling the buffers that were kept, and both
    count the same tags."""
    held = []
    for name in ("start", "stop"):
        method = getattr(Uring, name)
        monkeypatch.setattr(Uring, name, lambda uring, *arguments, method=method: (
            held.append(net.device.lock._is_owned() if net else True), method(uring, *arguments))[1])
    net = None
    net = net_of(offload)
    for mode in ("off", offload, "off"):
        net.machine.set_offload(net.device, mode)
    assert len(held) >= 6 and all(held)


def test_reset_with_reads_in_flight(net_of, offload):
    """After a reset nothing is written to the buffers of before (2.4)."""
    net = net_of(offload)
    net.driver.post(8)
    deadline = time.monotonic() + 5
    while not net.device.queues[0].uring.outstanding and time.monotonic() < deadline:
        time.sleep(0.001)
    net.driver.registers.write("status", 0)
    assert net.device.queues[0].uring.flying == 0
    net.driver.memory.write(net.driver.RECEIVE, bytes(8 * 2048))
    net.peer.send(HEAD + frame(b"old"))
    time.sleep(0.05)
    assert not any(net.driver.memory.read(net.driver.RECEIVE, 8 * 2048))
    net.driver.start()
    net.driver.post(8)
    assert net.driver.received(1)[0][12:] == frame(b"old")


def test_link(net):
    net.driver.post(8)
    net.driver.send(frame())
    net.sent()
    before = net.device.page.config_generation
    net.device.set_link(False)
    assert net.device.config.status == 0 and net.device.page.config_generation != before
    net.driver.send(frame(b"lost"))
    assert net.dropped() == {"link_down": 1}
    net.peer.send(HEAD + frame(b"lost"))
    time.sleep(0.1)
    net.device.set_link(True)
    net.peer.send(HEAD + frame(b"found"))
    net.driver.send(frame(b"sent"))
    assert net.sent() == [HEAD + frame(b"sent")]
    assert net.driver.received(1)[0][12:] == frame(b"found")


def test_anti_spoofing(net_of, mode_of_device):
    net = net_of(mode_of_device, anti_spoof=True)
    other = frame(b"spoofed", source=b"\2\0\0\0\0\2")
    net.driver.send(frame(b"1"), other, frame(b"2"))
    assert net.sent(2) == [HEAD + frame(b"1"), HEAD + frame(b"2")]
    assert net.dropped() == {"spoofed": 1} and len(net.driver.rings[1].take()) == 3
    net.driver.send(other, cut=20)      # the address in the second buffer, from its 6th byte
    net.nothing_more()
    assert net.dropped() == {"spoofed": 2}


def test_anti_spoofing_sends_what_it_looked_at(net_of, offload):
    """The driver changes the address between check and use: the packet goes with the checked one."""
    net = net_of(offload, anti_spoof=True)
    stop, at = threading.Event(), net.driver.SEND + 12 + 6

    def change():
        while not stop.is_set():
            net.driver.memory.write(at, b"\xbb" * 6)
            net.driver.memory.write(at, MAC_ADDRESS)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            before = sum(net.dropped().values())
            net.driver.send(frame())
            if sum(net.dropped().values()) == before:
                assert net.sent()[0][18:24] == MAC_ADDRESS
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("limit", [{"packets_per_s": 1}, {"bytes_per_s": 60}])
def test_limits(net_of, mode_of_device, limit):
    """As much in every mode: the burst, and then what the rate allows."""
    net = net_of(mode_of_device, **limit)
    for _ in range(6):
        net.driver.send(frame())
    passed = 6 - net.dropped().get("limited", 0)
    net.device.state.meter.packets_ns = net.device.state.meter.bytes_ns = 0     # nothing was sent for long
    net.driver.send(frame())
    assert (passed, 7 - net.dropped().get("limited", 0) - passed) == (1, 1)


def test_limits_hold_for_several_queues_at_once():
    """Queues that ask at the same moment do not go free (vmm/native/shared.c has the handler's meter)."""
    due = ffi.new("uint64_t *")
    at, cost, now, burst = int(ffi.cast("uintptr_t", due)), 1000, 1 << 40, 1_000_000
    passed, start = [], threading.Barrier(4)

    def ask():
        start.wait()
        passed.append(sum(lib.meter(at, cost, now, burst) for _ in range(50_000)))
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < sum(passed) <= burst // cost and due[0] <= now + burst


def test_what_is_more_than_a_burst_goes_when_nothing_is_due():
    due = ffi.new("uint64_t *", 5)
    at = int(ffi.cast("uintptr_t", due))
    assert lib.meter(at, 1000, 100, 10) and due[0] == 1100
    assert not lib.meter(at, 1000, 1099, 10) and due[0] == 1100
    assert lib.meter(at, 1000, 1100, 10)


def test_a_command_of_gigabytes_takes_no_memory(net):
    """A few descriptors that name the same memory again and again."""
    driver, ring = net.driver, net.driver.rings[2]
    table, parts = 0x300000, [(0x400000, 2 << 20, 0)] * 700 + [(driver.SEND, 1, WRITE)]
    for i, (address, length, flags) in enumerate(parts):
        last = i == len(parts) - 1
        ring.put(i, address, length, flags | (0 if last else NEXT), 0 if last else i + 1, table)
    ring.request([(table, 16 * len(parts), INDIRECT)])
    tracemalloc.start()
    ring.ring()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ring.take() == [(0, 1)] and driver.memory.read(driver.SEND, 1) == b"\x01" and peak < 4 << 20


@pytest.mark.parametrize("first", ["off", "itself"])
def test_driver_ok_cleared_then_switched(net_of, offload, first):
    """No driver may clear a bit of the status (2.1.1); its queues are userspace's then."""
    net = net_of(offload)
    net.driver.post(4)
    net.driver.registers.write("status", ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert all(queue.ownership.held_by_user() for queue in net.device.queues)
    for to in (offload if first == "itself" else "off", "off", offload):
        net.machine.set_offload(net.device, to)
    net.driver.make_ready()
    net.peer.send(HEAD + frame())
    assert net.driver.received(1)[0][12:] == frame()


def test_control(net):
    command = net.driver.command
    assert command(ControlClass.RX, 0, b"\0") == 0              # no longer promiscuous
    assert command(ControlClass.MAC, 0, struct.pack("<I6sI6s", 1, b"\2\0\0\0\0\5", 1, b"\1\0\x5e\0\0\1")) == 0
    assert command(ControlClass.MAC, 1, b"\2\0\0\0\0\7") == 0
    assert bytes(net.device.config.mac) == b"\2\0\0\0\0\7"
    assert command(ControlClass.VLAN, 0, b"\5\0") == 0 and command(ControlClass.VLAN, 0, b"\xff\xff") == 1
    assert command(ControlClass.MAC, 0, struct.pack("<I", 1 << 30)) == 1
    assert command(ControlClass.MQ, 0, b"\1\0") == 1            # not negotiated
    assert command(77, 0) == 1
    assert net.declined(2) == (set() if net.mode == "off" else {"CONTROL"})


@pytest.mark.parametrize(("without", "kind", "command", "data"), [
    (0, ControlClass.RX, 5, b"\1"), (CTRL_RX, ControlClass.MAC, 0, bytes(8))], ids=["NOBCAST", "MAC_TABLE_SET"])
def test_commands_that_were_not_negotiated(net_of, without, kind, command, data):
    """5.1.6.5.1.2, 5.1.6.5.2.2: NOBCAST is of CTRL_RX_EXTRA, which is not offered, MAC_TABLE_SET of CTRL_RX."""
    net = net_of("off", features=FEATURES & ~without)
    assert net.driver.command(kind, command, data) == 1


def test_filters(net_of):
    """What the driver does not want to hear, in the Python half; the kernel half, like vhost, leaves
    it to the driver, as 5.1.6.5.1 lets it."""
    net = net_of("off")
    net.driver.post(16)
    net.driver.command(ControlClass.RX, 0, b"\0")
    net.driver.command(ControlClass.VLAN, 0, b"\5\0")
    tagged = [MAC_ADDRESS * 2 + b"\x81\0" + bytes([0, vlan]) + b"\x08\0" + b"." * 46 for vlan in (5, 6)]
    for packet in (frame(b"other", to=b"\2\0\0\0\0\x09"), frame(b"mine", to=MAC_ADDRESS), *tagged[::-1], frame(b"all")):
        net.peer.send(HEAD + packet)
    assert [p[12:] for p in net.driver.received(3)] == [frame(b"mine", to=MAC_ADDRESS), tagged[0], frame(b"all")]


def test_announce(net):
    net.device.announce()
    assert net.device.config.status == 3
    assert net.driver.command(ControlClass.ANNOUNCE, 0) == 0 and net.device.config.status == 1
    assert net.driver.command(ControlClass.ANNOUNCE, 0) == 1


def test_several_pairs(net_of, mode_of_device):
    net = net_of(mode_of_device, features=FEATURES | MQ, pairs=3)
    assert net.device.config.max_virtqueue_pairs == 3
    assert net.driver.command(ControlClass.MQ, 0, b"\3\0") == 0
    assert net.driver.command(ControlClass.MQ, 0, b"\4\0") == 1
    for pair, peer in enumerate(net.peers):
        net.driver.post(8, pair=pair)
        net.driver.send(frame(bytes([pair])), pair=pair)
        assert peer.recv(2000) == HEAD + frame(bytes([pair]))
        peer.send(HEAD + frame(bytes([pair])))
        assert net.driver.received(1, pair=pair)[0][12:] == frame(bytes([pair]))


@pytest.mark.parametrize("features", [MAC | CTRL_RX, GUEST_CSUM | GUEST_ECN, CSUM | HOST_ECN], ids=hex)
def test_features_that_need_others(net_of, features):
    """5.1.3.1: a driver that accepts a bit without what it needs is refused."""
    net = net_of("off", offloads=True)
    registers = net.driver.registers
    registers.write("status", 0)
    registers.write("status", 3)
    for window, bits in ((0, features), (1, 1)):
        registers.write("driver_features_sel", window)
        registers.write("driver_features", bits)
    registers.write("status", 11)
    assert not registers.read("status") & 8


@pytest.mark.parametrize(("wanted", "answer"), [
    (GUEST_CSUM, 0), (GUEST_CSUM | GUEST_TSO4 | GUEST_ECN, 0), (GUEST_CSUM | GUEST_ECN, 1), (GUEST_TSO4, 1),
    (GUEST_CSUM | MAC, 1)], ids=lambda value: f"{value:#x}")
def test_offloads_that_need_others(net_of, wanted, answer):
    """Those that a TAP does not take (drivers/net/tun.c: set_offload) are answered with an error; the backend is not
    asked, as its refusal would end the machine."""
    features = FEATURES | GUEST_CSUM | GUEST_TSO4 | GUEST_ECN | GUEST_OFFLOADS
    net, asked = net_of("off", features=features, offloads=True), []
    net.device.backend.set_offload = lambda *offloads: asked.append(offloads)
    assert net.driver.command(ControlClass.GUEST_OFFLOADS, 0, wanted.to_bytes(8, "little")) == answer
    assert len(asked) == 1 - answer


@pytest.mark.parametrize("direction", ["send", "receive"])
def test_wrong_direction(net, direction):
    """Buffers that go the wrong way break the queue, whoever looks."""
    ring = net.driver.rings[1 if direction == "send" else 0]
    ring.request([(net.driver.SEND, 2000, WRITE if direction == "send" else 0)])
    ring.ring()
    net.peer.send(HEAD + frame())
    deadline = time.monotonic() + 5
    while not net.driver.needs_reset and time.monotonic() < deadline:
        time.sleep(0.001)
    assert net.driver.needs_reset


@pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])
def test_interrupts_are_suppressed(net_of, mode_of_device, interrupts, packed):
    """Event index: one interrupt where the driver asked for one, whoever served."""
    net = net_of(mode_of_device, features=FEATURES | EVENT_IDX | packed)
    ring = net.driver.rings[1]
    ring.set_event(ring.AT_DESCRIPTOR, 3) if packed else ring.set_used_event(3)
    for expected in (0, 0, 0, 1, 1, 1):
        net.driver.send(frame())
        net.sent()
        ring.take()
        wait_for(lambda expected=expected: interrupts(net.machine) >= expected)
        assert interrupts(net.machine) == expected
    time.sleep(0.05)
    assert interrupts(net.machine) == 1


def test_interrupt_that_the_ring_has_yet_to_raise(net_of, monkeypatch):
    """When the offload is switched, the line is let go of before the ring comes to it."""
    pulses, net = [], net_of("host")
    net.device.queues[1].uring.wiring.raises = 1
    monkeypatch.setattr(Interrupts, "pulse", lambda self, pin: pulses.append(pin))
    net.machine.set_offload(net.device, "off")
    assert len(pulses) == 1


@pytest.mark.parametrize("packed", [0, RING_PACKED], ids=["split", "packed"])
def test_no_interrupt_flag(net_of, mode_of_device, interrupts, packed):
    """Without event indexes, whoever served: the handler asks the flag."""
    net = net_of(mode_of_device, features=FEATURES | packed)
    for unwanted, expected in ((True, 0), (False, 1), (True, 1)):
        net.driver.rings[1].set_no_interrupt(unwanted)
        net.driver.send(frame())
        net.sent()
        wait_for(lambda expected=expected: interrupts(net.machine) >= expected)
        time.sleep(0.02)
        assert interrupts(net.machine) == expected


def test_interrupt_that_the_ring_has_no_space_for(net_of, interrupts):
    """Userspace is told, and raises it."""
    net, before = net_of("host"), 0
    queue, uring = net.device.queues[1], net.device.queues[1].uring
    with pytest.raises(BlockingIOError):
        while True:
            net.device.backend.sockets[0].send(b"full", socket.MSG_DONTWAIT)
            before += 1
    net.driver.memory.write(net.driver.SEND, HEAD + frame())
    net.driver.rings[1].request([(net.driver.SEND, len(HEAD + frame()), 0)])
    net.driver.registers.write("queue_notify", 1)
    assert uring.outstanding == 1
    spare = PAGE - 4            # a word of the ring's page that says: of these entries none was taken
    ffi.cast("uint32_t *", uring.address + spare)[0] = uring.flight.tail - ENTRIES & 0xffffffff
    uring.wiring.sq_head, uring.wiring.raises = spare, 1
    net.sent(before + 1)
    wait_for(lambda: net.driver.rings[1].used_index() == 1 and not uring.flying)
    wait_for(lambda: interrupts(net.machine) == 1)
    assert queue.state.entry.declined[net.device.layout.reasons.BUSY] == 1


def test_gone_backend(net_of, mode_of_device):
    """The other end is closed: sending fails, nothing is stuck, the card can be reset."""
    net = net_of(mode_of_device)
    net.peer.close()
    net.driver.send(frame(), frame())
    assert net.dropped() == {"failed": 2} and len(net.driver.rings[1].take()) == 2
    net.driver.start()


PIECES = st.lists(st.integers(1, 700), min_size=1, max_size=6)


def sent_in_pieces(net, packets):
    """What comes of packets that are cut like this: all that can be seen of it."""
    driver, ring, at = net.driver, net.driver.rings[1], net.driver.SEND
    driver.start()
    ring, before = driver.rings[1], net.dropped()
    for pieces in packets:
        total = sum(pieces)
        driver.memory.write(at, (HEAD + frame(bytes(i % 251 for i in range(total))))[:total])
        parts = []
        for size in pieces:
            parts.append((at, size, 0))
            at += size
        ring.chain(parts)
        ring.offer(0)
        ring.ring()
    net.peer.setblocking(False)
    got = []
    try:
        while True:
            got.append(net.peer.recv(70000))
    except BlockingIOError:
        pass
    dropped = {name: count - before.get(name, 0) for name, count in net.dropped().items()}
    return got, ring.take(), driver.needs_reset, {name: count for name, count in dropped.items() if count}


def test_equal_halves(net_of, offload):
    """However packets are cut, both halves send the same, or break alike."""
    nets = [net_of(mode) for mode in ("off", offload)]

    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(packets=st.lists(PIECES, min_size=1, max_size=8))
    def equal(packets):
        user, kernel = (sent_in_pieces(net, packets) for net in nets)
        assert user == kernel
    equal()
    assert nets[1].device.state.queue[1].entry.handled > 20     # the handler was really asked
