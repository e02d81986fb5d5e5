"""virtio-rng: everything both halves know of it."""

from ..schema import HOLDER, Block, Device, queue, reasons, u8, u32

POOL_BYTES = 16384
MOST_BYTES = 1024       # of one request that are answered


class Rng(Device, id=4, version=1):
    """virtio-rng, an entropy device (VIRTIO 1.2, section 5.4)."""

    request = queue("buffers to be filled", count=1, size=256)

    decline = reasons(EMPTY="the pool is used up, and userspace is to fill it again",
                      FRAMING="buffers cut in a way that the handler leaves to userspace")

    class Pool(Block, writer=HOLDER):
        """Random bytes, each given out once."""

        taken = u32("bytes given out", unit="bytes")
        reserved = u32("to a multiple of 8")
        bytes = u8[POOL_BYTES]("the bytes")


CONSTANTS = {"POOL_BYTES": POOL_BYTES, "MOST_BYTES": MOST_BYTES}
