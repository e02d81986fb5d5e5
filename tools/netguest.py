"""A guest that answers, and the host's own stack as its client, in a network namespace of their own.

    python -m tools.netguest MODE[,MODE...] [--pings N] [--datagrams N] [--seconds S] [--switches N] [--queues N]
                             [--transport mmio|pci] [--packed] [--mtu N] [--bytes N] [--executor NAME]
                             [--cmdline WORDS]

With several modes the card's offload goes round them while packets are under way.  Prints one
line of JSON: what was sent, what came back, how it was served.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vmm.bench import net
from vmm.errors import UserError
from vmm.machine.config import EXECUTORS, DiskConfig, ExecutorConfig, MachineConfig, NicConfig
from vmm.machine.machine import Machine
from vmm.machine.stats import device_totals
from vmm.paths import BUILD

WINDOW, WINDOW_BYTES = 32, 128 << 10     # datagrams under way, and what they hold at most


def ping(count: int) -> int:
    """How many of `count` echo requests were answered."""
    done = subprocess.run(["ping", "-q", "-c", str(count), "-i", "0.002", "-s", "200", "-W", "2", net.GUEST_IP],
                          capture_output=True, text=True)
    found = re.search(r"(\d+) received", done.stdout)
    if not found:
        raise UserError(f"ping: {done.stdout}{done.stderr}; wanted its summary")
    return int(found[1])


def echo(enough: Callable[[int], bool], largest: int = 1404) -> tuple[int, int]:
    """UDP datagrams of all sizes (up to `largest` bytes) to the guest and back, each checked, until
    `enough(sent)`: how many were sent, and came back."""
    chance, waiting, sent, back = random.Random(3), {}, 0, 0
    window = max(1, min(WINDOW, WINDOW_BYTES // largest))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((net.GUEST_IP, net.ECHO_PORT))
        client.settimeout(30)
        while waiting or not enough(sent):
            while len(waiting) < window and not enough(sent):
                data = sent.to_bytes(4, "little") + chance.randbytes(chance.choice((0, 18, 60, 500, largest - 4)))
                waiting[sent] = data
                client.send(data)
                sent += 1
            try:
                data = client.recv(1 << 16)
            except TimeoutError:
                break
            if waiting.pop(int.from_bytes(data[:4], "little"), None) != data:
                raise UserError("a datagram came back changed, or twice")
            back += 1
    return sent, back


def run(modes: list[str], pings: int, datagrams: int, seconds: float = 0, queues: int = 1, changes: int = 0,
        disks: list[DiskConfig] = (), cmdline: str = "wait=interrupt", largest: int = 1404, executor: str = "kvm",
        **card) -> dict:
    """One guest's life; this process has a network namespace of its own already.  `card`: more of its NicConfig."""
    with tempfile.NamedTemporaryFile() as output:
        nic = NicConfig(net.TAP, mac=net.GUEST_MAC, offload=modes[0], queues=queues, **card)
        config = MachineConfig(BUILD / "net.elf", 64 << 20, cmdline=f"op=echo ip=0x0a4d0002 {cmdline}",
                               disks=list(disks), nets=[nic], serial=f"file={output.name}",
                               executor=ExecutorConfig(executor))
        with Machine(config) as machine:
            device = next(d for d in machine.devices if d.name.startswith("net"))
            machine.start()
            net.plug_in()
            net.wait_ready(lambda: Path(output.name).read_text())
            stop, switches = threading.Event(), []
            toggler = threading.Thread(target=toggle, args=(machine, [device], modes, stop, switches))
            toggler.start()
            try:
                answered = ping(pings) if pings else 0
                until = time.monotonic() + seconds
                sent, back = echo(lambda sent: sent >= datagrams and time.monotonic() >= until
                                  and len(switches) >= changes, largest)
            finally:
                stop.set()
                toggler.join()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"", (net.GUEST_IP, net.END_PORT))
            status = machine.wait(30)
            totals = device_totals(device)
            return {"modes": modes, "status": status, "said": Path(output.name).read_text(), "pings": pings,
                    "answered": answered, "sent": sent, "back": back, "switches": len(switches),
                    "mode": device.mode, "choice": machine.choices[device.name], "totals": totals,
                    "exits": sum(thread.exits for thread in machine.threads)}


def toggle(machine, devices: list, modes: list[str], stop: threading.Event, switches: list) -> None:
    """Take each device's offload round `modes`, until told to stop."""
    while len(modes) > 1 and not stop.wait(0.02):
        mode = modes[(len(switches) + 1) % len(modes)]
        for device in devices:
            machine.set_offload(device, mode)
        switches.append(mode)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("modes")
    parser.add_argument("--pings", type=int, default=50)
    parser.add_argument("--datagrams", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--switches", type=int, default=0)
    parser.add_argument("--queues", type=int, default=1)
    parser.add_argument("--transport", default="mmio", choices=("mmio", "pci"))
    parser.add_argument("--packed", action="store_true", help="offer packed rings")
    parser.add_argument("--mtu", type=int)
    parser.add_argument("--bytes", type=int, default=1404, help="of the largest datagram")
    parser.add_argument("--executor", default="kvm", choices=EXECUTORS)
    parser.add_argument("--cmdline", default="wait=interrupt", help="the guest's, more of it")
    options = parser.parse_args()
    try:
        net.enter_namespace()
        print(json.dumps(run(options.modes.split(","), options.pings, options.datagrams, options.seconds,
                             options.queues, options.switches, cmdline=options.cmdline, largest=options.bytes,
                             executor=options.executor, transport=options.transport, packed=options.packed,
                             mtu=options.mtu)))
    except UserError as error:
        print(f"netguest: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
