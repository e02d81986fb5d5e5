"""The thread that waits for input."""

import os
import threading
from types import SimpleNamespace

from vmm.virtio.receiver import Receiver


def test_what_ends_it_is_told():
    reader, writer = os.pipe()
    failed, told = [], threading.Event()
    device = SimpleNamespace(name="net0", lock=threading.RLock(),
                             failed=lambda error: (failed.append(error), told.set()))

    def broken():
        raise ZeroDivisionError("in the device's own code")
    receiver = Receiver(device, lambda: {reader: broken})
    os.write(writer, b"x")
    assert told.wait(60) and isinstance(failed[0], ZeroDivisionError)
    receiver.close()
    os.close(reader)
    os.close(writer)
