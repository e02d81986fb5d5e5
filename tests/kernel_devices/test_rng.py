"""virtio-rng, in the Python half, in the native handler and in the BPF one."""

import pytest

from tools.driver import INDIRECT_DESC, RING_PACKED, WRITE, Driver
from vmm.devmodel.devices.rng import MOST_BYTES, POOL_BYTES
from vmm.machine.config import RngConfig

DATA = 0x90000
RAM = 4 << 20


@pytest.fixture(params=[(0, "mmio"), (RING_PACKED, "pci")], ids=["split-mmio", "packed-pci"])
def driver(request, mode_of_device, machine_with):
    packed, transport = request.param
    machine = machine_with(memory=RAM, rng=RngConfig(offload=mode_of_device, packed=bool(packed), transport=transport))
    return Driver(machine, machine.devices[0], features=INDIRECT_DESC | packed)


def ask(driver, *parts):
    driver.memory.write(DATA, bytes(0x4000))
    driver.rings[0].request(list(parts) or [(DATA, 64, WRITE)])
    driver.rings[0].ring()
    return driver.rings[0].take()


def test_bytes_are_new_each_time(driver):
    """More than the pool holds, so that it is filled again on the way."""
    seen = set()
    for _ in range(POOL_BYTES // 64 + 20):
        assert ask(driver) == [(0, 64)]
        data = driver.memory.read(DATA, 65)
        assert data[64] == 0 and data[:64] not in seen
        seen.add(data[:64])
    state = driver.device.state.queue[0]
    if driver.device.mode != "off":
        assert state.entry.declined[driver.device.layout.reasons.EMPTY] == 1 and state.user.handled == 1
        assert state.entry.handled == len(seen) - 1
    else:
        assert state.user.handled == len(seen) and state.entry.handled == 0


@pytest.mark.parametrize("length", [1, 63, MOST_BYTES, MOST_BYTES + 1, 9000])
def test_lengths(driver, length):
    """5.4.6.2: some bytes, not more than there is room for."""
    (_head, written), = ask(driver, (DATA, length, WRITE))
    assert written == min(length, MOST_BYTES)
    data = driver.memory.read(DATA, 10000)
    assert not any(data[written:]) and (written < 60 or len(set(data[:written])) > 10)


@pytest.mark.parametrize("parts", [[(DATA, 64, 0)], [(DATA, 16, 0), (DATA + 64, 64, WRITE)], [(RAM, 64, WRITE)],
                                   [(DATA, 0, WRITE)], [(2**64 - 8, 64, WRITE)]])
def test_hostile(driver, parts):
    assert ask(driver, *parts) == [] and driver.needs_reset
    driver.start()
    assert ask(driver) == [(0, 64)]
