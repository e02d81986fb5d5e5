"""What one visit of the BPF handler may do (kernel_devices/serving.h): the rest is for further visits, or
for userspace.  How long a visit was is printed, and not judged: the host may have been busy."""

import re
import struct
import subprocess
from time import monotonic, sleep

import pytest

from tools.driver import INDIRECT, WRITE, BlkDriver
from vmm.devmodel.devices.blk import SECTOR, RequestType
from vmm.devmodel.exit_path import CHUNK
from vmm.devmodel.layout import PAGE
from vmm.paths import ROOT

IN = RequestType.IN
READS, BUFFERS = 128, 126
HEADERS, STATUSES, TABLES, DATA = 0x200000, 0x210000, 0x240000, 0x800000    # guest-physical


@pytest.fixture(params=["on", "off"], ids=["ring", "no ring"])
def driver_of(request, ring, machine_of):
    def make(path):
        machine = machine_of(path, "on", 64 << 20, asynchronous=request.param)
        return BlkDriver(machine, machine.devices[0], size=256)
    return make


def queue_reads(driver, reads):
    """Make reads available: (sector, buffers as (address, length)) each; no doorbell."""
    ring = driver.rings[0]
    for i, (sector, buffers) in enumerate(reads):
        table, header, status = TABLES + 0x1000 * i, HEADERS + 16 * i, STATUSES + i
        driver.memory.write(header, struct.pack("<IIQ", IN, 0, sector))
        driver.memory.write(status, b"\xff")
        parts = [(header, 16, 0), *((at, length, WRITE) for at, length in buffers), (status, 1, WRITE)]
        ring.chain(parts, table=table)
        ring.put(i, table, 16 * len(parts), INDIRECT)
        ring.offer(i)


def all_done(driver, count, length):
    ring, deadline = driver.rings[0], monotonic() + 60
    while ring.used_index() != count:
        assert monotonic() < deadline, f"{ring.used_index()} of {count}"
        sleep(0.001)
    ring.settle()
    assert sorted(ring.take()) == [(i, length + 1) for i in range(count)]
    assert driver.memory.read(STATUSES, count) == bytes(count)


def told(driver):
    entry = driver.device.state.queue[0].entry
    print(f"longest visit {entry.longest_ns} ns, {entry.handled} requests in {entry.doorbells} doorbells")
    return entry


def test_the_budget_is_as_documented():
    source = (ROOT / "kernel_devices/platform_bpf.h").read_text()
    assert re.search(r"BUDGET_BYTES = CHUNK\b", source)


def test_reads_that_end_in_a_page_that_is_not_mapped(tmp_path, driver_of):
    """What was copied of them in vain counts, too."""
    path, length, count = tmp_path / "large", 128 << 10, 8
    path.write_bytes(bytes(range(256)) * (length * count // 256))
    driver = driver_of(path)
    missing = [length * (i + 1) - PAGE for i in range(count)]
    for at in missing:      # out of the page cache, and from whoever has it mapped
        subprocess.run(["fallocate", "--punch-hole", "--offset", str(at), "--length", str(PAGE), path], check=True)
    queue_reads(driver, [(length // SECTOR * i, [(DATA + length * i, length)]) for i in range(count)])
    with driver.machine.vm.held_back():
        driver.registers.write("queue_notify", 0)
        assert length - PAGE <= driver.machine.last_visit(driver.device, "copied") <= CHUNK
    all_done(driver, count, length)
    wanted = bytearray(bytes(range(256)) * (length * count // 256))
    for at in missing:
        wanted[at:at + PAGE] = bytes(PAGE)
    assert driver.memory.read(DATA, len(wanted)) == wanted
    told(driver)


def test_many_buffers_in_one_doorbell(image, driver_of):
    """More than a visit's time and bytes are enough for: all complete, in several."""
    driver = driver_of(image)
    length = BUFFERS * SECTOR
    reads = [(i, [(DATA + length * i + SECTOR * n, SECTOR) for n in range(BUFFERS)]) for i in range(READS)]
    queue_reads(driver, reads)
    driver.registers.write("queue_notify", 0)
    all_done(driver, READS, length)
    data = image.read_bytes()
    for i in range(READS):
        assert driver.memory.read(DATA + length * i, length) == data[SECTOR * i:SECTOR * i + length]
    entry, user = told(driver), driver.device.state.queue[0].user
    assert entry.handled + user.handled == READS and entry.handled
    if driver.device.queues[0].uring.ready:
        assert user.handled == 0
    else:
        assert entry.declined[driver.device.layout.reasons.BUDGET] >= 1
