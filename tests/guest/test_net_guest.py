"""A guest on the network: the host's own ping and UDP are its clients, in a namespace that ends with
the test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scale import scaled

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


@pytest.mark.parametrize("modes", ["on,off", "on,host", "host,off", "on,host,off,host"])
def test_toggles(kvm, bpf, network, ring, modes):
    """No packet is lost, changed or doubled while the card changes hands."""
    got = netguest(modes, "--switches", str(scaled(20)))
    assert got["status"] == 0 and got["answered"] == got["pings"] and got["back"] == got["sent"]
    assert got["switches"] >= scaled(20) and got["totals"]["handled"] and (got["totals"]["user_handled"] or "off" not in modes)


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
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", INTERFACE], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["9000", "9000", "up", "1500"], done.stderr


@pytest.mark.parametrize("net, said", [
    ("mac=02:00:00:00:00:01", "one of tap=NAME"), ("tap=,mac=02:00:00:00:00:01", "a name of 1 to 15"),
    ("tap=a-name-that-is-too-long", "a name of 1 to 15"), ("tap=t0,mac=03:00:00:00:00:01", "the first one even"),
    ("fd=0", "an open TAP"), ("socket=/nowhere/at/all", "UNIX datagram socket"), ("tap=t0,queues=9", "1 to 8"),
    ("tap=t0,mtu=1", "68 to 65521"), ("tap=t0,colour=red", "unknown key 'colour'"), ("tap=lo", "wanted")])
def test_mistakes(kvm, network, net, said):
    done = subprocess.run(["unshare", "--net", Path(sys.executable).parent / "splitvmm", "run", ROOT / "build/net.elf",
                           "--net", net], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
