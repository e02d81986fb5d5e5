"""A vCPU's state as bytes: there and back, and refused by the field that is wrong, with nothing written."""

import msgpack
import pytest

from vmm.executors.generated import MODES, States
from vmm.executors.reset import reset
from vmm.executors.saved import pack, unpack
from vmm.executors.state import blank, bytes_of, differences, write_all
from vmm.sync.snapshot import SnapshotError


@pytest.mark.parametrize("mode", MODES)
def test_there_and_back(mode):
    state, again = blank(), blank()
    write_all(state, States(reset(), 4).next(mode))
    unpack(pack(state), again)
    assert not list(differences(state, again))


@pytest.mark.parametrize("path, value, says", [
    (("control", "cr0"), 1 << 40, "control.cr0: 0x10000000000; wanted"),
    (("control", "cr0"), -1, r"state.control.cr0: -1; wanted a whole number"),
    (("activity",), 9, r"state.activity: 9; wanted one of"),
    (("segments", "cs", "limit"), 1 << 32, "state.segments.cs.limit"),
    (("xsave", "st"), [0], "state.xsave.st: wanted a list of 128"),
    (("events", "shadow"), 4, "events.shadow: 0x4"),
    (("general",), {}, "state.general: missing field"),
])
def test_hostile(path, value, says):
    state, into = blank(), blank()
    write_all(state, States(reset(), 4).next("long"))
    fields = msgpack.unpackb(pack(state))
    at, (*outer, last) = fields["state"], path
    for name in outer:
        at = at[name]
    at[last] = value
    with pytest.raises(SnapshotError, match=says):
        unpack(msgpack.packb(fields), into)
    assert not any(bytes_of(into)[:])
