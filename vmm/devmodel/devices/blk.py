"""virtio-blk: everything both halves know of it."""

from __future__ import annotations

import enum

from ..schema import USER, Block, Device, enum_of, le16, le32, le64, queue, reasons, u8, u32, u64

SECTOR = 512            # bytes; the unit of capacity and of every request's sector
ID_BYTES = 20           # a serial number, padded with zeros (VIRTIO 1.2, 5.2.6.1)
SEGMENTS = 126          # most data buffers in one request
RANGE_SECTORS = 1 << 22 # most of one discard or write-zeroes: 2 GiB
PUNCH_HOLE = 0x02 | 0x01    # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
ZERO_RANGE = 0x10 | 0x01    # FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE


class RequestType(enum.IntEnum):
    """VIRTIO 1.2, 5.2.6."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13


class Status(enum.IntEnum):
    OK = 0
    IOERR = 1
    UNSUPP = 2


class Writes(enum.IntEnum):
    """How a handler writes."""

    RING = 0        # through the ring
    AT_ONCE = 1     # waiting for the page cache to take it: the native build, to which the kernel half leaves that


class BlkConfig(Block):
    """Device configuration (VIRTIO 1.2, 5.2.4), at the transport's CONFIG."""

    capacity = le64("disk size", unit="512-byte sectors")
    size_max = le32("most bytes in one segment, if offered", unit="bytes")
    seg_max = le32("most segments in a request")
    cylinders = le16("geometry, not offered")
    heads = u8("geometry, not offered")
    sectors = u8("geometry, not offered")
    blk_size = le32("logical block", unit="bytes")
    physical_block_exp = u8("logical blocks per physical block, as a power of two")
    alignment_offset = u8("first aligned logical block")
    min_io_size = le16("suggested least I/O", unit="logical blocks")
    opt_io_size = le32("suggested most I/O", unit="logical blocks")
    writeback = u8("1: completed writes may be lost until a flush")
    reserved = u8("unused0")
    num_queues = le16("request queues")
    max_discard_sectors = le32("most of one discard", unit="512-byte sectors")
    max_discard_seg = le32("segments of one discard")
    discard_sector_alignment = le32("alignment of a discard", unit="512-byte sectors")
    max_write_zeroes_sectors = le32("most of one write-zeroes", unit="512-byte sectors")
    max_write_zeroes_seg = le32("segments of one write-zeroes")
    write_zeroes_may_unmap = u8("1: unmap may deallocate")
    reserved1 = u8[3]("unused1")
    max_secure_erase_sectors = le32("not offered", unit="512-byte sectors")
    max_secure_erase_seg = le32("not offered")
    secure_erase_sector_alignment = le32("not offered", unit="512-byte sectors")


class BlkRequest(Block):
    """Head of a request (VIRTIO 1.2, 5.2.6)."""

    type = le32("RequestType")
    reserved = le32("unused")
    sector = le64("where", unit="512-byte sectors")


class BlkRange(Block):
    """One segment of a discard or write-zeroes (VIRTIO 1.2, 5.2.6)."""

    sector = le64("where", unit="512-byte sectors")
    num_sectors = le32("how much", unit="512-byte sectors")
    flags = le32("bit 0: unmap")


class Blk(Device, id=2, version=1):
    """virtio-blk (VIRTIO 1.2, section 5.2)."""

    request = queue("requests", count=16, size=256)

    decline = reasons(
        NOT_RESIDENT="the data is not mapped from the page cache, and there is no ring",
        OTHER_REQUEST="an unknown request",
        FRAMING="buffers cut in a way that the handler leaves to userspace",
        OUT_OF_RANGE="sectors beyond the end of the disk",
        READ_ONLY="a change of a disk that is read-only",
        PUNTED="a write that waits for the page cache, as the native build may",
        UNALIGNED="past the page cache, and not aligned for that",
        TOO_LARGE="a transfer of more than a handler takes on")

    class Disk(Block, writer=USER):
        """What the handler needs to know of the image."""

        capacity = u64("disk size", unit="512-byte sectors")
        image = u64("where the image is mapped; 0 if it is not", unit="address in the process")
        image_fd = u32("its file descriptor, for the native build")
        align = u32("what reads and writes through the ring are aligned to", unit="bytes")
        read_only = u32("1 if it must not change")
        durable = u32("1 if a write is on the disk before it is completed")
        serial = u8[ID_BYTES]("answer to GET_ID, padded with zeros")
        writes = enum_of(u32, Writes)("how a handler writes")


MEMORY_STRUCTS = (BlkConfig, BlkRequest, BlkRange)
ENUMS = (RequestType, Status, Writes)
CONSTANTS = {"SECTOR": SECTOR, "ID_BYTES": ID_BYTES, "SEGMENTS": SEGMENTS,
             "RANGE_SECTORS": RANGE_SECTORS, "PUNCH_HOLE": PUNCH_HOLE, "ZERO_RANGE": ZERO_RANGE}
