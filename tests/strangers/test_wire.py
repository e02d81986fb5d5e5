"""What the other end of a card's wire sends: packets of any length and content, behind headers of any kind."""

import socket
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.driver import INDIRECT_DESC, RING_PACKED, NetDriver
from vmm.devices.net_backend import Socket
from vmm.devices.net_features import CSUM, GUEST_CSUM, GUEST_TSO4, MRG_RXBUF
from vmm.devmodel.devices.net import ETHER_BYTES, HEADER_BYTES, LARGEST_PACKET
from vmm.machine.config import MachineConfig, NicConfig
from vmm.testing.bpf_run import machine_without_vcpus

MAC = bytes.fromhex("020000000001")
NUM_BUFFERS = slice(10, 12)
BUFFER, BUFFERS = 2048, 256         # bytes of a receive buffer, and how many there are
USUAL = HEADER_BYTES + ETHER_BYTES + 4 + 1500   # the largest packet, in bytes, where segmentation was not negotiated
SETTINGS = {"plain": INDIRECT_DESC, "packed": INDIRECT_DESC | RING_PACKED,
            "merged": INDIRECT_DESC | MRG_RXBUF | CSUM | GUEST_CSUM | GUEST_TSO4}
EDGES = [each + more for each in (0, HEADER_BYTES, HEADER_BYTES + ETHER_BYTES, USUAL, BUFFER, LARGEST_PACKET)
         for more in (-1, 0, 1) if each + more >= 0]
LAST = bytes(HEADER_BYTES) + b"\xff" * 6 + b"the last one".ljust(60, b".")
packets = st.lists(st.tuples(st.one_of(st.sampled_from(EDGES), st.integers(0, 300)),
                             st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES), st.integers(0, 255)), max_size=5)


class Wire:
    """A card that receives into many buffers, and the other end of its wire."""

    def __init__(self, mode: str, features: int):
        ours, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        backend = Socket(connected=[ours])
        backend.offloads = True
        self.machine = machine_without_vcpus(MachineConfig(memory=16 << 20, serial="null", kvm=False, nets=[
            NicConfig(backend=backend, mac=MAC, offload=mode, packed=True)]))
        self.driver = NetDriver(self.machine, self.machine.devices[0], features=features, size=BUFFERS)
        self.most = self.machine.devices[0].state.port.receive_bytes

    def again(self) -> None:
        self.driver.start()
        self.driver.post(BUFFERS, BUFFER)

    def received(self) -> list[bytes]:
        """All packets up to the last one."""
        found: list[bytes] = []
        while not found or found[-1][HEADER_BYTES:] != LAST[HEADER_BYTES:]:
            found += self.driver.received(1, BUFFER)
        return found

    def close(self) -> None:
        self.machine.close()
        self.peer.close()


@pytest.mark.parametrize("kind", SETTINGS)
def test_packets_that_may_arrive_do_and_others_do_not(ring, mode_of_device, kind, request):
    if mode_of_device == "on":
        request.getfixturevalue("bpf_run")

    @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(packets)
    def sent(given_packets):
        wire.again()
        wanted = []
        for length, header, byte in given_packets:
            packet = (header + b"\xff" * 6 + bytes([byte]) * length)[:length]
            wire.peer.send(packet)
            if HEADER_BYTES + ETHER_BYTES <= length <= wire.most:
                wanted.append(packet)
        wire.peer.send(LAST)
        found = wire.received()
        assert [each[HEADER_BYTES:] for each in found] == [each[HEADER_BYTES:] for each in [*wanted, LAST]]
        for each, was in zip(found, wanted):
            assert each[:10] == was[:10] and int.from_bytes(each[NUM_BUFFERS], "little") == max(
                1, -(-len(was) // BUFFER))
        assert not wire.driver.needs_reset
    with closing(Wire(mode_of_device, SETTINGS[kind])) as wire:
        assert wire.most == (LARGEST_PACKET if kind == "merged" else USUAL)
        sent()
