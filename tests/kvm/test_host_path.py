"""One exit path for all VMs of a host, as long as there is any.  Each test has a generation of its own, or it would
share what other tests run on."""

import itertools
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import pytest

from tests import waiting
from vmm.kvm import host_path
from vmm.kvm.bpf import BpfUnavailable, binding
from vmm.kvm.host_path import ATTACHED, HostPath

wait_for = partial(waiting.wait_for, timeout_s=20)
NUMBERS = itertools.count()

MEMBER = """
import sys
from vmm.kvm import host_path
host_path._generation = lambda: bytes.fromhex(sys.argv[1])
path = host_path.HostPath()
path._joined = bool(place := path._object.run("host_join"))
print(place - 1, flush=True)
sys.stdin.read()
path.close()
"""
GUEST = """
import sys
from pathlib import Path
from vmm.kvm import host_path
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD
host_path._generation = lambda: bytes.fromhex(sys.argv[1])
image = Path(sys.argv[2])
image.write_bytes(bytes(64 << 20))
with Machine(MachineConfig(BUILD / "check.elf", 64 << 20, disks=[DiskConfig(image, offload="on")],
                           serial=f"file={image}.serial")) as machine:
    print("made", flush=True)
    sys.stdin.readline()
    print(machine.run(60), machine.devices[0].state.queue[0].entry.handled, flush=True)
"""


@pytest.fixture
def generation(bpf):
    """Nobody else's, in hexadecimal; what is of it is gone in the end."""
    found = (os.getpid() << 16 | next(NUMBERS)).to_bytes(8, "little").hex()
    yield found
    wait_for(lambda: not links(found))


def links(generation):
    """How many programs at KVM's MMIO are of that generation, of all processes."""
    count = 0
    for program in host_path._attached("host_mmio"):
        with host_path._Descriptors() as maps:
            host_path._open_maps(program, maps)
            said = binding()[0].new("char[8]")
            constants = next((fd for name, fd in maps.items() if name.endswith(host_path.CONSTANTS)), -1)
            count += not binding()[1].bpf_map_lookup_elem(constants, bytes(4), said) and \
                bytes(binding()[0].buffer(said)).hex() == generation
    return count


@contextmanager
def process(script, *arguments):
    with subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def ended(member):
    member.kill()
    member.wait()


def test_it_is_shared_and_goes_with_the_last(generation):
    with process(MEMBER, generation) as first, process(MEMBER, generation) as second:
        assert {first.stdout.readline(), second.stdout.readline()} <= {"0\n", "1\n"}
        made = links(generation)        # 2, where neither could find the other's
        with process(MEMBER, generation) as third:
            assert third.stdout.readline() in ("1\n", "2\n") and links(generation) == made
        ended(first)
        ended(second)
    wait_for(lambda: not links(generation))


def test_who_made_it_is_killed(generation, tmp_path, kvm):
    """A VM that came later goes on, its doorbells handled."""
    with process(MEMBER, generation) as maker:
        assert maker.stdout.readline() == "0\n"
        with process(GUEST, generation, tmp_path / "image") as guest:
            assert guest.stdout.readline() == "made\n" and links(generation) == 1
            ended(maker)
            assert links(generation) == 1
            guest.stdin.write("\n")
            guest.stdin.flush()
            status, handled = guest.stdout.readline().split()
            assert status == "0" and int(handled) > 100


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_place_is_given_back(generation, how):
    with process(MEMBER, generation) as keeps:
        assert keeps.stdout.readline() == "0\n"
        with process(MEMBER, generation) as first:
            assert first.stdout.readline() == "1\n"
            first.kill() if how == "killed" else first.stdin.close()
            first.wait()
        with process(MEMBER, generation) as second:
            assert second.stdout.readline() == "1\n"


def test_two_generations(generation, tmp_path, kvm):
    """Each VM is on its own."""
    other = generation[:-2] + "ff"
    with process(MEMBER, other) as stranger:
        assert stranger.stdout.readline() == "0\n"
        with process(GUEST, generation, tmp_path / "image") as guest:
            assert guest.stdout.readline() == "made\n" and (links(generation), links(other)) == (1, 1)
            guest.stdin.write("\n")
            guest.stdin.flush()
            assert guest.stdout.readline().split()[0] == "0"


def test_one_place_in_a_process(generation, monkeypatch):
    monkeypatch.setattr(host_path, "_generation", lambda: bytes.fromhex(generation))
    first, second = HostPath(), HostPath()
    try:
        assert first._object.run("host_join") == 1 and links(generation) == 1
        with pytest.raises(BpfUnavailable, match="no place; wanted less than 1024 VMs"):
            second.join(first._object)
    finally:
        assert first._object.run("host_leave") == 0
        first.close()
        second.close()


def test_no_place_is_left_after_a_failure(generation, monkeypatch):
    """The dispatcher lacks what is called."""
    monkeypatch.setattr(host_path, "_generation", lambda: bytes.fromhex(generation))
    path = HostPath()
    with pytest.raises(BpfUnavailable, match="no program on_mmio"):
        path.join(path._object)
    path.close()
    again = HostPath()
    assert again._object.run("host_join") == 1
    assert again._object.run("host_leave") == 0
    again.close()


def test_a_tracepoint_that_is_not_there(generation, monkeypatch):
    monkeypatch.setattr(host_path, "_generation", lambda: bytes.fromhex(generation))
    monkeypatch.setitem(ATTACHED, "host_pio", "kvm_none")
    with pytest.raises(BpfUnavailable, match="attaching host_pio to kvm_none: No such file or directory; wanted"):
        HostPath()
