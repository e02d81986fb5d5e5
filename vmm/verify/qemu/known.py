"""Where ours and QEMU 7.2 are known to differ, and who is right.  docs/verify.md has the same as a table, and
tests/verify/qemu/ sequences that show it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

EITHER, OURS = "either", "ours"
IOERR, UNSUPP = "^01", "^02"
STATUS_OF_RANGE = r"status of slot \d+ \((DISCARD|WRITE_ZEROES|mixed)\)"
STATUS_OF_OTHER = r"status of slot \d+ \((IN|OUT|FLUSH|GET_ID|unknown|mixed)\)"


@dataclass(frozen=True)
class Known:
    """`what` QEMU does.  `ours` is found in why ours needs a reset, `qemu` in what QEMU says when it does, or in how it
    ends; of a difference in what is seen, `where`, `found` and `wanted` are."""

    name: str
    section: str        # of VIRTIO 1.2
    right: str          # EITHER or OURS
    what: str
    ours: str = ""
    qemu: str = ""
    where: str = ""
    found: str = ""
    wanted: str = ""


FIRST = Known("first-interrupt", "2.7.7.2, 2.8.10", EITHER,
              "interrupts for the first buffer that a queue with EVENT_IDX uses, and when a packed ring begins anew, "
              "whether or not the driver asks for that; it SHOULD NOT")
HANGS = Known("packed-hang", "2.1.2", OURS,
              "looks for ever at a packed ring whose descriptors break a rule, and does nothing else; it SHOULD need a "
              "reset",
              qemu="packed rings: it does not answer")
TABLE = Known("table-behind-buffers", "2.7.5.3.2", OURS,
              "takes an indirect table that follows other descriptors for a buffer; a device MUST handle it in a split "
              "ring, a driver MUST NOT do it in a packed one (2.8.19)",
              qemu="missing headers|outhdr too short|inhdr too short|Incorrect order")
KNOWN = (
    FIRST, HANGS,
    # what a device must do
    TABLE, replace(TABLE, qemu="", ours="buffer of 0 bytes, flags 0x0;"),
    Known("length-of-failed", "2.7.8.2, 2.8.4", OURS,
          "gives the size of all buffers as used length, also of a request that fails or a GET_ID with room for more; "
          "it MUST have written that much", where="used length", found=".", wanted="^(0|20)$"),
    Known("unknown-flag", "5.2.6.2", OURS,
          "answers IOERR to a range with an unknown flag that also lies outside the disk; it MUST answer UNSUPP",
          where=STATUS_OF_RANGE, found=IOERR, wanted=UNSUPP),
    Known("scsi", "5.2.6", EITHER,
          "answers IOERR to some requests of types 2 and 3, once SCSI commands; ours UNSUPP to all",
          where=STATUS_OF_OTHER, found=IOERR, wanted=UNSUPP),
    Known("num-buffers", "5.1.6.4.1", OURS,
          "leaves num_buffers of a received packet's header as it was where MRG_RXBUF is not negotiated; it MUST be 1",
          where="^received headers$", found=r"^\[('0{20}.{4}'(, )?)+\]$", wanted=r"^\[('0{20}0100'(, )?)+\]$"),
    Known("interrupt-of-none", "2.7.7.1", EITHER,
          "interrupts for each doorbell of the console's output, also where it has used nothing",
          where="^console0, interrupt of line [01]$", found="^raised$", wanted="^none$"),
    # what a driver must not do
    Known("needed-features", "5.1.3.1, 2.2.2", EITHER,
          "accepts features of a network device without those that they need; ours leaves FEATURES_OK clear",
          where="^status of net0$", found="^0x[bf]$", wanted="^0x3$"),
    Known("command-not-negotiated", "5.1.6.5", EITHER,
          "does commands of the control queue whose feature is not negotiated; ours answers ERR",
          where="^answers$", found=r"^\[(\(\d+, '00f{6}'\)(, )?)+\]$",
          wanted=r"^\[(\(\d+, '01f{6}'\)(, )?)+\]$"),
    Known("cut-header", "5.1.6.2, 2.1.2", OURS,
          "ends itself, by an assertion, at a packet to be sent that is shorter than its header; ours drops it",
          qemu=r"^net0, .* iov_copy: Assertion"),
    Known("table-in-table", "2.7.5.3.1", EITHER,
          "takes an indirect descriptor inside an indirect table for a buffer; ours needs a reset",
          ours=r"buffer of [1-9]\d* bytes, flags 0x[4-7];"),
    Known("writable-output", "5.3.6.1", EITHER,
          "passes over device-writable buffers of the console's output; ours needs a reset",
          ours="output with device-writable buffers"),
    Known("no-frame", "5.1.6.2", EITHER,
          "sends packets shorter than an Ethernet header; ours drops them",
          where="^sent$", found=r"^\[('[0-9a-f]{26,50}'(, )?)+\]$", wanted=r"^\[\]$"),
    Known("ranges", "5.2.6.1", EITHER,
          "offers one range a request, and answers UNSUPP to several; ours takes 16, and answers IOERR to others",
          where=STATUS_OF_RANGE, found=UNSUPP, wanted="^0[01]"),
    Known("short-range", "5.2.6.1", EITHER,
          "needs a reset after a DISCARD or WRITE_ZEROES of less than a range; ours answers IOERR",
          qemu="discard/write_zeroes header too short"),
    Known("table-not-negotiated", "2.7.5.3.1, 2.8.19", EITHER,
          "uses an indirect table without INDIRECT_DESC, or with NEXT; ours needs a reset",
          ours="indirect table of [1-9]"),
    Known("outside-ram", "2.7.5", EITHER,
          "goes on after a buffer or a table outside RAM, and reads anything there; ours needs a reset",
          ours="guest memory 0x"),
    Known("too-many", "2.7", EITHER,
          "serves more requests than the queue holds; ours needs a reset", ours="requests waiting; wanted at most"),
    Known("entropy-request", "5.4.6.1", EITHER,
          "passes over buffers to be read, and empty ones, of the entropy device; ours needs a reset",
          ours="^rng0 .*(not for writing to alone|buffer of |table of 0 )"),
    Known("gigabytes", "5.4.6", EITHER,
          "is busy for long with an entropy request of many gigabytes, made of a table of garbage",
          qemu="^rng0, split rings: it does not answer"),
    Known("empty-queue", "4.2.3.2", EITHER,
          "makes no queue of one that the driver gives no entries; ours needs a reset", ours=": 0 entries; wanted"),
)


def known(ours: str = "", qemu: str = "", difference: tuple[str, str, str] = ("", "", "")) -> Known | None:
    """The one that it is: why ours, and why QEMU, needs a reset, or what else differs."""
    for each in KNOWN:
        pairs = zip((each.ours, each.qemu, each.where, each.found, each.wanted), (ours, qemu, *difference))
        if each is not FIRST and all(bool(pattern) == bool(said) and re.search(pattern, said)
                                     for pattern, said in pairs):
            return each
    return None
