"""Guests under KVM, in all three modes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from tests.guest.hang import ended
from tests.scale import scaled
from vmm.devices.blk import BlkDevice
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.machine.stats import device_totals
from vmm.paths import BUILD
from vmm.virtqueue.uring import why_not

TIMEOUT_S = 120     # of a hang
UNTIL = 0x20000     # guest-physical; where a guest looks whether to go on
SPLITVMM = Path(sys.executable).parent / "splitvmm"


def run(tmp_path, guest, disks=(), cmdline="", memory=64 << 20, cpus=1, during=None, **more):
    """Run a guest; returns its status, what it printed, and the totals of its disks."""
    output = tmp_path / "serial"
    if why_not() == "":         # also where `auto` would rather not
        for disk in disks:
            disk.asynchronous = "on"
    config = MachineConfig(BUILD / guest, memory, cpus, cmdline, list(disks), serial=f"file={output}", **more)
    with Machine(config) as machine:
        machine.start()
        if during:
            during(machine)
        status = ended(machine, TIMEOUT_S, output.read_text)
        totals = [device_totals(device) for device in machine.devices]
    return status, output.read_text(), totals


def adler_in(text):
    return [int(value) for value in re.findall(r"adler=(\d+)", text)]


def expected_area(sectors):
    """What check.c leaves behind (salt 0)."""
    return b"".join(((n * 64 + i) * 0x9e3779b97f4a7c15 & 2**64 - 1).to_bytes(8, "little")
                    for n in range(sectors) for i in range(64))


def test_check(tmp_path, mode, image):
    """Every request, cut in every way; the host agrees on what the disk holds."""
    status, text, (totals,) = run(tmp_path, "check.elf", [DiskConfig(image, offload=mode, queues=3)],
                                  "rounds=20")
    assert status == 0, text
    assert "passed" in text and "id=disk0" in text
    assert image.read_bytes() == expected_area(4096)
    assert adler_in(text) == [zlib.adler32(image.read_bytes())]
    assert bool(totals["handled"]) == (mode != "off")
    assert totals["user_handled"]


@pytest.mark.parametrize("transport, packed", [("mmio", True), ("pci", False), ("pci", True)],
                         ids=["mmio-packed", "pci-split", "pci-packed"])
def test_check_by_other_ways(tmp_path, mode, image, transport, packed):
    """The same by PCI, and with packed rings; each with the event index and without it."""
    disk = DiskConfig(image, offload=mode, queues=3, transport=transport, packed=packed)
    status, text, (totals,) = run(tmp_path, "check.elf", [disk],
                                  f"rounds=6 transport={transport} packed={int(packed)}")
    assert status == 0 and "passed" in text, text
    assert image.read_bytes() == expected_area(4096)
    assert adler_in(text) == [zlib.adler32(image.read_bytes())]
    assert bool(totals["handled"]) == (mode != "off")


def test_a_sleeping_ring_is_woken(tmp_path, kvm, bpf, ring, image):
    """By the time that the guest has started, the thread that polls has gone to sleep: the doorbell
    that finds it so goes up, and nothing else does."""
    status, _, (totals,) = run(tmp_path, "measure.elf", [DiskConfig(image, offload="on")], "op=write batches=32")
    assert status == 0 and totals["declined"]["ring_asleep"] >= 1 and set(totals["declined"]) == {"ring_asleep"}
    assert totals["user_handled"] == 0


def test_modes_end_in_the_same_state(tmp_path, kvm, bpf, image):
    """The same requests, off, host and on: the same bytes on the disk, the same answers."""
    before, seen = image.read_bytes(), set()
    for mode in ("off", "host", "on"):
        image.write_bytes(before)
        status, text, _ = run(tmp_path, "check.elf", [DiskConfig(image, offload=mode)],
                              "rounds=10 area=100 area_sectors=1000")
        assert status == 0, text
        seen.add((text, zlib.crc32(image.read_bytes())))
    assert len(seen) == 1


def test_several_disks_each_in_its_own_mode(tmp_path, kvm, bpf, image):
    second, third = tmp_path / "second", tmp_path / "third"
    for path in (second, third):
        path.write_bytes(image.read_bytes())
    disks = [DiskConfig(image, offload="on"), DiskConfig(second, offload="off", serial="plain"),
             DiskConfig(third, offload="on", read_only=True, queues=2)]
    status, text, totals = run(tmp_path, "check.elf", disks, "rounds=5")
    assert status == 0, text
    assert adler_in(text) == [zlib.adler32(path.read_bytes()) for path in (image, second, third)]
    assert "id=plain" in text
    assert totals[0]["handled"] and not totals[1]["handled"] and totals[2]["handled"]


def test_memory_of_several_map_elements(tmp_path, mode, image):
    """Buffers across the border of two elements, which the handler declines."""
    status, text, (totals,) = run(tmp_path, "check.elf", [DiskConfig(image, offload=mode)],
                                  "rounds=10 buffers=0x1fffe000", memory=768 << 20)
    assert status == 0, text
    if mode != "off":
        assert totals["declined"]["straddles"] > 0 and totals["handled"] > 0


def test_two_vcpus_at_one_queue(tmp_path, mode, image):
    status, text, (totals,) = run(tmp_path, "twocpus.elf", [DiskConfig(image, offload=mode, queues=2)],
                                  "requests=400", cpus=2)
    assert status == 0 and "passed" in text
    assert totals["handled"] + totals["user_handled"] >= 400


@pytest.mark.parametrize("cpus", [2, 5])
def test_second_vcpu_before_anything_else(tmp_path, kvm, cpus):
    """INIT and STARTUP are the first that a kernel does with its APIC, which firmware has switched on."""
    assert run(tmp_path, "smp.elf", cpus=cpus)[:2] == (0, "smp: passed\n")


def test_apics_as_firmware_leaves_them(kvm):
    """The first one in virtual wire mode: the 8259s on LINT0, the NMI on LINT1, switched on."""
    with Machine(MachineConfig(memory=4 << 20, cpus=2, serial="null")) as machine:
        found = [[int.from_bytes(vcpu.ffi.buffer(vcpu.get_lapic())[at:at + 4], "little")
                  for at in (0xf0, 0x350, 0x360)] for vcpu in machine.vcpus]
    assert found == [[0x1ff, 0x700, 0x400], [0xff, 0x10000, 0x10000]]


def test_resets_race_with_doorbells(tmp_path, mode, image):
    status, text, _ = run(tmp_path, "twocpus.elf", [DiskConfig(image, offload=mode, queues=2)],
                          f"requests=10 restarts={scaled(100)}", cpus=2)
    assert status == 0 and "passed" in text, text


def test_hostile(tmp_path, mode, image):
    """What breaks a rule ends the same way in every mode."""
    status, text, _ = run(tmp_path, "hostile.elf", [DiskConfig(image, offload=mode)])
    assert status == 0 and "hostile: passed" in text, text


@pytest.mark.parametrize("to", ["off", "host"])
def test_toggle_under_load(tmp_path, kvm, bpf, image, to):
    """Hundreds of switches while two vCPUs read and check every answer."""
    switches, wanted = [], scaled(300)

    def toggle(machine):
        device = machine.devices[0]
        while len(switches) < wanted and machine.status is None:
            machine.set_offload(device, to if device.mode == "on" else "on")
            switches.append(device.mode)
            time.sleep(0.0005)      # for some requests to be served that way
        machine.set_offload(device, "on")
        machine.memory.write(UNTIL, b"\1\0\0\0")
    status, text, (totals,) = run(tmp_path, "twocpus.elf", [DiskConfig(image, offload="on", queues=2)],
                                  f"requests={scaled(1000)} until={UNTIL:#x}", cpus=2, during=toggle)
    assert status == 0 and "passed" in text, text
    assert len(switches) == wanted
    assert totals["handled"] and (totals["user_handled"] or to == "host")


def test_first_offload_while_the_guest_runs(tmp_path, kvm, bpf, image, monkeypatch):
    """A disk that `auto` left to Python goes into the kernel under the guest's feet."""
    monkeypatch.setattr(BlkDevice, "handlers", tmp_path)    # nothing built there

    def turn_on(machine):
        device = machine.devices[0]
        monkeypatch.undo()
        assert device.mode == "off" and not machine.bpf.attached
        time.sleep(0.02)
        machine.set_offload(device, "on")
        time.sleep(0.1)
        machine.memory.write(UNTIL, b"\1\0\0\0")
    status, text, (totals,) = run(tmp_path, "twocpus.elf",
                                  [DiskConfig(image, offload="auto", queues=2)],
                                  f"requests=50 until={UNTIL:#x}", cpus=2, during=turn_on)
    assert status == 0 and "passed" in text
    assert totals["doorbells"] and totals["handled"]


def test_toggle_under_all_kinds_of_requests(tmp_path, kvm, bpf, image):
    stop = threading.Event()
    switches = []

    def toggle(machine):
        def switch():
            while not stop.is_set() and machine.status is None:
                for mode in ("off", "on", "host", "on"):
                    machine.set_offload(machine.devices[0], mode)
                    switches.append(mode)
                    time.sleep(0.001)
        thread = threading.Thread(target=switch)
        thread.start()
        machine.wait(TIMEOUT_S)
        stop.set()
        thread.join()
    status, text, _ = run(tmp_path, "check.elf", [DiskConfig(image, offload="on", queues=2)], f"rounds={scaled(40)}",
                          during=toggle)
    assert status == 0, text
    assert image.read_bytes() == expected_area(4096) and len(switches) >= scaled(10)


def test_interrupts_without_and_with_the_python_half(tmp_path, mode, image):
    """Requests that are waited for by halting."""
    status, text, _ = run(tmp_path, "measure.elf", [DiskConfig(image, offload=mode)],
                          "bytes=512 batches=200 wait=interrupt")
    assert status == 0 and int(re.search(r"interrupts=(\d+)", text)[1]) >= 200


@pytest.mark.parametrize("what", ["op=read", "op=write"])
def test_interrupts_by_an_8259(tmp_path, mode, image, what):
    """A kernel that knows of no I/O APIC: its pins stay masked there."""
    status, text, _ = run(tmp_path, "measure.elf", [DiskConfig(image, offload=mode)],
                          f"{what} bytes=512 batches=5 wait=interrupt chip=8259")
    assert status == 0 and int(re.search(r"interrupts=(\d+)", text)[1]) >= 5


def test_no_exit_for_cached_reads(tmp_path, kvm, bpf, image):
    status, _, (totals,) = run(tmp_path, "measure.elf", [DiskConfig(image, offload="on")], "batches=2000")
    assert status == 0
    assert totals["handled"] >= 0.99 * (totals["handled"] + totals["user_handled"])


def test_long_mode(tmp_path, kvm):
    assert run(tmp_path, "long_mode.elf", cmdline="long", memory=4 << 20)[0] == 5


def test_real_mode(tmp_path, kvm):
    assert run(tmp_path, "real_mode.bin", memory=1 << 20, flat=0x7c00)[:2] == (7, "real\n")


def test_no_disk(tmp_path, kvm):
    status, text, _ = run(tmp_path, "check.elf")
    assert status == 1 and "disks: found 0x0" in text


def cli(*arguments, **options):
    return subprocess.run([SPLITVMM, *map(str, arguments)], capture_output=True, text=True,
                          timeout=TIMEOUT_S, **options)


def test_triple_fault_prints_the_vcpu(kvm):
    done = cli("run", BUILD / "broken.elf", "--mem", "2M")
    assert done.returncode == os.EX_SOFTWARE and "triple fault" in done.stderr and "rip 0x" in done.stderr
    assert "Traceback" not in done.stderr


def test_exit_status_and_stats(kvm, image):
    done = cli("run", BUILD / "check.elf", "--mem", "64M", "--disk", f"path={image}", "--cmdline", "rounds=1",
               "--stats")
    assert done.returncode == 0 and "passed" in done.stdout
    assert "disk0" in done.stderr and "offload" in done.stderr


def test_serial_port_both_ways(kvm):
    done = cli("run", BUILD / "echo.elf", "--mem", "2M", "--serial", "stdio", input="there and back\n")
    assert (done.returncode, done.stdout) == (3, "there and back\n")


def test_access_that_nobody_claims(kvm):
    """Reads all ones, is logged once, and does no harm."""
    done = cli("run", BUILD / "exits.elf", "--mem", "4M", "--cmdline", "count=5 read=0xe8000000")
    assert done.returncode == 0 and done.stderr.count("no device claims") == 1


def test_auto_without_the_right_to_bpf(kvm, bpf, image):
    """Root without CAP_BPF: the handler runs in the process instead, and it is said why."""
    if not shutil.which("setpriv") or os.getuid() != 0:
        pytest.skip("needs root and setpriv")
    drop = ["setpriv", "--bounding-set", "-bpf,-sys_admin,-perfmon", "--inh-caps", "-all", "--"]
    done = subprocess.run([*drop, SPLITVMM, "run", BUILD / "check.elf", "--mem", "64M", "--cmdline", "rounds=1",
                           "--disk", f"path={image}"], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert "offload host" in done.stderr
    assert "CAP_BPF" in done.stderr or len(os.sched_getaffinity(0)) == 1    # where host is preferred anyway


def programs() -> set[str]:
    """Ids of loaded BPF programs."""
    done = subprocess.run(["bpftool", "prog", "show"], capture_output=True, text=True)
    return set(re.findall(r"^(\d+):", done.stdout, re.MULTILINE))


def programs_of(pid: int) -> set[str]:
    """Those that a process has open, or attached."""
    found: set[str] = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):     # it was closed meanwhile
            found.update(re.findall(r"^prog_id:\s+(\d+)", info.read_text(), re.MULTILINE))
    return found


@pytest.mark.parametrize("more", ["", ",async=on,poll=on,idle_us=1000000"], ids=["rung", "polled"])
def test_a_crash_leaves_nothing_attached(kvm, bpf, image, more):
    child = subprocess.Popen([SPLITVMM, "run", BUILD / "measure.elf", "--mem", "64M", "--cmdline",
                              "batches=10000000 notify=event", "--disk", f"path={image},offload=on{more}"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not programs_of(child.pid) and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(1)           # for the guest to be busy
        left = programs_of(child.pid)
        assert left <= programs()
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert left
    deadline = time.monotonic() + 10
    while left & programs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left & programs()


def test_kvm_that_may_not_be_opened(kvm, tmp_path):
    if os.getuid() != 0 or os.stat("/dev/kvm").st_mode & 0o006:
        pytest.skip("needs to become a user who may not")
    from vmm.kvm.vm import KvmError, open_kvm
    said = tmp_path / "said"
    said.touch()
    with open(said, "w") as file:
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                open_kvm()
            except KvmError as error:
                file.write(str(error))
                file.flush()
            os._exit(0)
    os.waitpid(child, 0)
    assert "permission denied" in said.read_text() and "group" in said.read_text()
