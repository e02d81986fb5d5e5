"""Many requests and several devices at once, in guests that only their interrupts keep going."""

import fcntl
import re
import socket
import struct
import threading

import pytest

from tests.guest.hang import ended
from tests.guest.matrix import COMBINATIONS, words
from tests.guest.test_guests import run
from vmm.devices.net_backend import Socket
from vmm.machine.config import ConsoleConfig, DiskConfig, MachineConfig, NicConfig, RngConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD

HANG_S = 60
PIECE, CHECKED, SALT = 4096, 512, 0x9e3779b97f4a7c15     # as many_disk.c has them; bytes


def assert_written(image, slots: int, last_write: int) -> None:
    """The disk holds what every slot wrote in its last step that wrote."""
    data = image.read_bytes()
    for i in range(slots):
        for at in range(0, PIECE, CHECKED):
            wanted = ((last_write + 1) * 256 + i) * SALT + at // 8 & 2**64 - 1
            assert int.from_bytes(data[i * PIECE + at:i * PIECE + at + 8], "little") == wanted, (i, at)


class Peer(threading.Thread):
    """Sends back what it gets, until its socket is shut."""

    def __init__(self, its: socket.socket):
        super().__init__()
        self._its = its
        self.start()

    def run(self):
        while data := self._its.recv(1 << 16):
            self._its.sendall(data)

    def close(self):
        self._its.shutdown(socket.SHUT_RDWR)
        self.join()
        self._its.close()


@pytest.fixture
def card():
    """A network card's backend, whose peer sends every frame back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer = Peer(theirs)
    yield Socket(connected=[ours])
    peer.close()


@pytest.fixture
def line(tmp_path):
    """Where a console may lead to, and be echoed."""
    path, peers = tmp_path / "line", []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        accepting = threading.Thread(target=lambda: peers.append(Peer(listener.accept()[0])))
        accepting.start()
        yield f"socket={path}"
        accepting.join()
        for peer in peers:
            peer.close()


KVM_IRQ_LINE = 0x4008ae61    # linux/kvm.h


def test_edge_of_a_pin_that_is_high(tmp_path, mode, image):
    """As when another thread that raises the pin too has been preempted before it lowers it, and the guest
    has taken its interrupt."""
    output = tmp_path / "serial"
    config = MachineConfig(BUILD / "many.elf", 64 << 20, cmdline="depth=1 steps=1", serial=f"file={output}",
                           disks=[DiskConfig(image, offload=mode)])
    with Machine(config) as machine:
        fcntl.ioctl(machine.vm.fd, KVM_IRQ_LINE, struct.pack("II", machine.devices[0].line().gsi, 1))
        machine.start()
        assert ended(machine, HANG_S, output.read_text) == 0


def counts(text: str) -> dict[str, list[dict[str, int]]]:
    """What each worker reported, by kind."""
    found: dict[str, list[dict[str, int]]] = {}
    for kind, rest in re.findall(r"^many: (\w+) (sent=.*)$", text, re.MULTILINE):
        found.setdefault(kind, []).append({key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)})
    return found


@COMBINATIONS
def test_all_devices_at_once(tmp_path, mode, ring, image, card, line, transport, packed, event):
    second = tmp_path / "second"
    second.write_bytes(image.read_bytes())
    how = {"offload": mode, "transport": transport, "packed": packed}
    status, text, totals = run(
        tmp_path, "many.elf", [DiskConfig(image, **how), DiskConfig(second, **how)],
        f"depth=16 steps=12 frames=50 bytes=1000 {words(transport, packed, event)}",
        nets=[NicConfig(backend=card, **how)], consoles=[ConsoleConfig(line, **how)], rng=RngConfig(**how))
    assert status == 0 and "passed" in text, text
    said = counts(text)
    assert [each["received"] for each in said["disk"]] == [8 * 12 + 8 * 10] * 2
    assert said["card"][0]["received"] == 50 and said["rng"][0]["received"] == 50
    assert said["console"][0]["received"] == said["console"][0]["sent"] >= 1000
    assert all(bool(each["handled"]) == (mode != "off") for each in totals)


@pytest.mark.parametrize("transport, packed, event, depth", [("mmio", False, True, 128), ("pci", True, False, 256)],
                         ids=["mmio-split-128", "pci-packed-256"])
def test_deep_queue(tmp_path, mode, ring, image, transport, packed, event, depth):
    """More requests in flight than the submission ring (64) and the tags (128) can take, reads, writes and
    flushes mixed."""
    disk = DiskConfig(image, offload=mode, transport=transport, packed=packed)
    status, text, (totals,) = run(tmp_path, "many.elf", [disk],
                                  f"depth={depth} steps=12 {words(transport, packed, event)}")
    assert status == 0 and "passed" in text, text
    assert counts(text)["disk"][0]["received"] == depth // 2 * 12 + depth // 2 * 10
    assert_written(image, depth, last_write=9)
    assert bool(totals["handled"]) == (mode != "off")
