"""The 16550 serial port, alone."""

import os

import pytest

from vmm.devices.serial import Serial


class Raised:
    pulses = 0

    def pulse(self):
        self.pulses += 1


@pytest.fixture
def serial():
    reader, writer = os.pipe()
    port = Serial(writer, Raised())
    port.reader = reader
    yield port
    os.close(reader)
    os.close(writer)


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
