"""The Python half of an explored disk: the real one, whose accesses to shared words are the explorer's to order."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any

from vmm.devmodel.devices.blk import SECTOR, Writes
from vmm.devmodel.layout import PAGE, layout_block
from vmm.devmodel.uring import Raises, uring_layout
from vmm.devmodel.view import address_of, ffi
from vmm.devmodel.virtqueue import Side, UserCounters
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.sync.counting import count
from vmm.sync.handoff import Declined
from vmm.testing.driver import NEXT, WRITE, Driver
from vmm.virtio.virtio_device import EVENT_IDX

from .scenario import Scenario
from .words import Looks, Over, Word, Words, patched, word_of

CDEF = """
struct scenario {
    void *device;
    uint64_t ram, ram_bytes, uring, avail, used, status[16];
    uint32_t size, event_index, requests[2], through_ring, failing, scripts, preemptions, delays, forgets,
        rounds, at_once, assisted, always, by_ring;
};
struct seen { uint64_t at, value; uint8_t actor, what, size, delayed; };
void explore_scenario(const struct scenario *given, const uint16_t *heads);
void explore_region(uint64_t at, uint64_t bytes, uint64_t hashed);
void explore_span(uint64_t at, uint64_t bytes);
void explore_start(void);
int explore_next(void);
void explore_restore(void);
int explore_end(void);
const char *explore_violation(void);
const struct seen *explore_events(uint32_t *count);
void explore_counts(uint64_t *counts);
int user_over(void);
uint32_t user_wait(void);
void user_served(uint32_t vcpu);
uint64_t user_load(uint64_t at, uint32_t size);
void user_store(uint64_t at, uint32_t size, uint64_t value);
uint64_t user_or(uint64_t at, uint32_t bits);
void user_fence(void);
void user_yield(void);
int user_assist(uint32_t reason);
void user_interrupt(void);
void user_signal(void);
void user_wake(void);
void user_pause(void);
void user_resume(void);
"""
DOORBELL, UPCALLED = 1, 2       # enum mail_kind
QUIET, VIOLATED = 1, 2          # enum over
SLOTS, SIZE = 16, 64
REQUESTS, STATUS = 0x8000, 0x40     # guest-physical: 0x100 for each slot, and where in it its status is
LOOKS, MANY_BELLS = 2, 1000     # looks without anything found that end polling; doorbells that begin it
MOST_COMPLETIONS = 32
CQES = 512                      # in the ring's page, behind its heads and tails
OUT, FLUSH, GET_ID, UNKNOWN = 1, 4, 8, 99       # types of requests
WRITTEN = 0xc000                # what is written: guest-physical


@lru_cache(maxsize=1)
def explorers_ffi():
    from cffi import FFI
    found = FFI()
    found.cdef(CDEF)
    return found


class Explored:
    """One scenario's machine."""

    machine: Any
    device: Any         # a BlkDevice

    def __init__(self, scenario: Scenario, build: Path, image: Path):
        self.ffi = explorers_ffi()
        self.lib = self.ffi.dlopen(str(build / "blk.so"))
        self.scenario = scenario
        image.write_bytes(bytes(4096))
        self.machine = Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False, disks=[
            DiskConfig(image, offload="off", asynchronous="off", queue_size=SIZE)]))
        self.device = self.machine.devices[0]
        self.device.handlers = build
        self.notify = self.device.registers.registers["queue_notify"].offset
        self.device.image.flush = lambda: None
        driver = Driver(self.machine, self.device, EVENT_IDX if scenario.event_index else 0, SIZE)
        self.ring = driver.rings[0]
        self.queue = self.device.queues[0]
        self._heads()
        self.machine.set_offload(self.device, "host")
        if scenario.writes:
            disk = self.device.state.disk
            disk.writes, disk.durable = Writes.AT_ONCE, 0       # nor is any disk waited for
        self._make_ring()
        self._explored()

    def close(self) -> None:
        self.lib.explore_restore()
        self.queue.uring.fd = -1
        self.machine.close()

    def _heads(self) -> None:
        """Every request that a driver may make, ready to be made available."""
        self.heads = []
        for slot in range(SLOTS):
            at, head = REQUESTS + 0x100 * slot, 3 * slot
            kind = self._kind(slot)
            self.machine.memory.write(at, struct.pack("<IIQ", kind, 0, 0))
            self.machine.memory.write(at + STATUS, b"\xff")
            parts = [(at, 16, 0), (at + 0x20, 20, WRITE), (at + STATUS, 1, WRITE)]
            if kind == FLUSH:
                del parts[1]
            elif kind == OUT:
                parts[1] = WRITTEN, SECTOR, 0
            for i, (address, length, flags) in enumerate(parts):
                last = i == len(parts) - 1
                self.ring.put(head + i, address, length, flags | (0 if last else NEXT), 0 if last else head + i + 1)
            self.heads.append(head)

    def _kind(self, slot: int) -> int:
        scenario = self.scenario
        for slots, kind in ((scenario.writes, OUT), (scenario.odd, UNKNOWN), (scenario.through_ring, FLUSH)):
            if slots >> slot & 1:
                return kind
        return GET_ID

    def _make_ring(self) -> None:
        """An io_uring whose other end is the explorer's."""
        uring = self.queue.uring
        uring.wiring.address, uring.wiring.ram, uring.wiring.polled = uring.address, uring.ram, 1
        places = {"sq_head": 0, "sq_tail": 64, "sq_flags": 128, "cq_head": 192, "cq_tail": 256}
        for name, at in places.items():
            setattr(uring.wiring, name, at)
        uring.wiring.cqes = CQES
        self.base = uring.address + 2 * PAGE
        uring._words = [Word(self, self.base + at) for at in places.values()]
        uring._cqes, uring._completion_fd, uring.fd = self.base + CQES, -1, 1 << 20
        self.ring_words = {name: self.base + at for name, at in places.items()}
        with self.queue.ownership:
            uring._forget()
            self.queue.ownership.assigned = self._first_holder
        if self.scenario.received:
            self.device.receives = lambda index: True
        uring.wiring.raises = int(Raises.COLLECTED if self.scenario.by_ring else Raises.NONE)
        if self.scenario.polled:
            uring.wiring.poll_ns, uring.wiring.poll_always = LOOKS, 1
            with self.queue.ownership:
                uring.flight.bells = MANY_BELLS
        uring.wiring.ready = 1

    def _explored(self) -> None:
        """Say what is shared, and what the state is."""
        scenario, queue, place, lib = self.scenario, self.queue, self.device.place, self.lib
        state, memory, uring = address_of(queue.state), self.machine.memory, queue.uring
        _library, handle = self.machine.offloading.host._devices[place.slot]
        given = self.ffi.new("struct scenario *", {
            "device": self.ffi.cast("void *", address_in_native(handle)),
            "ram": memory.address, "ram_bytes": memory.size, "uring": uring.address,
            "avail": self.ring.avail, "used": self.ring.used,
            "status": [REQUESTS + 0x100 * slot + STATUS for slot in range(SLOTS)], "size": SIZE,
            "event_index": int(scenario.event_index), "requests": list(scenario.requests),
            "through_ring": scenario.through_ring, "failing": scenario.failing, "scripts": len(scenario.script),
            "preemptions": scenario.preemptions, "delays": scenario.delays, "forgets": int("reset" in scenario.script),
            "rounds": scenario.rounds, "at_once": scenario.at_once, "assisted": int(bool(scenario.writes)),
            "always": int(scenario.always), "by_ring": int(scenario.by_ring)})
        lib.explore_scenario(given, self.heads)
        self.names: dict[int, str] = {}
        for name, at, size in self._shared(state):
            self.names[at] = name
            lib.explore_span(at, size)
        for at, size, hashed in self._regions(state):
            lib.explore_region(at, size, hashed)

    def _shared(self, state: int) -> Iterator[tuple[str, int, int]]:
        """(name, address, bytes) of the words that several touch."""
        queue, ram = self.queue.state, self.machine.memory.address
        for block, names in (("ownership", ("holder", "generation")), ("entry", ("active", "rings"))):
            for name in names:
                yield name, word_of(getattr(queue, block), name), 4
        yield "avail.flags", ram + self.ring.avail, 2
        yield "avail.idx", ram + self.ring.avail + 2, 2
        yield "used_event", ram + self.ring.avail + 4 + 2 * SIZE, 2
        yield "used.flags", ram + self.ring.used, 2
        yield "used.idx", ram + self.ring.used + 2, 2
        yield "avail_event", ram + self.ring.used + 4 + 8 * SIZE, 2
        for name, at in self.ring_words.items():
            yield name, at, 4
        yield "kicks", word_of(self.queue.uring.wiring, "kicks"), 4
        yield "polling", word_of(self.queue.uring.state.looks, "polling"), 4

    def _regions(self, state: int) -> Iterator[tuple[int, int, int]]:
        """(address, bytes to be put back, bytes that are part of the state)."""
        place, memory, uring, queue = self.device.place, self.machine.memory, self.queue.uring, self.queue.state
        user = address_of(queue.user) - state
        yield place.state, state - place.state, state - place.state     # the device's own, whose control block is first
        yield state, user, user                                         # all but userspace's counters, which tell time
        yield state + user, layout_block(UserCounters).size, 0
        yield place.page, PAGE, 0x100
        for at, size in ((self.ring.avail, 4 + 2 * SIZE + 2), (self.ring.used, 4 + 8 * SIZE + 2)):
            yield memory.address + at, (size + 7) & ~7, (size + 7) & ~7
        yield memory.address + REQUESTS, 0x100 * SLOTS, 0x100 * max(1, self.scenario.slots)
        yield self.base, 2 * PAGE, CQES + 16 * MOST_COMPLETIONS
        wiring = uring_layout().field("wiring").offset
        end = uring_layout().field("receive").offset
        yield uring.address + wiring, end - wiring, end - wiring

    @property
    def _first_holder(self) -> Side:
        return Side.USER if self.scenario.received else Side.KERNEL

    # a schedule

    def run(self, end: float = math.inf) -> str:
        """Explore, until that time at most: what is wrong with the first schedule that ends badly, or ""."""
        self.lib.explore_start()
        with patched(self):
            while monotonic() < end and self.lib.explore_next():
                if wrong := self._schedule():
                    return wrong
        return ""

    def _schedule(self) -> str:
        self._fresh()
        try:
            self._userspace()
        except Over:
            pass
        except Exception as error:
            self.lib.explore_end()
            return f"userspace: {type(error).__name__}: {error}"
        over = self.lib.explore_end()
        if over == VIOLATED:
            return self.ffi.string(self.lib.explore_violation()).decode()
        return self._quiet() if over == QUIET else ""

    def _fresh(self) -> None:
        """What Python keeps beside shared memory, as it was."""
        queue, device = self.queue, self.device
        queue.latch()
        queue.ring.words = Words(self)
        queue.uring.looks = Looks(self, queue.uring.state.looks)
        device.assigned = Side.KERNEL
        queue.ownership.assigned = self._first_holder
        queue.ownership._depth = device.control._depth = 0
        for name in ("holder", "generation", "active"):
            block = queue.state.entry if name == "active" else queue.state.ownership
            setattr(queue.ownership, f"_{name}", Word(self, word_of(block, name)))
        device.transport.queue_used = self._queue_used

    def _queue_used(self, _queue: int) -> None:
        transport = self.device.transport
        self.lib.user_or(transport.place.page + transport.cause_offset, 1)
        self.lib.user_interrupt()
        self.check()

    def check(self) -> None:
        if self.lib.user_over():
            raise Over

    def _userspace(self) -> None:
        """The thread of userspace that has something to do; there is one at a time, under the device's lock."""
        while got := self.lib.user_wait():
            kind, of = got & 0xff, got >> 8
            if kind == DOORBELL:
                self._handed_over(of >> 4)
                self.lib.user_served(of & 15)
            elif kind == UPCALLED:
                if not self.lib.user_assist(of):
                    self.check()
                    self.device.upcalled(0, of)
            else:
                getattr(self, f"_{self.scenario.script[of]}")()

    def _handed_over(self, reason: int) -> None:
        """A doorbell that was declined: as the machine has it done."""
        access = Declined(0, self.device.place.slot, self.notify, 4, reason, 0)
        if self.queue.ownership.assigned == Side.USER:
            self._receive()
        elif self.machine.only_tells(access):
            self.device.upcalled(0, reason)
        else:
            self.device.notified(0)

    # what userspace does of itself

    def _take(self) -> None:
        """Take the queue, serve it, give it back: as for a doorbell of nobody's."""
        with self.device.lock:
            self.device._serve(self.queue)

    def _kick(self) -> None:
        with self.device.lock:
            self.queue.uring.kick()

    def _switch(self) -> None:
        """Offload off, and on again: vCPUs and collector stand still for each half of it."""
        for side in (Side.USER, Side.KERNEL):
            self.lib.user_pause()
            self.check()
            self.device.assign(side)
            self.lib.user_resume()

    def _receive(self) -> None:
        """Something comes in for the first buffers, as NetReceive has it."""
        queue, filled = self.queue, 0
        with self.device.lock:
            while queue.state.position.next_used < self.scenario.received and self.device.user_receives(queue):
                chain, which = next(queue.buffers())
                queue.take_buffers([which])
                self.machine.memory.write(chain.writable[-1][0], b"\0")
                queue.push(chain, 1)
                filled += 1
            count(queue.state.user, filled, filled)
            self.device.show_used(queue)

    def _give(self) -> None:
        """Buffers that wait for input become the kernel half's, though nobody rings for them any more."""
        with self.device.lock:
            self.device.assign_receive(self.queue, Side.KERNEL)

    def _reset(self) -> None:
        self.device.set_status(0)

    def _quiet(self) -> str:
        """What is wrong now that nobody has anything to do, or ""."""
        entry, uring = self.queue.state.entry, self.queue.uring
        if entry.active or entry.rings:
            return f"active is {entry.active}, rings is {entry.rings}; wanted 0 and 0"
        if uring.flying:
            return f"{uring.flying} tags are taken; wanted none"
        if uring.pending or uring.flight.failed:
            return f"completions wait: {uring.pending}, {uring.flight.failed} requests failed; wanted neither"
        if "reset" in self.scenario.script:
            return ""
        handled, total = entry.handled + self.queue.state.user.handled, sum(self.scenario.requests)
        if handled != total:
            return f"{handled} requests are counted; wanted {total}"
        polling = uring.state.looks.polling
        if self.scenario.polled and (polling or not self._asks()):
            return f"polling is {polling}, doorbells asked for: {self._asks()}; wanted none, and that"
        holder = Side(self.queue.ownership._holder.plain())
        if holder != self.queue.ownership.assigned:
            return f"{holder!r} holds the queue; wanted {self.queue.ownership.assigned!r}"
        return ""

    def _asks(self) -> bool:
        """Whether the driver rings for its next request."""
        read, position = self.machine.memory.read_u16, self.queue.state.position
        if self.scenario.event_index:
            return read(self.ring.used + 4 + 8 * SIZE) == position.next_avail
        return not read(self.ring.used) & 1

    # what was explored

    @property
    def counts(self) -> tuple[int, int, int]:
        """Schedules, states, steps."""
        found = self.ffi.new("uint64_t[3]")
        self.lib.explore_counts(found)
        return tuple(found)

    def events(self) -> list[str]:
        """The last schedule, a line for each step that somebody else could see."""
        count = self.ffi.new("uint32_t *")
        found, lines = self.lib.explore_events(count), []
        for event in found[0:count[0]]:
            actor = ACTOR_NAMES[event.actor]
            name = self.names.get(event.at, f"{event.at:#x}")
            lines.append(f"{actor:10}" + {
                0: f"reads {name}: {event.value:#x}", 1: f"writes {name} = {event.value:#x}"
                + (", which stays in its store buffer" if event.delayed else ""),
                2: f"makes {name} {event.value:#x}", 3: f"store to {name} = {event.value:#x} is seen",
                4: "goes on" + (", in place of another that could" if event.value else "")}[event.what])
        return lines


ACTOR_NAMES = ("vCPU 0", "vCPU 1", "ring", "collector", "guest irq", "userspace")


def address_in_native(handle: Any) -> int:
    return int(ffi.cast("uintptr_t", handle))
