"""One exit path for all VMs of a host, as long as there is any.  Each test has a generation of its own, or it would
share what other tests run on."""

import itertools
import os
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from functools import partial

import pytest

from tests import waiting
from vmm.devmodel.exit_path import VMS
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
print(path._place, flush=True)
sys.stdin.read()
path.close()
"""
EXECUTES = """
import os, sys
from vmm.kvm import host_path
host_path._generation = lambda: bytes.fromhex(sys.argv[1])
print(host_path.HostPath()._place, flush=True)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1]])
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


def entries(path):
    """Keys of all programs that its VMs have there."""
    array, value = path._object.map("host_entries"), binding()[0].new("uint32_t *")
    return {key for key in range(3 * VMS)
            if not binding()[1].bpf_map_lookup_elem(array, key.to_bytes(4, "little"), value)}


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
        assert (first._place, second._place) == (0, -1) and links(generation) == 1
        with pytest.raises(BpfUnavailable, match="no place; wanted less than 1024 VMs"):
            second.join(first._object)
        first.close()
        with pytest.raises(BpfUnavailable, match="no program on_mmio"):      # there is a place now
            second.join(second._object)
        assert second._place == 0
    finally:
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
    assert again._place == 0
    again.close()


def test_one_that_nobody_is_in(generation, monkeypatch):
    """It may be ending: the kernel may have yet to empty its array of programs."""
    monkeypatch.setattr(host_path, "_generation", lambda: bytes.fromhex(generation))
    left = HostPath()
    left._leave()
    with closing(HostPath()) as other:
        assert other._place == 0 and links(generation) == 2
    left.close()


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_programs_of_a_place(generation, monkeypatch, tmp_path, kvm, how):
    """Those of a VM that has closed are gone, and with them its maps; those of one that was killed until the next one
    has the place."""
    monkeypatch.setattr(host_path, "_generation", lambda: bytes.fromhex(generation))
    with closing(HostPath()) as keeps:
        with process(GUEST, generation, tmp_path / "image") as guest:
            assert guest.stdout.readline() == "made\n" and entries(keeps) == {3, 4, 5}
            if how == "killed":
                ended(guest)
            else:
                guest.communicate("\n")
        assert entries(keeps) == (set() if how == "closed" else {3, 4, 5})
        with process(GUEST, generation, tmp_path / "image") as guest:
            assert guest.stdout.readline() == "made\n" and entries(keeps) == {3, 4, 5}
            guest.communicate("\n")
        assert entries(keeps) == set()


def test_a_process_that_is_forked_from_a_vm(generation, monkeypatch):
    """It closes what it has of the VM, whose place stays as it is."""
    monkeypatch.setattr(host_path, "_generation", lambda: bytes.fromhex(generation))
    with closing(HostPath()) as path:
        value = path._object.program("host_leave").to_bytes(4, "little")
        assert not path._object.lib.bpf_map_update_elem(path._object.map("host_entries"), bytes(4), value, 0)
        child = os.fork()
        if not child:
            with suppress(Exception):
                path.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert entries(path) == {0}
        path.listen(False)      # it has a place


def test_another_program_in_the_process(generation):
    """It has no place, and may take one."""
    with process(MEMBER, generation) as keeps:
        assert keeps.stdout.readline() == "0\n"
        with process(EXECUTES, generation, MEMBER) as again:
            assert again.stdout.readline() == "1\n" and again.stdout.readline() == "1\n"


def test_a_tracepoint_that_is_not_there(generation, monkeypatch):
    monkeypatch.setattr(host_path, "_generation", lambda: bytes.fromhex(generation))
    monkeypatch.setitem(ATTACHED, "host_pio", "kvm_none")
    with pytest.raises(BpfUnavailable, match="attaching host_pio to kvm_none: No such file or directory; wanted"):
        HostPath()
