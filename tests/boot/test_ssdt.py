"""The SSDT made when a machine is: the same bytes as iasl makes of the same devices in ASL, and read by
ACPICA beside the DSDT.  Lengths of any size are as its disassembler reads them."""

import re
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vmm.boot import acpi, aml
from vmm.boot.ssdt import Announced, terms
from vmm.kvm.addresses import ACPI_END, ACPI_TABLES, FIRST_PIN, LAST_PIN, VIRTIO_MMIO
from vmm.kvm.memory import GuestMemory
from vmm.paths import BUILD

HEADER = 36
ADDER = Announced("SVMM0001", "", [(VIRTIO_MMIO, 4096)], 5)
BOTH_SIDES = Announced("", "splitvmm,adder", [(VIRTIO_MMIO, 4096), (1 << 36, 1 << 33)], 23)

SOURCE = """
DefinitionBlock ("", "SSDT", 2, "SPLTVM", "SPLITVMM", 1)
{
    Scope (\\_SB)
    {
%s
    }
}
"""
DEVICE = """
        Device (D{number:03})
        {{
            Name (_HID, "{hid}")
            Name (_UID, {number})
            Name (_CRS, ResourceTemplate ()
            {{
                {windows}
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {{ {gsi} }}
            }})
            {properties}
        }}
"""
PROPERTIES = """
            Name (_DSD, Package ()
            {{
                ToUUID ("daffd814-6eba-4d8c-8a91-bc9bbf4aa301"),
                Package () {{ Package () {{ "compatible", "{compatible}" }} }}
            }})
"""


@pytest.fixture(scope="module")
def iasl(tmp_path_factory):
    """Runs it on a file of this content; what it made of that."""
    if not shutil.which("iasl"):
        pytest.skip("no iasl")
    folder = tmp_path_factory.mktemp("iasl")

    def run(content: bytes, made: str, *options) -> bytes:
        (folder / "table").write_bytes(content)
        (folder / made).unlink(missing_ok=True)
        done = subprocess.run(["iasl", *options, "-p", folder / "out", folder / "table"], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return (folder / made).read_bytes()
    return run


def window(base: int, size: int) -> str:
    if base + size < 1 << 32:
        return f"Memory32Fixed (ReadWrite, {base:#x}, {size:#x})"
    return ("QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, "
            f"0, {base:#x}, {base + size - 1:#x}, 0, {size:#x})")


def source(devices: list[Announced]) -> bytes:
    text = "".join(DEVICE.format(
        number=number, hid=device.acpi or "PRP0001", gsi=device.gsi,
        windows="\n".join(window(*w) for w in device.windows),
        properties=PROPERTIES.format(compatible=device.compatible) if device.compatible else "")
        for number, device in enumerate(devices))
    return (SOURCE % text).encode()


WINDOWS = st.tuples(st.integers(0, (1 << 38) - 1), st.integers(1, 1 << 34))
NAMES = st.one_of(st.tuples(st.sampled_from(["SVMM0001", "PNP0501"]), st.just("")),
                  st.tuples(st.just(""), st.from_regex(r"[a-z]{1,20},[a-z0-9-]{1,80}", fullmatch=True)))
DEVICES = st.builds(lambda names, windows, gsi: Announced(*names, windows, gsi), NAMES,
                    st.lists(WINDOWS, max_size=20), st.integers(FIRST_PIN, LAST_PIN))


@settings(max_examples=40, deadline=None)
@given(st.lists(DEVICES, min_size=1, max_size=20))
@example([ADDER])
@example([ADDER, BOTH_SIDES])
@example([Announced("SVMM0001", "", [(0, 1 << 32), ((1 << 32) - 1, 1), ((1 << 32) - 1, 2)], 5)])
@example([ADDER] * 257)
def test_the_same_as_iasl_makes_of_it(iasl, devices):
    assert terms(devices) == iasl(source(devices), "out.aml")[HEADER:]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.integers(0, 100), st.integers(4000, 4200), st.integers(0, (1 << 20) + 200)))
@example((1 << 20) - 6)     # the last that three bytes of PkgLength take, of the buffer
@example((1 << 20) - 5)
def test_lengths_of_one_to_four_bytes(iasl, size):
    """A buffer, and what follows it, in a scope: PkgLength ends both where they do."""
    data = bytes(range(256)) * (size // 256 + 1)
    body = aml.scope("\\_SB", aml.name("DATA", aml.buffer(data[:size])), aml.name("NEXT", aml.integer(1)))
    table = acpi._table(b"SSDT", 2, body + aml.name("LAST", aml.integer(2)))
    text = iasl(table, "out.dsl", "-d").decode()
    found = re.search(r"Scope \(\\_SB\)\s+\{\s+Name \(DATA, Buffer \((\w+)\)(.*?)Name \(NEXT, One\)\s+\}\s+"
                      r"Name \(LAST, 0x02\)\s+\}\s*$", text, re.DOTALL)
    sizes = {"Zero": 0, "One": 1}
    assert found and (sizes[found[1]] if found[1] in sizes else int(found[1], 16)) == size
    assert found[2].count("0x") == size


def test_a_term_that_is_too_long():
    with pytest.raises(ValueError, match="a term of"):
        aml.sized(bytes((1 << 28) - 4))


@pytest.mark.parametrize("value", [n + d for n in (1, 1 << 8, 1 << 16, 1 << 32, 1 << 63) for d in (-1, 0)])
def test_integers(iasl, value):
    text = f'DefinitionBlock ("", "SSDT", 2, "A", "B", 1) {{ Name (\\VAL, {value:#x}) }}'
    assert aml.name("\\VAL", aml.integer(value)) == iasl(text.encode(), "out.aml")[HEADER:]


def test_an_integer_that_is_too_large():
    with pytest.raises(ValueError, match="an integer of 65 bits"):
        aml.integer(1 << 64)


def test_read_beside_the_dsdt(tmp_path):
    """No name is there twice, and what a guest evaluates is what was meant."""
    if not shutil.which("acpiexec"):
        pytest.skip("no acpiexec")
    (tmp_path / "ssdt.aml").write_bytes(acpi.ssdt([ADDER, BOTH_SIDES]))
    asked = ["\\_SB.D000._HID", "\\_SB.D001._HID", "\\_SB.D001._UID", "\\_SB.D001._DSD"]
    done = subprocess.run(["acpiexec", "-b", ";".join(f"evaluate {what}" for what in asked), BUILD / "dsdt.aml",
                           tmp_path / "ssdt.aml"], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "AE_" not in said and "Error" not in said, said
    for wanted in ('= "SVMM0001"', '= "PRP0001"', "= 0000000000000001", '"compatible"', '"splitvmm,adder"'):
        assert wanted in said, said


def tables(memory: GuestMemory) -> dict[bytes, bytes]:
    """Those that the XSDT of a guest's memory leads to, by signature."""
    xsdt = int.from_bytes(memory.read(ACPI_TABLES + 24, 8), "little")
    count = (int.from_bytes(memory.read(xsdt + 4, 4), "little") - HEADER) // 8
    found = {}
    for number in range(count):
        at = int.from_bytes(memory.read(xsdt + HEADER + 8 * number, 8), "little")
        found[memory.read(at, 4)] = memory.read(at, int.from_bytes(memory.read(at + 4, 4), "little"))
        assert at + len(found[memory.read(at, 4)]) <= ACPI_END
    return found


@pytest.mark.parametrize("devices", [[], [ADDER, BOTH_SIDES]])
def test_the_xsdt_leads_to_it(devices):
    memory = GuestMemory(4 << 20)
    try:
        acpi.write(memory, 1, set(), True, devices)
        found = tables(memory)
    finally:
        memory.close()
    assert set(found) == {b"FACP", b"APIC", b"MCFG"} | ({b"SSDT"} if devices else set())
    assert all(sum(table) & 0xff == 0 for table in found.values())
    if devices:
        assert found[b"SSDT"][HEADER:] == terms(devices)
