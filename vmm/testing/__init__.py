"""Testing devices without a guest: machines that have no vCPUs, BPF handlers run by BPF_PROG_RUN, and
drivers in Python in the guest's place.

    from vmm.testing import driven

    def test_sum():
        with driven(AdderDevice("adder"), "host") as adder:
            adder.write("operand", 3)
            assert adder.write("add", 4) == HANDLED and adder.read("sum") == 7

`/dev/kvm` is not needed, nor root but for `on`.  In a test file that `splitvmm test` runs, or with
`-p vmm.testing.plugin`, `drive` is a fixture that does this once for each mode.
"""

from ..virtio.virtio_device import EVENT_IDX, INDIRECT_DESC, RING_PACKED
from .bpf_run import BpfRunMachine, machine_without_vcpus
from .drive import HANDLED, TO_USER, driven, driven_virtio
from .driver import INDIRECT, NEXT, WRITE, Driver, PackedRing, Registers, Ring

__all__ = ["BpfRunMachine", "machine_without_vcpus", "driven", "driven_virtio", "HANDLED", "TO_USER", "Driver",
           "Registers", "Ring", "PackedRing", "NEXT", "WRITE", "INDIRECT",
           "EVENT_IDX", "INDIRECT_DESC", "RING_PACKED"]
