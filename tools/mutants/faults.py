"""Realistic faults, as small edits of either half.  Those of the protocol (vmm/sync/PROTOCOL.md) the explorer looks
for first, all others are what random sequences are for.

Not among them, as neither guest nor userspace can tell them from the code as it is:
- take leaves the generation as it was: give moves it too, and nothing rests on the look in between;
- give without a barrier before the holder: x86 keeps stores in order, and each that counts has a barrier behind it;
- no look at the generation before the interrupt: take waits for the handler, and `unsignalled` tells userspace;
- no look whether a chain's head is behind the table: chain_next() looks at it as at any other;
- interrupts that the driver does not want: one too many is legal (VIRTIO 1.2, 2.7.7.1), and each doorbell raises one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    what: str
    file: str           # from the project's root
    old: str            # which is there once
    new: str
    protocol: bool = False
    expected: str = ""  # why nothing finds it, if that is so


ASSISTED = "only `on` has two builds at one queue: tests/kernel_devices/test_assist.py finds it"
DECLINED = "only Python does such a thing, the same with each offload: tests/kernel_devices/ finds it"
KERNEL, SYNC, VIRTQUEUE, VIRTIO, DEVICES = "kernel_devices/", "vmm/sync/", "vmm/virtqueue/", "vmm/virtio/", "vmm/devices/"


def _protocol(file: str, *faults: tuple[str, str, str]) -> list[Fault]:
    return [Fault(what, file, old, new, True) for what, old, new in faults]


def _other(file: str, *faults: tuple) -> list[Fault]:
    return [Fault(fault[0], file, fault[1], fault[2], False, *fault[3:]) for fault in faults]


FAULTS = [
    *_protocol(KERNEL + "ownership.h",
        ("enter: no barrier between active and holder", "__u32 inside = fetch_add(&entry->active, 1);",
         "__u32 inside = READ_ONCE(entry->active);\n\n\tWRITE_ONCE(entry->active, inside + 1);"),
        ("enter: holder is looked at first",
         "__u32 inside = fetch_add(&entry->active, 1);\n\n\tWINDOW();\n\tif (READ_ONCE(ownership->holder) == SIDE_KERNEL",
         "__u32 holder = READ_ONCE(ownership->holder), inside = fetch_add(&entry->active, 1);\n\n\tif (holder == SIDE_KERNEL"),
        ("enter: holder is not looked at", "READ_ONCE(ownership->holder) == SIDE_KERNEL && ", ""),
        ("enter: refused, and still inside", "\tfetch_add(&entry->active, -1);\n\treturn 0;", "\treturn 0;"),
        ("leave: never", "\tbarrier();\n\tfetch_add(&entry->active, -1);", "\tbarrier();")),
    *_protocol(KERNEL + "visit.h",
        ("no look again after asking for a doorbell", "if (!serving->work->tally.stalled && avail_waiting(", "if (0 && avail_waiting("),
        ("no barrier between asking for a doorbell and looking again",
         "if (fetch_add(&queue->entry.rings, 0) == 0)", "if (READ_ONCE(queue->entry.rings) == 0)"),
        ("the lock is let go though a doorbell was left to us", "fetch_add(&queue->entry.rings, -seen) == seen;",
         "exchange(&queue->entry.rings, 0) != 0;"),
        ("a decline keeps the lock", "\texchange(&serving->queue->entry.rings, 0);\n\treturn reason;", "\treturn reason;"),
        ("a decline lets go of one doorbell alone", "\texchange(&serving->queue->entry.rings, 0);\n\treturn reason;",
         "\tfetch_add(&serving->queue->entry.rings, -1);\n\treturn reason;"),
        ("an interrupt decided in a round before a decline is forgotten",
         "\t\tserving->queue->position.unsignalled = MANY_USED;", "\t\t;"),
        ("a second handler goes in as well", "if (fetch_add(&queue->entry.rings, 1) == 0)",
         "if (fetch_add(&queue->entry.rings, 1) != ~0u)"),
        ("nobody is told that the ring sleeps", "if (!*reason && visit->asleep)", "if (0)"),
        ("left to the ring, whoever has come", "return compare_exchange(rings, seen, 0) == seen;",
         "exchange(rings, 0);\n\treturn seen != 0;"),
        ("what is to be raised through the ring is not", "\tif (!uring_raise(uring))\n", "\tif (0)\n"),
        ("a run ends with its first request", "\tback->next = tag->next;", "\tback->next = 0;"),
        ("used entries are not published", "reason = used_publish(serving->device, serving->queue);", "reason = 0;"),
        ("requests are counted twice", "\ttally->counted_requests = tally->requests;", "\t;"),
        ("no interrupt", "return visit->interrupt ? VERDICT_HANDLED_INTERRUPT : VERDICT_HANDLED;",
         "return VERDICT_HANDLED;"),
        ("no interrupt where the ring sleeps", "return *reason == DECLINE_RING_ASLEEP && visit->interrupt ? VERDICT_TO_USER_INTERRUPT : VERDICT_TO_USER;",
         "return VERDICT_TO_USER;"),
        ("a visit does not collect", "if (serving->uring && !collect_one(0, serving))", "if (0)"),
        ("a failed request is nobody's", "\t\ttally->reason = tally->failed;", "\t\t;"),
        ("a tag is not released", "\t\turing_release(uring, tag, index);", "\t\t;")),
    *_protocol(KERNEL + "doorbell.h",
        ("the collector ignores kicks", "(!uring_completions(serving->uring) && !uring_kicked(serving->uring))",
         "!uring_completions(serving->uring)"),
        ("assist: the ring's thread sleeps on", "if (visit.serving.uring && uring_wake(visit.serving.uring))", "if (0)"),
        ("assist: done, and nobody does it", "DECLINE_RING_ASLEEP ? VERDICT_HANDLED : visit_queue(&visit, &reason);",
         "DECLINE_RING_ASLEEP ? VERDICT_HANDLED : VERDICT_HANDLED;"),
        ("the collector tells nobody what it declined", "&& reason != DECLINE_HELD_BY_USER)", "&& 0)")),
    *_protocol(KERNEL + "polling.h",
        ("polling: nobody looks on", "\tif (!uring_nop(uring)) {", "\tif (0) {"),
        ("polling: nobody is woken", "\tif (uring_submit(uring))\n\t\ttally->asleep = 1;", "\turing_submit(uring);"),
        ("polling: it ends and is not over", "\tWRITE_ONCE(serving->uring->looks.polling, 0);\n", ""),
        ("polling: all doorbells are left to looks", "return uring && READ_ONCE(uring->looks.polling) &&", "return uring &&"),
        ("polling: without end", "if (found || now < flight->until_ns)", "if (1)")),
    *_protocol(KERNEL + "uring.h",
        ("a second entry that does nothing is never submitted", "\t\turing->flight.nop = 0;\n", "\t\t;\n"),
        ("no barrier between the tail and the sleep flag", "before = exchange(tail, uring->flight.tail);",
         "before = READ_ONCE(*tail);\n\tWRITE_ONCE(*tail, uring->flight.tail);"),
        ("two completions are taken as one", "WRITE_ONCE(*head, *head + 1);", "WRITE_ONCE(*head, *head + 2);"),
        ("a tag is taken and stays free", "\turing->flight.free--;\n", ""),
        ("an entry is committed over another", "tag->serial << 32;\n\turing->flight.tail++;", "tag->serial << 32;")),
    *_protocol(KERNEL + "split_ring.h",
        ("the used index may be seen before its entries", "\tbarrier();\n\treturn ring_write16", "\treturn ring_write16"),
        ("flags: no doorbell is asked for again", "\t\tring_write16(device, queue->setup.used, 0, &reason);", "\t\t;")),
    *_protocol(SYNC + "ownership.py",
        ("take: no barrier between holder and active", "lib.full_barrier()      # `holder` is out before `active`", "pass      # `holder` is out before `active`"),
        ("take: does not wait for handlers inside", "        if self._active[0]:\n", "        if False:\n"),
        ("no barrier behind give", "        self._holder[0] = KERNEL\n        lib.full_barrier()", "        self._holder[0] = KERNEL\n        pass"),
        ),
    *_protocol(VIRTIO + "virtio_device.py",
        ("no look at completions after give", "again = queue.uring and queue.uring.pending and self._live", "again = False"),
        ("Python: polling goes on without anybody who looks", "queue.uring.looks.polling = 0 ", "pass "),
        ("no look at completions after all queues are given", "if queue.uring and queue.uring.pending:     # before",
         "if False:     # before"),
        ("Python interrupts for nothing that it used", "        if wanted:\n", "        if False:\n")),
    *_protocol(VIRTQUEUE + "virtqueue.py",
        ("Python: no barrier between asking for a doorbell and looking again",
         "        lib.full_barrier()\n        return self.ring.available", "        return self.ring.available"),
        ("Python: no look again", "return self.ring.available(self.state.position.next_avail)\n\n    def gather",
         "return False\n\n    def gather"),
        ("Python: no barrier between publishing and the driver's wish", "lib.full_barrier()      # what is used",
         "pass      # what is used")),
    *_protocol(VIRTQUEUE + "uring.py",
        ("Python: wakes nobody", "elif flags & NEED_WAKEUP:", "elif False:"),
        ("Python: completions are taken twice", "self._words[3][0] = head + 1 & 0xffffffff", "self._words[3][0] = head"),
        ("Python: a run ends with its first request", "            index = following", "            index = -1"),
        ("Python: a tag stays failed", "            flight.failed -= 1\n        tag.state", "            pass\n        tag.state")),
    *_protocol(VIRTIO + "in_flight.py",
        ("Python: what failed is not done again", "            moved = self.redo(queue, tag, uring.parts(tag, index))\n", "            moved = 0\n"),
        ("Python: what came back is not counted", "                self._count_done(queue, *done)\n", "")),

    *_other(KERNEL + "doorbell.h",
        ("assist: counts a decline again", "{ .serving.device = device, .assisting = 1 }", "{ .serving.device = device }", ASSISTED),
        ("assist: takes what failed", "declined->reason == DECLINE_IO_FAILED ||", "", ASSISTED)),
    *_other(KERNEL + "split_ring.h",
        ("a used entry in the next one's place", "__u16 place = queue->position.next_used & (", "__u16 place = (queue->position.next_used + 1) & ("),
        ("used lengths are stale", "\tWRITE_ONCE(elem[1], written);", "\t;"),
        ("more available than the queue holds", "if (waiting > queue->setup.size) {", "if (0) {"),
        ("a doorbell is asked for an entry late", "queue->position.next_avail, &reason);", "queue->position.next_avail + 1, &reason);"),
        ("event index: an entry late", "- event - 1) < used;", "- event) < used;"),
        ("flags: interrupts are never wanted", "return !(flags & AVAIL_NO_INTERRUPT);", "return 0;")),
    *_other(KERNEL + "packed_ring.h",
        ("packed: the wrap counter turns a place late", "if (place < queue->setup.size)", "if (place <= queue->setup.size)"),
        ("packed: the wrap counter does not turn", "return (wrap ^ PACKED_WRAP) |", "return wrap |"),
        ("packed: used flags of the other wrap", "PACKED_AVAIL | PACKED_USED : 0)", "0 : PACKED_AVAIL | PACKED_USED)"),
        ("packed: the write flag is not given back", "(written ? VRING_DESC_FLAGS_WRITE : 0)", "0"),
        ("packed: entries are shown where they were shown before", "queue->position.shown = queue->position.next_used;", ";"),
        ("packed: an event index that never interrupts", "return since < used;", "return 0;"),
        ("packed: interrupts are never wanted", "return (event >> 16 & 3) != EVENT_DISABLE;", "return 0;")),
    *_other(KERNEL + "virtqueue.h",
        ("indirect tables that were not negotiated", "chain->indirect || !queue->setup.indirect ||", "chain->indirect ||"),
        ("an indirect table in an indirect table", "chain->indirect || !queue->setup.indirect ||", "!queue->setup.indirect ||"),
        ("half an entry at the end of an indirect table", "desc->len == 0 || desc->len % sizeof(*desc))", "desc->len == 0)"),
        ("a descriptor behind the table", "chain->left == 0 || chain->next >= chain->entries)", "chain->left == 0)"),
        ("a buffer of length 0", "desc.len == 0 || (chain", "(chain"),
        ("a buffer to read after one to write", "(chain->writable && !segment->writable)", "0"),
        ("packed: a chain takes one place", "\t\tchain->slots++;", "\t\tchain->slots = 1;"),
        ("a request is taken twice", "\t\tqueue->position.next_avail++;", "\t\t;"),
        ("the interrupt's cause is not said", "if (page && offset)", "if (0)"),
        ("interrupts for what was signalled before", "\tqueue->position.unsignalled = 0;", "\t;")),
    *_other(KERNEL + "blk/blk.c",
        ("blk: a sector beyond the end", "sectors > capacity - sector ?", "sectors > capacity - sector + 1 ?"),
        ("blk: half a sector", "\tif (bytes == 0 || bytes % BLK_SECTOR)\n\t\treturn BLK_DECLINE_FRAMING;\n\treason", "\treason"),
        ("blk: a range begins a sector late", "plan(work, IO_FALLOCATE, sector * BLK_SECTOR", "plan(work, IO_FALLOCATE, (sector + 1) * BLK_SECTOR"),
        ("blk: a range is as long as its bytes", "(rest & 0xffffffff) * BLK_SECTOR;", "(rest & 0xffffffff);"),
        ("blk: discards that may not unmap", "unmap > (type == REQUEST_TYPE_WRITE_ZEROES)", "0"),
        ("blk: a flush does not wait", "\tplan(work_of(serving), IO_FSYNC, 0, 0, 0);\n\treturn 0;", "\treturn 0;"),
        ("blk: an ID of a byte less", "BLK_ID_BYTES);\n\treturn 0;", "BLK_ID_BYTES - 1);\n\treturn 0;")),
    *_other(KERNEL + "blk/blk_work.h",
        ("blk: the status is not written", "\tWRITE_ONCE(*status, STATUS_OK);", "\t;"),
        ("blk: the status byte is not in the used length", "written + 1);", "written);")),
    *_other(KERNEL + "blk/blk_ring.h",
        ("blk: a transfer goes to the start", "\tsqe->off = first->place;", "\tsqe->off = 0;"),
        ("blk: a run takes in what does not go on from it", "run->end == work->place &&", ""),
        ("blk: a run forgets its last requests", ".next = index + 1;", ".next = 0;"),
        ("blk: a run has the first request's buffers alone", "\t\trun->buffers += buffers;\n", ""),
        ("blk: reads are counted as nothing written", "bytes, write ? 0 : bytes);", "bytes, 0);"),
        ("blk: a short transfer is taken for all of it", "result < 0 || (__u32)result != tag->wanted", "result < 0")),
    *_other(KERNEL + "blk/blk_copy.h",
        ("blk: the second buffer has the first one's data", "work->image_at + work->copied))", "work->image_at))"),
        ("blk: only the first part of a buffer", "\tif (done != work->part[index].length) {", "\tif (0) {",
         "what is not copied as a whole is declined, and Python does it: later, and that is all")),
    *_other(KERNEL + "net/net_transmit.h",
        ("net: packets shorter than their headers", "if (work->common.walk.total < LINK_HEADER_BYTES ||", "if (0 ||"),
        ("net: what is not sent stays available", "\tavail_take(serving->queue, &work->common.walk.chain);\n", ""),
        ("net: anti-spoofing lets nothing through", "source[2] == mac[2] ? 0 : SERVE_LATER;", "source[2] == mac[2] ? SERVE_LATER : 0;")),
    *_other(KERNEL + "net/net_receive.h",
        ("net: the header tells of no buffer", "*buffers = count;", "*buffers = 0;")),
    *_other(KERNEL + "console/console.c",
        ("console: output in part is taken for all of it", "result < 0 || (!receive && (__u32)result != tag->wanted)", "result < 0",
         "the other end takes all at once"),
        ("console: input of no length", "receive ? result : 0);", "0);"),
        ("console: the end of input is input", "if (receive && result == 0) {", "if (0) {")),
    *_other(KERNEL + "rng/rng.c",
        ("rng: more than is told", "walk->chain.slots, length);", "walk->chain.slots, length / 2);"),
        ("rng: a request of two buffers", "walk_chain(serving, 1, 0, RNG_DECLINE_FRAMING)", "walk_chain(serving, 0, 0, RNG_DECLINE_FRAMING)"),
        ("rng: repeats its bytes", "state->pool.taken = taken + length;", "state->pool.taken = taken;")),
    *_other(VIRTQUEUE + "split_ring.py",
        ("Python: a used entry in the next one's place", "self._used + 4 + 8 * (used & self.size - 1)", "self._used + 4 + 8 * (used + 1 & self.size - 1)"),
        ("Python: the used index is written over the flags", "            self._unpublished = False\n            self.words[self._used + 2 >> 1]", "            self._unpublished = False\n            self.words[self._used >> 1]")),
    *_other(VIRTQUEUE + "ring.py",
        ("Python: a buffer to read after one to write", "(chain.writable and not flags & WRITE)", "False", DECLINED)),
    *_other(DEVICES + "blk.py",
        ("Python: blk: a sector beyond the end", "sectors > self._capacity - sector:\n            return Status.IOERR, 0, 0", "sectors > self._capacity - sector + 1:\n            return Status.IOERR, 0, 0", DECLINED),
        ("Python: blk: the status byte is not in the used length", "return written + 1 if written == room else written", "return written")),
    *_other(VIRTIO + "virtio_device.py",
        ("Python: serves a device that needs a reset", "self.page.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK",
         "bool(self.page.status & DRIVER_OK)", DECLINED)),
    *_other(DEVICES + "net.py",
        ("Python: net: packets shorter than their headers", "if not HEADER_BYTES + ETHER_BYTES <= length <= LARGEST_PACKET:",
         "if length > LARGEST_PACKET:", DECLINED)),
    *_other(DEVICES + "net_receive.py",
        ("Python: net: the used length is a header short", "queue.push(chain, done - before)", "queue.push(chain, done - before - 12)")),
]
