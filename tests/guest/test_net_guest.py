"""A guest on the network: the host's own ping and UDP are its clients, in a namespace that ends with
the test."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.matrix import words
from tests.scale import scaled

HEADERS_BYTES = 12 + 14 + 20 + 8        # virtio-net, Ethernet, IP and UDP, before a datagram's data
ROOT = Path(__file__).parent.parent.parent


def netguest(modes, *options):
    done = subprocess.run([sys.executable, "-m", "tools.netguest", modes, *options], cwd=ROOT,
                          capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_answers(kvm, network, ring, mode):
    got = netguest(mode)
    assert got["status"] == 0 and got["answered"] == got["pings"] and got["back"] == got["sent"] == 2000
    totals = got["totals"]
    if mode == "off":
        assert totals["handled"] == 0 and totals["user_handled"] >= 4100
    else:
        assert totals["handled"] >= 4100 and totals["user_handled"] == 0
        assert set(totals["declined"]) <= {"ring_asleep"}


@pytest.mark.parametrize("transport, packed, event", [("mmio", True, False), ("pci", True, True)],
                         ids=["mmio-packed-flags", "pci-packed-event"])
def test_answers_by_other_ways(kvm, network, ring, mode, transport, packed, event):
    got = netguest(mode, "--transport", transport, *(["--packed"] if packed else []), "--pings", "20",
                   "--datagrams", "300", "--cmdline", f"wait=interrupt {words(transport, packed, event)}")
    assert got["status"] == 0 and got["answered"] == got["pings"] and got["back"] == got["sent"] == 300
    assert bool(got["totals"]["handled"]) == (mode != "off")


@pytest.mark.parametrize("packet, card, cmdline", [
    (1404, ["--transport", "pci", "--packed"], "transport=pci packed=1 event=1 merge=1 buffer=256"),
    (60000, ["--mtu", "65521"], "event=1 merge=2 buffer=2048")], ids=["1500-in-256", "64K-in-2K"])
def test_packets_that_fill_several_buffers(kvm, network, ring, mode, packet, card, cmdline):
    """Received into as many as they need, and sent back from those."""
    got = netguest(mode, *card, "--bytes", str(packet), "--pings", "20", "--datagrams", "200", "--cmdline",
                   f"wait=interrupt {cmdline}")
    assert got["status"] == 0 and got["answered"] == got["pings"] and got["back"] == got["sent"] == 200
    size = int(re.search(r"buffer=(\d+)", cmdline)[1])
    assert int(re.search(r"most=(\d+)", got["said"])[1]) == -(-(packet + HEADERS_BYTES) // size)
    assert bool(got["totals"]["handled"]) == (mode != "off")


@pytest.mark.parametrize("modes", ["on,off", "on,host", "host,off", "on,host,off,host"])
def test_toggles(kvm, bpf, network, ring, modes):
    """No packet is lost, changed or doubled while the card changes hands."""
    got = netguest(modes, "--switches", str(scaled(20)))
    assert got["status"] == 0 and got["answered"] == got["pings"] and got["back"] == got["sent"]
    assert got["switches"] >= scaled(20) and got["totals"]["handled"]
    assert got["totals"]["user_handled"] or "off" not in modes


def test_several_pairs(kvm, network, ring, mode):
    """A guest that uses one pair of three; the others are there for the asking."""
    got = netguest(mode, "--queues", "3", "--datagrams", "300")
    assert got["status"] == 0 and got["answered"] == got["pings"] and got["back"] == got["sent"]


def test_auto(kvm, network):
    got = netguest("auto", "--datagrams", "300")
    assert got["status"] == 0 and got["back"] == got["sent"]


INTERFACE = """
from pyroute2 import IPRoute
from vmm.devices.net_backend import Tap
tap = Tap("t0", mtu=9000)
with IPRoute() as route:
    found = route.get_links(ifname="t0")[0]
    print(tap.mtu, found.get_attr("IFLA_MTU"), found["state"], Tap("t1").mtu)
"""


def test_interface_is_set_up(network):
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", INTERFACE], capture_output=True, text=True,
                          cwd=ROOT)
    assert done.stdout.split() == ["9000", "9000", "up", "1500"], done.stderr


@pytest.mark.parametrize("net, said", [
    ("mac=02:00:00:00:00:01", "one of tap=NAME"), ("tap=,mac=02:00:00:00:00:01", "a name of 1 to 15"),
    ("tap=a-name-that-is-too-long", "a name of 1 to 15"), ("tap=t0,mac=03:00:00:00:00:01", "the first one even"),
    ("fd=0", "an open TAP"), ("socket=/nowhere/at/all", "UNIX datagram socket"), ("tap=t0,queues=9", "1 to 8"),
    ("tap=t0,mtu=1", "68 to 65521"), ("tap=t0,colour=red", "unknown key 'colour'"), ("tap=lo", "wanted")])
def test_mistakes(kvm, network, net, said):
    done = subprocess.run(["unshare", "--net", Path(sys.executable).parent / "splitvmm", "run", ROOT / "build/net.elf",
                           "--net", net], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == os.EX_USAGE and said in done.stderr and "Traceback" not in done.stderr
