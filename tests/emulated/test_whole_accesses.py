"""An access of a device is what the instruction makes: one, of its width, wherever in a page it is."""

import pytest

pytest.importorskip("unicorn")

from tests.emulated.bare import DEVICE, HALT, bare

FILL = bytes(range(64))
VALUE = 0x8877665544332211
OSFXSR = 1 << 9                                     # of cr4
PAGE = 4096


@pytest.fixture
def guest():
    with bare() as made:
        made.told, device = [], made.device
        read, write = device.read, device.write
        for offset, byte in enumerate(FILL):
            write(offset, 1, byte)

        def told_read(offset, width):
            made.told.append(("read", offset, width))
            return read(offset, width)

        def told_write(offset, width, value):
            made.told.append(("write", offset, width, value))
            write(offset, width, value)
        device.read, device.write = told_read, told_write
        yield made


def run(guest, code, offset, **general):
    guest.start(bytes.fromhex(code) + HALT, long=True, rdi=DEVICE + offset, **general)
    guest.state.control.cr4 |= OSFXSR
    guest.run()
    assert guest.fault is None


@pytest.mark.parametrize("code, width", [("8a07", 1), ("668b07", 2), ("8b07", 4), ("488b07", 8)])     # mov (%rdi), ax
@pytest.mark.parametrize("offset", [0, 1, 3, 4, 5, 7, 8])
def test_reads(guest, code, width, offset):
    run(guest, code, offset)
    assert guest.told == [("read", offset, width)]
    assert guest.state.general.rax == int.from_bytes(FILL[offset:offset + width], "little")


@pytest.mark.parametrize("code, width", [("8807", 1), ("668907", 2), ("8907", 4), ("488907", 8)])     # mov ax, (%rdi)
@pytest.mark.parametrize("offset", [0, 1, 3, 4, 5, 7, 8])
def test_writes(guest, code, width, offset):
    run(guest, code + code, offset, rax=VALUE)
    assert guest.told == 2 * [("write", offset, width, VALUE & (1 << 8 * width) - 1)]


def test_one_that_is_read_and_written(guest):
    run(guest, "0107", 1, rax=1)            # add %eax, (%rdi)
    value = int.from_bytes(FILL[1:5], "little") + 1
    assert guest.told == [("read", 1, 4), ("write", 1, 4, value)]


def test_one_of_sixteen_bytes(guest):
    """As two of eight."""
    run(guest, "0f1007 0f114710", 1)        # movups (%rdi), %xmm0; movups %xmm0, 16(%rdi)
    low, high = (int.from_bytes(FILL[at:at + 8], "little") for at in (1, 9))
    assert guest.told == [("read", 1, 8), ("read", 9, 8), ("write", 17, 8, low), ("write", 25, 8, high)]


def test_one_across_pages(guest):
    """Byte by byte; those in the other page are nobody's."""
    run(guest, "8907 8b07", PAGE - 2, rax=VALUE)
    writes = [each for each in guest.told if each[0] == "write"]
    assert writes == [("write", PAGE - 2, 1, 0x11), ("write", PAGE - 1, 1, 0x22)]
    assert guest.state.general.rax & 0xffff == 0x2211
