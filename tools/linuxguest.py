"""A Linux guest on a disk and a network card of ours, put to work while offload changes under it.

    python -m tools.linuxguest --kernel FILE --initrd FILE [--modes on,off,host] [--transport pci] ...

The guest's jobs are those of tools/nested/guestinit.  Prints one line of JSON: what it said, what
came back over the network, how it was served.  This process has a network namespace of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

from vmm.bench import net
from vmm.bench.linux import Iperf
from vmm.errors import UserError
from vmm.machine.config import ConsoleConfig, DiskConfig, MachineConfig, NicConfig, RngConfig
from vmm.machine.machine import Machine
from vmm.machine.stats import device_totals

TIMEOUT_S = 300
SEND_PORT, TAKE_PORT = 5001, 5002
SWITCH_S = {"off": 0.1, "host": 0.8, "on": 0.8}     # until the next change of hands


class Peer:
    """The host's end of the guest's transfers: a page of `count` bytes for the guest, and when that
    connects again, the same from its web server."""

    def __init__(self, count: int):
        self.data = random.Random(5).randbytes(1 << 20) * (count >> 20)
        self.sent, self.came = hashlib.md5(self.data).hexdigest(), ""
        self._listeners = [socket.create_server(("", port)) for port in (SEND_PORT, TAKE_PORT)]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._listeners[0].accept()[0] as client:
                client.recv(4096)       # the request
                client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.data))
                client.sendall(self.data)
            with self._listeners[1].accept()[0], urlopen(f"http://{net.GUEST_IP}/file") as page:
                found = hashlib.md5()
                while piece := page.read(1 << 20):
                    found.update(piece)
                self.came = found.hexdigest()
        except OSError as error:
            self.came = str(error)

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._thread.join(10)


class Toggler:
    """Takes devices through offload modes, one after the other, until it is closed."""

    def __init__(self, machine: Machine, modes: list[str]):
        self.switches, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, args=(machine, modes), daemon=True)
        if len(modes) > 1:
            self._thread.start()

    def _run(self, machine: Machine, modes: list[str]) -> None:
        mode = modes[0]
        while not self._stop.wait(SWITCH_S[mode]):
            mode = modes[(self.switches // len(machine.devices) + 1) % len(modes)]
            machine.set_offload(machine.devices[self.switches % len(machine.devices)], mode)
            self.switches += 1

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident:
            self._thread.join()


def converse(where: Path, lines: list[str]) -> list[str]:
    """Answer a guest's console on a socket: send lines, one after the other has come back.  What came
    back, as it comes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(where))
    listener.listen()
    heard: list[str] = []

    def run():
        peer, _ = listener.accept()
        with listener, peer, peer.makefile("rw") as file:
            while file.readline().strip() not in ("ready", ""):
                continue
            for line in lines:
                file.write(line + "\n")
                file.flush()
                if line != "end":
                    heard.append(file.readline().strip())
    threading.Thread(target=run, daemon=True).start()
    return heard


def run(options) -> dict:
    modes = options.modes.split(",")
    virtio = {"offload": modes[0], "transport": options.transport, "packed": options.packed,
              "asynchronous": options.asynchronous}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="splitvmm-linux-"))
        output, port = Path(folder) / "console", Path(folder) / "port"
        config = MachineConfig(Path(options.kernel), options.memory << 20, options.cpus,
                               f"console=ttyS0 quiet panic=-1 job={options.job} {options.append}",
                               modules=[Path(options.initrd)], serial=f"file={output}", announce=False)
        if options.disk:
            config.disks.append(DiskConfig(Path(options.disk), **virtio))
        if options.net:
            net.enter_namespace()
            if "iperf" in options.job:
                stack.enter_context(Iperf())
            config.nets.append(NicConfig(tap=net.TAP, mac=net.GUEST_MAC, **virtio))
        heard = []
        if "console" in options.job:
            heard = converse(port, [f"line {i}" for i in range(20)] + ["end"])
            config.consoles.append(ConsoleConfig(f"socket={port}", **virtio))
            config.rng = RngConfig(**virtio)
        started = time.monotonic()
        with Machine(config) as machine:
            peer = None
            if options.net:
                net.plug_in()
                peer = Peer(options.bytes)
            machine.start()
            toggler = Toggler(machine, modes)
            try:
                status = machine.wait(options.timeout)
            except TimeoutError as error:
                raise UserError(f"{error}; it said {output.read_text()[-2000:]!r}") from None
            finally:
                toggler.close()
                if peer:
                    peer.close()
            totals = {device.name: device_totals(device) for device in machine.devices}
            rebooted = machine.rebooted
        said = output.read_text()
        return {"status": status, "rebooted": rebooted, "said": said, "jobs": re.findall(r"guest: (.*)", said),
                "sent": peer.sent if peer else "", "came": peer.came if peer else "", "heard": heard,
                "switches": toggler.switches, "totals": totals, "seconds": round(time.monotonic() - started, 1),
                "exits": sum(thread.exits for thread in machine.threads)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--kernel", required=True, metavar="FILE")
    add("--initrd", required=True, metavar="FILE")
    add("--job", default="none", help="of the guest; several with commas")
    add("--append", default="", help="to the guest's command line")
    add("--modes", default="off", help="offload; several are gone round")
    add("--transport", default="mmio", choices=("mmio", "pci"))
    add("--packed", action="store_true", help="offer packed rings")
    add("--asynchronous", default="auto", choices=("auto", "on", "off"))
    add("--cpus", type=int, default=1)
    add("--memory", type=int, default=256, help="MiB")
    add("--disk", metavar="FILE")
    add("--net", action="store_true", help="a card, and the host behind it")
    add("--bytes", type=int, default=100 << 20, help="that go each way over the network")
    add("--timeout", type=float, default=TIMEOUT_S, help="seconds, for hangs")
    options = parser.parse_args()
    try:
        print(json.dumps(run(options)))
    except UserError as error:
        print(f"linuxguest: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
