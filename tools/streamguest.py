"""A guest that sends numbered packets, and a host that checks every byte of each (guests/stream.c).

    python -m tools.streamguest MODE[,MODE...] [--packets N] [--disk]

With several modes the offload of card and disk goes round them meanwhile.  Prints one line of JSON: how many packets
came, and how they were served.  A packet that is changed, doubled, lost or cut ends it with an error.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import tempfile
import threading
from pathlib import Path

from tools.netguest import toggle
from vmm.bench import net
from vmm.errors import UserError
from vmm.machine.config import DiskConfig, MachineConfig, NicConfig
from vmm.machine.machine import Machine
from vmm.machine.stats import device_totals
from vmm.paths import BUILD

TYPE = 0x88b5           # of the frames: IEEE 802's for experiments
FIXED, STEP, OFFSETS, TABLE = 22, 7, 2048, 4096     # as in guests/stream.c; FIXED without the virtio header
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6      # asm/socket.h, linux/if_packet.h
BUFFER_BYTES = 256 << 20
TIMEOUT_S = 120         # of a hang


def _table() -> bytes:
    value, table = 1, bytearray()
    for _ in range(TABLE):
        value = value * 1103515245 + 12345 & 0xffffffff
        table.append(value >> 16 & 0xff)
    return bytes(table)


class Peer:
    """Takes what the guest sends, on a thread: each packet's number once, and every byte as it was sent."""

    def __init__(self):
        self.came, self.wrong, self._table = set(), "", _table()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TYPE))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._socket.bind((net.TAP, TYPE))
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self.wrong:
            try:
                self.wrong = self._check(self._socket.recv(65536))
            except TimeoutError:
                if self._ended.is_set():
                    return

    def _check(self, frame: bytes) -> str:
        """What is wrong with it, or ""."""
        if len(frame) < FIXED:
            return f"a frame of {len(frame)} bytes; wanted {FIXED} at least"
        number, length = struct.unpack_from("<II", frame, FIXED - 8)
        at, size = number * STEP % OFFSETS, len(frame) - FIXED
        if length - 12 != len(frame) or frame[FIXED:] != self._table[at:at + size]:
            return f"packet {number} came changed: {len(frame)} bytes of {length - 12}, {frame.hex()}"
        if number in self.came:
            return f"packet {number} came twice"
        self.came.add(number)
        return ""

    def close(self) -> set[int]:
        """No more come; which did."""
        self._ended.set()
        self._thread.join()
        _, self._dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._socket.close()
        return self.came

    def end(self, sent: int) -> None:
        """The guest has sent so many.  Raises UserError."""
        self.close()
        dropped = self._dropped
        if dropped:
            raise UserError(f"the host had no room for {dropped} packets; wanted it to have")
        lost = set(range(sent)) - self.came
        if self.wrong or lost or len(self.came) != sent:
            raise UserError(f"{self.wrong or f'{len(lost)} packets were lost, {min(lost, default=-1)} the first'}")


def run(modes: list[str], packets: int, disk: Path | None) -> dict:
    """One guest's life; this process has a network namespace of its own already."""
    with tempfile.NamedTemporaryFile() as output:
        wait = "poll" if disk else "interrupt"
        config = MachineConfig(BUILD / "stream.elf", 64 << 20, cmdline=f"wait={wait} packets={packets}",
                               disks=[DiskConfig(disk, offload=modes[0])] if disk else [],
                               nets=[NicConfig(net.TAP, mac=net.GUEST_MAC, offload=modes[0])],
                               serial=f"file={output.name}")
        with Machine(config) as machine:
            peer, stop, switches = Peer(), threading.Event(), []
            machine.start()
            devices = [device for device in machine.devices if device.name.startswith(("net", "disk"))]
            toggler = threading.Thread(target=toggle, args=(machine, devices, modes, stop, switches))
            toggler.start()
            try:
                status = machine.wait(TIMEOUT_S)
            except TimeoutError:
                status = 1
            stop.set()
            toggler.join()
            said = Path(output.name).read_text()
            if status:
                raise UserError(f"status {status} after {len(peer.close())} packets; the guest said {said!r}")
            peer.end(packets)
            return {"modes": modes, "status": status, "said": said, "came": len(peer.came), "switches": len(switches),
                    "totals": device_totals(next(d for d in machine.devices if d.name.startswith("net")))}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("modes")
    parser.add_argument("--packets", type=int, default=1000)
    parser.add_argument("--disk", action="store_true", help="keep a disk busy meanwhile")
    options = parser.parse_args()
    try:
        net.enter_namespace()
        with tempfile.NamedTemporaryFile() as image:
            image.truncate(16 << 20)
            disk = Path(image.name) if options.disk else None
            print(json.dumps(run(options.modes.split(","), options.packets, disk)))
    except UserError as error:
        print(f"streamguest: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
