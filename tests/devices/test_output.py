"""What a guest says, to descriptors that are slow, full or gone."""

import logging
import os
import threading

from vmm.devices.output import MOST, Output


def test_order_and_end():
    reader, writer = os.pipe()
    output = Output(writer, "port")
    got = bytearray()

    def read():
        while data := os.read(reader, 1000):
            got.extend(data)
    thread = threading.Thread(target=read)
    thread.start()
    said = bytes(i % 251 for i in range(4 * MOST))
    for at in range(0, len(said), 777):
        output.write(said[at:at + 777])
    output.flush()
    output.close()
    thread.join(60)     # the descriptor is closed with it
    os.close(reader)
    assert got == said


def test_full_is_said_once(caplog):
    output = Output(os.open("/dev/full", os.O_WRONLY), "port")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            output.write(b"lost")
            output.flush()
        output.close()
    assert [record.getMessage() for record in caplog.records] == [
        "port: No space left on device; output is lost, the guest goes on"]


def test_reader_that_went(caplog):
    reader, writer = os.pipe()
    os.close(reader)
    output = Output(writer, "port")
    output.write(b"lost")
    output.close()
    assert "Broken pipe" in caplog.text


def test_a_writer_waits_until_the_machine_stops():
    """With nobody reading; the end does not wait for a reader, either."""
    reader, writer = os.pipe()
    stopped = threading.Event()
    output = Output(writer, "port", stopped.is_set)
    done = threading.Event()

    def write():
        for _ in range(4):
            output.write(bytes(MOST))
        done.set()
    threading.Thread(target=write).start()
    assert not done.wait(0.3)
    stopped.set()
    assert done.wait(60)
    output.close()
    os.close(reader)


def test_descriptor_that_does_not_block():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    output = Output(writer, "port")
    output.write(bytes(MOST))
    output.write(b"end")
    got = b""
    while not got.endswith(b"end"):
        got += os.read(reader, 1 << 16)
    output.close()
    os.close(reader)
    assert got == bytes(MOST) + b"end"
