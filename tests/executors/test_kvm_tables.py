"""What is where in the state and in KVM's structs."""

import pytest

from vmm.executors.kvm_tables import REGISTERS, SPECIAL, XCR0, Part, Place, place_of, table
from vmm.executors.transfer import leaves
from vmm.kvm.vm import binding


@pytest.fixture
def ffi():
    return binding()[0]


def test_places_of_fields():
    assert place_of("general.rbx") == Place(8, 8)
    cs = place_of("segments.cs")
    assert place_of("segments.cs.access.dpl") == Place(cs.at + 12, 4, 5, 3)
    assert place_of("apic.3").at == place_of("apic").at + 12
    assert place_of("msrs.others.value") == place_of("msrs.others")
    assert all(place_of(path).bytes for path, _ in leaves())


def test_tables(ffi):
    rows = table(ffi, REGISTERS)
    assert rows[1] == {"ours": 8, "theirs": ffi.offsetof("struct kvm_regs", "rbx"), "our_bytes": 8, "their_bytes": 8,
                       "low": 0, "mask": (1 << 64) - 1}
    bits = table(ffi, SPECIAL)[list(SPECIAL.fields).index("segments.ss.access.g")]
    assert (bits["low"], bits["mask"], bits["their_bytes"]) == (15, 1, 1)
    assert table(ffi, XCR0)[0]["theirs"] == ffi.offsetof("struct kvm_xcrs", "xcrs", 0, "value")


def test_arrays_of_another_size(ffi):
    with pytest.raises(ValueError, match="debug.dr: 32 bytes, dr6 of struct kvm_debugregs 8"):
        table(ffi, Part("debug", "DEBUGREGS", "kvm_debugregs", {"debug.dr": "dr6"}))
