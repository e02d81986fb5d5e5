"""The 16550 serial port, alone."""

import os
import select

import pytest

from vmm.devices.output import Output
from vmm.devices.serial import Serial
from vmm.kvm.vm import binding

WAITING_BYTES = binding()[1].SERIAL_WAITING


class Raised:
    pulses = 0

    def pulse(self):
        self.pulses += 1


@pytest.fixture
def serial():
    reader, writer = os.pipe()
    output = Output(writer, "serial port")
    port = Serial(output, Raised())
    port.reader = reader
    yield port
    port.close()
    output.close()
    os.close(reader)


def test_transmit(serial):
    for byte in b"hello\n":
        serial.write(0, 1, byte)
    assert os.read(serial.reader, 100) == b"hello\n"
    assert serial.read(5, 1) == 0x60


def test_receive_and_interrupt(serial):
    serial.write(1, 1, 1)
    serial.receive(b"ab")
    assert serial.line.pulses == 1 and serial.read(2, 1) & 0xf == 4 and serial.read(5, 1) & 1
    assert bytes((serial.read(0, 1), serial.read(0, 1))) == b"ab"
    assert serial.read(2, 1) & 1 and not serial.read(5, 1) & 1


def test_transmitter_empty_interrupt(serial):
    serial.write(1, 1, 2)
    assert serial.line.pulses == 1
    assert serial.read(2, 1) & 0xf == 2 and serial.read(2, 1) & 0xf == 1     # reading clears it


def test_divisor_latch_and_loopback(serial):
    serial.write(3, 1, 0x83)
    serial.write(0, 1, 1)
    serial.write(1, 1, 2)
    assert (serial.read(0, 1), serial.read(1, 1)) == (1, 2)
    serial.write(3, 1, 3)
    serial.write(4, 1, 0x1f)
    serial.write(0, 1, 0x55)
    assert serial.read(0, 1) == 0x55 and serial.read(6, 1) == 0xf0
    serial.write(7, 1, 0xa5)
    assert serial.read(7, 1) == 0xa5


@pytest.mark.parametrize("fifos, kept", [(1, bytes(range(16))), (0, bytes([99]))])
def test_loopback_overruns(serial, fifos, kept):
    """A full FIFO stays as it is; without, the newest byte is what the register has."""
    serial.write(2, 1, fifos)
    serial.write(4, 1, 0x10)
    for value in range(100):
        serial.write(0, 1, value)
    assert serial.read(5, 1) == 0x63 and serial.read(5, 1) == 0x61      # reading clears the overrun
    assert bytes(serial.read(0, 1) for _ in kept) == kept and not serial.read(5, 1) & 1


def test_input_waits_until_there_is_room(serial):
    """Nothing is lost, and nothing is held beyond the bound; the loop-back keeps it outside."""
    data = bytes(i % 251 for i in range(3 * WAITING_BYTES))
    serial.write(2, 1, 1)
    taken = serial.receive(data)
    while more := serial.receive(data[taken:]):
        taken += more
    assert WAITING_BYTES <= taken <= WAITING_BYTES + 16 and not select.select([serial.room], [], [], 0)[0]
    serial.write(4, 1, 0x10)
    serial.write(0, 1, 0xff)
    assert serial.read(5, 1) & 2
    serial.write(4, 1, 0)
    got = bytearray()
    while serial.read(5, 1) & 1:
        got.append(serial.read(0, 1))
        if select.select([serial.room], [], [], 0)[0]:
            taken += serial.receive(data[taken:])
    assert got == data and taken == len(data)


def test_fifo_control_empties_the_receiver_alone(serial):
    serial.write(2, 1, 1)
    serial.receive(bytes(range(40)))
    serial.write(2, 1, 3)
    assert [serial.read(0, 1) for _ in range(24)] == list(range(16, 40))
