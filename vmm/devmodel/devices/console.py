"""virtio-console: everything both halves know of it."""

from ..schema import HOLDER, Block, Device, le16, le32, queue, reasons, u32

RECEIVE, TRANSMIT = 0, 1        # queues of the one port (VIRTIO 1.2, 5.3.2)


class ConsoleConfig(Block):
    """Device configuration (VIRTIO 1.2, 5.3.4)."""

    cols = le16("of the terminal", unit="characters")
    rows = le16("of the terminal", unit="characters")
    max_nr_ports = le32("of several ports, not offered")
    emerg_wr = le32("a character to be written at once")


class Console(Device, id=3, version=1):
    """virtio-console with one port (VIRTIO 1.2, section 5.3)."""

    port = queue("receive, then transmit", count=2, size=64)

    decline = reasons(ENDED="the input has ended",
                      FRAMING="buffers cut in a way that the handler leaves to userspace")

    class Stream(Block, writer=HOLDER):
        """The input."""

        ended = u32("1 once it has")
        reserved = u32("to a multiple of 8")


MEMORY_STRUCTS = (ConsoleConfig,)
CONSTANTS = {"RECEIVE": RECEIVE, "TRANSMIT": TRANSMIT}
