"""The DSDT, evaluated by ACPICA as a guest's interpreter would."""

import re
import shutil
import struct
import subprocess
from uuid import UUID

import pytest

from vmm.boot.dsdt import PCI_HOST_BRIDGE
from vmm.paths import BUILD

HOST_BRIDGE = UUID(PCI_HOST_BRIDGE).bytes_le
MASKED, UNKNOWN_REVISION, UNKNOWN_UUID, QUERY = 0x10, 8, 4, 1
HOT_PLUG, PME, AER, CAPABILITIES, LTR = 1 << 0, 1 << 2, 1 << 3, 1 << 4, 1 << 5


def evaluate(what: str) -> bytes:
    """The buffer that an object of the table is, or a method returns."""
    if not shutil.which("acpiexec"):
        pytest.skip("no acpiexec")
    done = subprocess.run(["acpiexec", "-b", f"evaluate {what}", BUILD / "dsdt.aml"], capture_output=True, text=True)
    lines = done.stdout.partition("[Buffer]")[2].splitlines()
    found = bytes.fromhex("".join("".join(re.findall(r"(?:^|= +)[0-9A-F]+: ((?:[0-9A-F]{2} )+)", line.strip()))
                                  for line in lines))
    assert found, done.stdout + done.stderr
    return found


def osc(control, uuid=HOST_BRIDGE, revision=1, status=0, support=0x1f):
    """What the host bridge answers: status, support, control."""
    words = struct.pack("<III", status, support, control)
    return struct.unpack("<III", evaluate(rf"\_SB.PCI0._OSC ({uuid.hex(' ')}) {revision} 3 ({words.hex(' ')})"))


@pytest.mark.parametrize("asked, granted", [(HOT_PLUG | PME | AER | CAPABILITIES | LTR, CAPABILITIES),
                                            (CAPABILITIES, CAPABILITIES), (PME, 0), (0, 0)])
def test_host_bridge_hands_over_what_there_is(asked, granted):
    """No hot plug, power management events or error reporting."""
    for status in (0, QUERY):
        assert osc(asked, status=status) == (status | (MASKED if granted != asked else 0), 0x1f, granted)


def test_host_bridge_asked_for_other_things():
    assert osc(0x1f, uuid=bytes(16)) == (UNKNOWN_UUID, 0x1f, 0x1f)
    assert osc(CAPABILITIES, revision=2) == (UNKNOWN_REVISION, 0x1f, CAPABILITIES)


def test_pvpanic_is_found():
    """An I/O port descriptor (ACPI 6.4, 6.4.2.5) of one byte at 0x505."""
    assert evaluate(r"\_SB.PEVT._CRS")[:8] == struct.pack("<BBHHBB", 0x47, 1, 0x505, 0x505, 1, 1)
