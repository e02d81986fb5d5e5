"""The 16550 serial port, alone."""

import fcntl
import os
import select
import threading

import pytest

from vmm.devices.output import MOST, Output
from vmm.devices.serial import Serial
from vmm.kvm.vm import binding

WAITING_BYTES, SENT_BYTES = binding()[1].SERIAL_WAITING, binding()[1].SERIAL_SENT


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


def reading(serial, count):
    """A thread that reads so many bytes; what it has read."""
    got = bytearray()

    def read():
        while len(got) < count:
            got.extend(os.read(serial.reader, 1 << 16))
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, got


def test_what_waited_outside_interrupts_when_it_comes_in(serial):
    """The receiver was empty before, so that the driver has been told of nothing that is in it now."""
    serial.write(1, 1, 1)
    serial.write(4, 1, 0x10)
    serial.receive(b"abc")
    assert serial.line.pulses == 0
    serial.write(4, 1, 0)           # out of the loop-back
    assert serial.line.pulses == 1 and serial.read(2, 1) == 4
    serial.write(2, 1, 2)           # "a" is cleared, and "b" comes in
    assert serial.line.pulses == 2 and serial.read(0, 1) == ord("b")
    pulses = serial.line.pulses
    serial.write(7, 1, 1)
    serial.write(3, 1, 3)           # nothing comes in by these
    assert serial.line.pulses == pulses


def test_what_waits_is_bounded(serial):
    """With nobody reading whoever sends waits, and goes on behind where it was."""
    count = MOST + 5 * SENT_BYTES
    said = bytes(i % 251 for i in range(count))

    def send():
        for byte in said:
            serial.write(0, 1, byte)
    sender = threading.Thread(target=send, daemon=True)
    fcntl.fcntl(serial.reader, fcntl.F_SETPIPE_SZ, 4096)
    sender.start()
    before = -1
    while serial.sent != before or before < MOST:
        before = serial.sent
        sender.join(0.3)
    assert before <= MOST + 3 * SENT_BYTES + 4096       # with what those hold that have just taken it
    thread, got = reading(serial, count)
    thread.join(60)
    sender.join(60)
    assert got == said and serial.sent == count


def test_two_at_once(serial):
    """Neither loses a byte, nor sends one twice, while others flush."""
    each = 3 * SENT_BYTES
    thread, got = reading(serial, 2 * each)
    senders = [threading.Thread(target=lambda first=first: [serial.write(0, 1, first + i % 100) for i in range(each)])
               for first in (0, 100)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        serial.flush()
    thread.join(60)
    assert bytes(c for c in got if c < 100) == bytes(i % 100 for i in range(each))
    assert bytes(c for c in got if c >= 100) == bytes(100 + i % 100 for i in range(each))


def test_what_was_sent_last_is_written_at_the_end():
    """Though nobody flushed it."""
    reader, writer = os.pipe()
    output = Output(writer, "serial port")
    port = Serial(output, Raised())
    for byte in b"the last words":
        port.write(0, 1, byte)
    port.close()
    output.close()
    assert os.read(reader, 100) == b"the last words"
    os.close(reader)


def test_nobody_reads_and_nobody_waits():
    port = Serial(None)
    for _ in range(2 * SENT_BYTES):
        port.write(0, 1, 65)
    assert port.sent == port.calls == 2 * SENT_BYTES
    port.close()


def test_a_reader_that_went(caplog):
    """The guest goes on."""
    reader, writer = os.pipe()
    os.close(reader)
    output = Output(writer, "serial port")
    port = Serial(output)
    for _ in range(3 * SENT_BYTES):
        port.write(0, 1, 65)
    port.close()
    output.close()
    assert "Broken pipe" in caplog.text


def test_each_byte_raises_an_empty_transmitter_again(serial):
    """As one does that is done with a byte at once: a handler may send one for each interrupt, and not read IIR."""
    serial.write(1, 1, 2)
    for byte in b"abc":
        serial.write(0, 1, byte)
    assert serial.line.pulses == 4
    serial.write(1, 1, 0)
    serial.write(0, 1, 65)
    assert serial.line.pulses == 4 and serial.read(2, 1) & 0xf == 1


def test_wider_than_a_register(serial):
    """The lowest byte is what it is told."""
    serial.write(7, 2, 0x1234)
    assert serial.read(7, 1) == 0x34
