"""The faults that `make faults` puts into the handlers have a place in them."""

from tools.edits import place_of
from tools.faults import FAULTS
from vmm.paths import ROOT


def test_each_fault_has_its_place():
    for fault in FAULTS:
        place_of(fault.file, (ROOT / "kernel_devices" / fault.file).read_text(), fault.old)
