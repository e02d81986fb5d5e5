"""virtio-pci as a driver finds it: configuration space, capabilities, a BAR that moves, MSI-X."""

import struct

import pytest

from tests.pci.config_space import BAR, COMMAND, DEVICE, MEMORY, ConfigSpace
from tools.driver import BlkDriver
from vmm.device.guestlog import MOST
from vmm.devmodel.devices.pci import VirtioCapabilityKind
from vmm.devmodel.exit_path import Bus
from vmm.devmodel.layout import PAGE
from vmm.kvm.addresses import ECAM, PCI_ADDRESS, PCI_DATA, PCI_HIGH, PCI_LOW
from vmm.machine.config import DiskConfig
from vmm.virtio.virtio_pci import DOORBELLS, ISR, NO_VECTOR, PENDING, TABLE

INTERRUPT_PIN = 0x3d


@pytest.fixture
def machine(mode_of_device, image, machine_of):
    return machine_of(image, mode_of_device, transport="pci", queues=2, packed=True)


@pytest.fixture(params=[False, True], ids=["ecam", "ports"])
def config(request, machine):
    return ConfigSpace(machine, ports=request.param)


def bar_read(machine, offset, width):
    return machine.guest_read(Bus.MMIO, machine.devices[0].place.base + offset, width)


def bar_write(machine, offset, width, value):
    return machine.guest_write(Bus.MMIO, machine.devices[0].place.base + offset, width, value)


def test_identity(config):
    assert (config.read(0), config.read(8)) == (0x1042 << 16 | 0x1af4, 0x01000001)     # a disk, modern
    assert config.read(0, 2) == 0x1af4 and config.read(2, 2) == 0x1042 and config.read(0x2e, 2) == 0x1042
    assert config.read(INTERRUPT_PIN, 1) == 0


def test_nobody_there(machine, config):
    for device in (2, 31):
        assert ConfigSpace(machine, device, config.ports).read(0) == 0xffffffff
    assert ConfigSpace(machine, 0, config.ports).read(0) == 0x0008 << 16 | 0x1b36
    assert machine.guest_read(Bus.MMIO, ECAM + (DEVICE << 15) + 0x1000, 4) == 0xffffffff       # function 1
    assert machine.guest_read(Bus.MMIO, ECAM + (DEVICE << 15) + 0x100, 4) == 0                 # no extended capability


def test_ports_that_are_not_enabled(machine):
    machine.guest_write(Bus.PORT, PCI_ADDRESS, 4, DEVICE << 11)
    assert machine.guest_read(Bus.PORT, PCI_DATA, 4) == 0xffffffff
    assert machine.guest_read(Bus.PORT, PCI_ADDRESS, 4) == DEVICE << 11


def test_sizing(config):
    """All ones read back as the size (PCI 3.0, 6.2.5.1)."""
    before = config.bar()
    config.write(COMMAND, 2, 0)
    config.write(BAR, 4, 0xffffffff)
    config.write(BAR + 4, 4, 0xffffffff)
    assert (config.read(BAR), config.read(BAR + 4)) == (-0x4000 & 0xfffffff0 | 4, 0xffffffff)
    config.move(before)
    config.write(COMMAND, 2, MEMORY)
    assert config.bar() == before and config.machine.devices[0].place.base == before


def test_capabilities(config):
    found = config.capabilities()
    assert [id_ for _, id_, _ in found] == [9, 9, 9, 9, 9, 0x11]
    places = {body[3]: struct.unpack_from("<BxxxII", body, 4) for _, id_, body in found if id_ == 9}
    kind = VirtioCapabilityKind
    assert places[kind.COMMON] == (0, 0, 0x3c) and places[kind.DEVICE][:2] == (0, 0x100)
    assert places[kind.NOTIFY] == (0, DOORBELLS, 0x2000) and places[kind.ISR] == (0, ISR, 1)
    notify = next(body for _, id_, body in found if id_ == 9 and body[3] == kind.NOTIFY)
    assert notify[2] == 20 and struct.unpack_from("<I", notify, 16)[0] == 0x1000
    msix = found[-1][2]
    assert struct.unpack_from("<HII", msix, 2) == (2, TABLE, PENDING)      # three vectors


def test_doorbell_of_no_queue(mode_of_device, image, machine_of):
    """A BAR may have more pages than its queues have doorbells (4.1.4.4)."""
    machine = machine_of(image, mode_of_device, transport="pci")
    driver, spare = BlkDriver(machine, machine.devices[0]), DOORBELLS + PAGE
    assert machine.devices[0].transport.function.bar_bytes == spare + PAGE
    driver.rings[0].request([(driver.HEADER, 16, 0)])       # which would break the queue
    driver.registers.write_at(spare, 2, 0)
    assert not driver.needs_reset
    driver.rings[0].ring()
    assert driver.needs_reset


@pytest.mark.parametrize("base", [PCI_LOW + 0x800000, PCI_HIGH, PCI_HIGH + (1 << 35)])
def test_moved(machine, config, base):
    driver = BlkDriver(machine, machine.devices[0])
    old = config.bar()
    config.move(base)
    assert machine.devices[0].place.base == base
    assert driver.read(9, 1)[:8] == (9).to_bytes(8, "little") and driver.read(10, 1, queue=1)[:1] == b"\x0a"
    assert machine.guest_read(Bus.MMIO, old, 4) == 0xffffffff
    handled = [machine.devices[0].state.queue[q].entry.handled for q in range(2)]
    assert handled == ([0, 0] if machine.devices[0].mode == "off" else [1, 1])


@pytest.mark.parametrize("base", [0x100000, 0xfec00000, ECAM, 1 << 45, PCI_HIGH - 0x4000, 0xd0000000, 0])
def test_moved_where_it_must_not_be(machine, config, base):
    """Over RAM, other devices, beyond the windows: it answers nowhere, and comes back."""
    before = config.bar()
    config.move(base)
    assert machine.devices[0].place.base is None and machine.devices[0].routes() == []
    assert machine.memory.read(0x100000, 16) == bytes(16)
    config.move(before)
    assert BlkDriver(machine, machine.devices[0]).read(3, 1)[:1] == b"\x03"


def test_two_at_one_place(image, tmp_path, machine_with, offload):
    second = tmp_path / "second"
    second.write_bytes(bytes(1 << 20))
    disks = [DiskConfig(path, offload=offload, transport="pci") for path in (image, second)]
    machine = machine_with(memory=4 << 20, disks=disks)
    first, other = ConfigSpace(machine, 1), ConfigSpace(machine, 2)
    apart = other.bar()
    other.move(first.bar())
    assert machine.devices[0].place.base == first.bar() and machine.devices[1].place.base is None
    assert BlkDriver(machine, machine.devices[0]).read(3, 1)[:1] == b"\x03"
    other.move(apart)
    assert BlkDriver(machine, machine.devices[1]).read(3, 1) == bytes(512)


def test_bars_put_onto_each_other_do_not_fill_the_log(image, tmp_path, machine_with, caplog):
    second = tmp_path / "second"
    second.write_bytes(bytes(1 << 20))
    disks = [DiskConfig(path, offload="off", transport="pci") for path in (image, second)]
    machine = machine_with(memory=4 << 20, disks=disks)
    first, other = ConfigSpace(machine, 1), ConfigSpace(machine, 2)
    apart = other.bar()
    for _ in range(200):
        other.move(first.bar())
        other.move(apart)
    assert "stays switched off" in caplog.text and len(caplog.records) <= MOST + 1


def test_switched_off_while_offloaded(machine, config):
    driver = BlkDriver(machine, machine.devices[0])
    config.write(COMMAND, 2, 0)
    assert machine.devices[0].place.base is None
    mode = machine.devices[0].mode
    machine.set_offload(machine.devices[0], "off")
    machine.set_offload(machine.devices[0], mode)
    config.write(COMMAND, 2, MEMORY)
    assert driver.read(3, 1)[:1] == b"\x03"


def test_many_moves(machine):
    """Routes that are left behind would fill the table."""
    config = ConfigSpace(machine)
    for i in range(500):
        config.move(PCI_HIGH + 0x4000 * i)
    assert BlkDriver(machine, machine.devices[0]).read(3, 1)[:1] == b"\x03"


# Common configuration (4.1.4.3)

SELECT, NUM, VECTOR, ENABLE, NOTIFY_OFF, DESC = 0x16, 0x18, 0x1a, 0x1c, 0x1e, 0x20


def test_registers_belong_to_their_queue(machine):
    for queue in range(2):
        bar_write(machine, SELECT, 2, queue)
        assert bar_read(machine, NUM, 2) == 256 and bar_read(machine, NOTIFY_OFF, 2) == queue
        bar_write(machine, NUM, 2, 16 << queue)
        bar_write(machine, DESC, 4, 0x10000 * (queue + 1))
        bar_write(machine, VECTOR, 2, queue)
    for queue in range(2):
        bar_write(machine, SELECT, 2, queue)
        assert bar_read(machine, NUM, 2) == 16 << queue and bar_read(machine, DESC, 4) == 0x10000 * (queue + 1)
        assert bar_read(machine, VECTOR, 2) == queue
    bar_write(machine, SELECT, 2, 2)
    assert bar_read(machine, NUM, 2) == 0 and bar_read(machine, 0x12, 2) == 2     # no such queue; num_queues
    bar_write(machine, 0x14, 1, 0)
    bar_write(machine, SELECT, 2, 1)
    assert bar_read(machine, NUM, 2) == 256 and bar_read(machine, VECTOR, 2) == NO_VECTOR


def test_features_are_read_back(machine):
    bar_write(machine, 0x08, 4, 1)
    bar_write(machine, 0x0c, 4, 5)
    assert bar_read(machine, 0x0c, 4) == 5
    bar_write(machine, 0x08, 4, 0)
    assert bar_read(machine, 0x0c, 4) == 0


def test_vector_that_is_not_there(machine):
    bar_write(machine, VECTOR, 2, 3)
    assert bar_read(machine, VECTOR, 2) == NO_VECTOR
    bar_write(machine, 0x10, 2, 2)
    assert bar_read(machine, 0x10, 2) == 2


def test_isr_is_cleared_by_reading(machine):
    BlkDriver(machine, machine.devices[0])
    machine.devices[0].config_changed()
    assert [bar_read(machine, ISR, 1) for _ in range(2)] == [2, 0]


# MSI-X

CONTROL = 2     # in the capability


@pytest.fixture
def msix(machine):
    """Vectors 0 and 1 for the queues, 2 for configuration; none masked, but not enabled."""
    config, driver = ConfigSpace(machine), BlkDriver(machine, machine.devices[0])
    for queue in range(2):
        bar_write(machine, SELECT, 2, queue)
        bar_write(machine, VECTOR, 2, queue)
    bar_write(machine, 0x10, 2, 2)
    for vector in range(3):
        for offset, value in ((0, 0xfee00000), (4, 0), (8, 0x40 + vector), (12, 0)):
            bar_write(machine, TABLE + 16 * vector + offset, 4, value)
    config.at = config.capabilities()[-1][0] + CONTROL
    return config, driver


def messages(machine):
    return [line.message([]) for line in machine.devices[0].transport.lines]


def test_masks(machine, msix):
    config, _ = msix
    assert messages(machine) == [None] * 3
    config.write(config.at, 2, 0x8000)
    assert messages(machine) == [(0xfee00000, 0, 0x40 + vector) for vector in range(3)]
    assert config.read(config.at, 2) == 0x8002
    config.write(config.at - 2, 4, 0xc0000000)      # the whole function, by a write of 32 bits
    assert messages(machine) == [None] * 3
    config.write(config.at, 2, 0x8000)
    bar_write(machine, TABLE + 16 + 12, 4, 1)
    assert messages(machine) == [(0xfee00000, 0, 0x40), None, (0xfee00000, 0, 0x42)]
    assert bar_read(machine, TABLE + 16 + 12, 4) == 1


def test_pending_while_masked(machine, msix):
    config, driver = msix
    config.write(config.at, 2, 0x8000)
    bar_write(machine, TABLE + 16 + 12, 4, 1)
    assert bar_read(machine, PENDING, 4) == 0
    driver.read(1, 1, queue=1)
    assert bar_read(machine, PENDING, 4) == 2 and bar_read(machine, PENDING, 8) == 2
    bar_write(machine, TABLE + 16 + 12, 4, 0)
    assert bar_read(machine, PENDING, 4) == 0


def test_no_vector_no_message(machine, msix):
    config, driver = msix
    config.write(config.at, 2, 0x8000)
    bar_write(machine, SELECT, 2, 0)
    bar_write(machine, VECTOR, 2, NO_VECTOR)
    driver.read(1, 1)
    assert messages(machine)[0] is None and bar_read(machine, PENDING, 4) == 0


@pytest.mark.parametrize("offset, width", [(1, 4), (2, 2), (0, 1), (48, 4), (0x7fc, 8)])
def test_odd_accesses_of_the_table(machine, msix, offset, width):
    before = [bar_read(machine, TABLE + 4 * i, 4) for i in range(12)]
    bar_write(machine, TABLE + offset, width, 0xffffffff)
    bar_read(machine, TABLE + offset, width)
    assert [bar_read(machine, TABLE + 4 * i, 4) for i in range(12)] == before


# The window in configuration space (4.1.4.9)

def test_window(machine, config):
    at = next(place for place, id_, body in config.capabilities() if id_ == 9 and body[3] == VirtioCapabilityKind.PCI)

    def choose(offset, length, bar=0):
        config.write(at + 4, 1, bar)
        config.write(at + 8, 4, offset)
        config.write(at + 12, 4, length)
    choose(NUM, 2)
    assert config.read(at + 16) == 256
    choose(SELECT, 2)
    config.write(at + 16, 2, 1)
    assert bar_read(machine, SELECT, 2) == 1 and bar_read(machine, NOTIFY_OFF, 2) == 1
    for wrong in ((0x4000, 4), (0x3ffe, 4), (1, 2), (0, 3), (0, 0)):
        choose(*wrong)
        config.write(at + 16, 4, 0xffffffff)
        config.read(at + 16)
    choose(NUM, 2, bar=1)
    config.write(at + 16, 4, 3)
    assert bar_read(machine, NUM, 2) == 256


def test_requests(machine):
    driver = BlkDriver(machine, machine.devices[0])
    for i in range(20):
        driver.write(i, bytes([i]) * 512, i % 2)
        assert driver.read(i, 1, 1 - i % 2) == bytes([i]) * 512
    driver.flush()
    driver.start()      # and after a reset
    assert driver.identify() == b"disk0"
