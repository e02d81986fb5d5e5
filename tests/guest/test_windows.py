"""Guests on handlers that were built with the windows of their races held open: what is a matter of
nanoseconds otherwise takes some microseconds."""

import os
import subprocess
import sys

import pytest

from tests.guest.test_guests import run
from tests.scale import scaled
from vmm.machine.config import DiskConfig
from vmm.paths import BUILD, ROOT

WIDE, WIDEST = ROOT / "build" / "wide", ROOT / "build" / "widest"
FLUSHES = 200


@pytest.mark.alone      # two vCPUs and two polling threads
def test_flushes(tmp_path, kvm, bpf, ring, image):
    """No interrupt is lost while another device's messages are injected on another CPU."""
    other = tmp_path / "other"
    other.write_bytes(image.read_bytes())
    status, text, (totals, _) = run(tmp_path, "flushes.elf", [DiskConfig(image, offload="on"),
                                                              DiskConfig(other, offload="on")],
                                    f"count={scaled(FLUSHES)}", cpus=2)
    assert status == 0 and "passed" in text, text
    assert totals["handled"] + totals["user_handled"] == scaled(FLUSHES)


@pytest.mark.alone      # the same, of handlers that keep their CPU busy
@pytest.mark.parametrize("built, tests", [(WIDEST, "test_windows.py -k test_flushes"), (WIDE, "test_many.py -k on"),
                                          (WIDE, "test_guests.py -k vcpus")], ids=["flushes", "many", "vcpus"])
def test_with_open_windows(built, tests, kvm, bpf, ring):
    if BUILD in (WIDE, WIDEST):
        pytest.skip("these are the tests that run there")
    assert (built / "blk.bpf.o").exists(), f"{built} is missing; wanted `make wide`"
    path, *rest = tests.split()
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/guest/{path}",
                           *rest], cwd=ROOT, env={**os.environ, "SPLITVMM_BUILD": str(built)}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
