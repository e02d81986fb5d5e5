"""Memory slots come and go on several vCPUs' threads."""

import threading
from contextlib import closing

import pytest

from vmm.emulated.vm import EmulatedVm
from vmm.kvm.memory import GuestMemory
from vmm.kvm.vm import Vm

ROUNDS, PAGE = 300, 4096


def moving(vm, gpa, address, errors):
    try:
        for _ in range(ROUNDS):
            slot = vm.add_memory(gpa, PAGE, address)
            assert vm.slots[slot].gpa == gpa
            vm.remove_memory(slot)
    except BaseException as error:
        errors.append(error)


@pytest.fixture(params=["kvm", "emulated"])
def vm(request):
    if request.param == "kvm":
        request.getfixturevalue("kvm")
    with closing(Vm() if request.param == "kvm" else EmulatedVm(1)) as made:
        yield made


def test_slots_of_several_threads(vm):
    """Each gets a slot of its own, as two BARs do that are moved at once."""
    errors = []
    with closing(GuestMemory(1 << 20)) as memory:
        address = next(iter(memory.slots()))[2]
        threads = [threading.Thread(target=moving, args=(vm, (1 << 30) + i * PAGE, address + i * PAGE, errors))
                   for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors and not vm.slots
