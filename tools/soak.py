"""A disk and a network card of one guest under load for a while, with everything checked.

    python -m tools.soak [--minutes 5] [--modes on]

The guest writes, reads back and flushes its disk and compares every piece; the host sends it
datagrams and compares what comes back.  Ends with 0 if no request and no packet was lost or
changed, the disk holds what it should, and memory stayed flat.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import threading
from pathlib import Path

from tools import netguest
from vmm.bench import net
from vmm.errors import UserError
from vmm.machine.config import DiskConfig

SAMPLE_S = 5
FLAT_KIB = 4096     # that resident memory may grow by after the first sample


def resident_kib() -> int:
    """Resident memory of this process that is its own (proc(5): RssAnon)."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def tap_dropped() -> int:
    """Packets that the interface would not queue for the guest."""
    from pyroute2 import IPRoute
    with IPRoute() as route:
        attributes = dict(route.get_links(ifname=net.TAP)[0]["attrs"])
        return attributes["IFLA_STATS64"]["tx_dropped"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--modes", default="on", help="offload of the card; several are gone round")
    options = parser.parse_args()
    samples, drops, stop = [], [0], threading.Event()

    def sample():
        while not stop.wait(SAMPLE_S):
            samples.append(resident_kib())
            drops[0] = tap_dropped()
    with tempfile.TemporaryDirectory(prefix="splitvmm-soak-") as folder:
        image = Path(folder) / "disk"
        image.write_bytes(os.urandom(16 << 20))
        modes = options.modes.split(",")
        disk = DiskConfig(image, offload=modes[0], asynchronous="on")
        watcher = threading.Thread(target=sample)
        try:
            net.enter_namespace()
            watcher.start()
            got = netguest.run(modes, 100, 0, 60 * options.minutes, disks=[disk], cmdline="ring=3 wait=poll")
        except UserError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
        finally:
            stop.set()
    requests = int(re.search(r"requests=(\d+)", got["said"])[1])
    grown = max(samples[1:] or [0]) - samples[1] if len(samples) > 1 else 0
    print(f"soak: {options.minutes:g} min, offload {options.modes}: {got['sent']} datagrams sent, {got['back']} back, "
          f"{drops[0]} not taken by the TAP; {requests} disk requests, all checked; {got['exits']} accesses left to "
          f"Python; memory {samples[:1]} to {samples[-1:]} KiB, grown by {grown}; {got['switches']} changes of hands")
    print(f"soak: net {got['totals']}")
    good = got["status"] == 0 and got["back"] + drops[0] >= got["sent"] and grown <= FLAT_KIB
    return 0 if good and got["answered"] == got["pings"] else 1


if __name__ == "__main__":
    sys.exit(main())
