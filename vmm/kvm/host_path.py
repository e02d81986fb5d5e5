"""The host's exit path, which all VMs share (kernel_devices/host_path.bpf.c): found, or made, and joined.

It is held by the links' descriptors, of which each VM has its own, and is pinned nowhere: it is there as long as any VM
is.  Two that start at the same time may each make one, and so do two versions of this software; each VM is on one of
them, and an exit pays for those that there are.  Without CAP_SYS_ADMIN, which it takes to find what others have
attached, a VM makes its own.

One that no VM has a place in is not joined: its last one may be ending, and the kernel empties an array of programs
some time after its last descriptor has gone (prog_array_map_clear(), kernel/bpf/arraymap.c), whoever has opened it
since.  A place is taken before the links are made and given back before any descriptor is closed, so that a place which
is taken says that this has not begun.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256

from ..devmodel.exit_path import VMS
from ..paths import BUILD
from .bpf import BpfUnavailable, Maps, Object, binding

FILE = BUILD / "host_path.bpf.o"
ATTACHED = {"host_mmio": "kvm_mmio", "host_pio": "kvm_pio", "host_message": "kvm_msi_set_irq",
            "host_exit": "sched_process_exit", "host_exec": "sched_process_exec"}       # program -> tracepoint
MAPS = {"host_members", "host_places", "host_entries"}
CONSTANTS = ".rodata"       # how the name of the map ends that `host_generation` is in
ENTRIES = ("on_mmio", "on_pio", "on_message")       # a VM's own programs, in the order of enum entry
GENERATION_BYTES = 8


class HostPath:
    """This VM's part in it: a place."""

    def __init__(self) -> None:
        """Takes a place, unless another VM of this process has one.  Raises BpfUnavailable."""
        self._place, generation = -1, _generation()
        with ExitStack() as made:
            found = _find(generation)
            maps, self._links = (made.enter_context(each) for each in found or (_Descriptors(), _Descriptors()))
            own = {name: fd for name, fd in maps.items() if name in MAPS}
            self._object = made.enter_context(Object(FILE, Maps(), own, {"host_generation": generation}))
            made.callback(self._leave)
            self._take_place()
            if not found:
                self._attach()
            self._kept = made.pop_all()

    def _attach(self) -> None:
        for name, tracepoint in ATTACHED.items():
            fd = self._object.lib.bpf_raw_tracepoint_open(tracepoint.encode(), self._object.program(name))
            if fd < 0:
                raise BpfUnavailable(f"{FILE}: attaching {name} to {tracepoint}: {os.strerror(-fd)}; wanted a kernel "
                                     "with KVM's tracepoints, and CAP_PERFMON")
            self._links[name] = fd

    def _take_place(self) -> None:
        if self._place < 0:
            self._place = self._object.run("host_join") - 1

    def _entries(self) -> list[bytes]:
        """Keys of `host_entries`, of this VM's programs, in the order of ENTRIES."""
        return [(len(ENTRIES) * self._place + i).to_bytes(4, "little") for i in range(len(ENTRIES))]

    def join(self, dispatcher: Object) -> None:
        """Have the place's programs be the dispatcher's.  Raises BpfUnavailable if there is no place."""
        self._take_place()
        if self._place < 0:
            raise BpfUnavailable(f"host path: no place; wanted less than {VMS} VMs with offload on, one in a process")
        lib, entries = self._object.lib, self._object.map("host_entries")
        for name, key in zip(ENTRIES, self._entries()):
            if lib.bpf_map_update_elem(entries, key, dispatcher.program(name).to_bytes(4, "little"), lib.BPF_ANY):
                raise BpfUnavailable(f"host path: {name} at place {self._place}: {os.strerror(self._object.ffi.errno)}")

    def listen(self, on: bool) -> None:
        """Whether this VM's exits come to its dispatcher, from now on."""
        if self._object.run("host_listen", int(on)):
            raise BpfUnavailable("host path: this VM has no place any more")

    def _leave(self) -> None:
        """The place is given back empty: a program that stays keeps the VM's maps.  A process that was forked from the
        VM's has no place to give."""
        if self._place >= 0 and not self._object.run("host_listen", 0):
            for key in self._entries():
                self._object.lib.bpf_map_delete_elem(self._object.map("host_entries"), key)
            self._object.run("host_leave")
        self._place = -1

    def close(self) -> None:
        self._kept.close()


class _Descriptors(dict):
    """By name; a context manager that closes them."""

    def __enter__(self) -> _Descriptors:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self.values():
            os.close(fd)
        self.clear()


def _generation() -> bytes:
    """Of what is built here.  Raises BpfUnavailable."""
    if not FILE.exists():
        raise BpfUnavailable(f"{FILE} is missing; wanted it built, by `make`")
    return sha256(FILE.read_bytes()).digest()[:GENERATION_BYTES]


def _find(generation: bytes) -> tuple[_Descriptors, _Descriptors] | None:
    """Descriptors of the maps and links of one of that generation, if there is one."""
    for program in _attached("host_mmio"):
        with ExitStack() as opened:
            maps, links = (opened.enter_context(_Descriptors()) for _ in range(2))
            members = _open_maps(program, maps)
            if members and _generation_of(maps) == generation:
                _open_links(members, maps, links)
                if maps.keys() >= MAPS and links.keys() == ATTACHED.keys() and _has_members(maps):
                    opened.pop_all()
                    return maps, links
    return None


def _attached(name: str) -> Iterator:
    """Programs of that name on this host, with the numbers of their links and maps; the oldest first."""
    ffi, lib = binding()
    link = 0
    while lib.attached_next(link, name.encode(), found := ffi.new("struct attached *")):
        yield found
        link = found.link


def _open_maps(program, maps: _Descriptors) -> int:
    """Add those of a program that are not there yet.  The number of its `host_members`, or 0."""
    ffi, lib = binding()
    raw, value_bytes, members = ffi.new("char[16]"), ffi.new("uint32_t *"), 0
    for number in program.map[0:program.map_count]:
        fd = lib.map_open(number, raw, value_bytes)
        if fd < 0:
            continue
        name = ffi.string(raw).decode()
        constants = name.endswith(CONSTANTS) and value_bytes[0] == GENERATION_BYTES
        if name == "host_members":
            members = number
        if name in maps or not (name in MAPS or constants):
            os.close(fd)
        else:
            maps[name] = fd
    return members


def _generation_of(maps: _Descriptors) -> bytes:
    """Empty if nothing tells it."""
    ffi, lib = binding()
    fd = next((fd for name, fd in maps.items() if name.endswith(CONSTANTS)), -1)
    value = ffi.new("char[]", GENERATION_BYTES)
    return b"" if lib.bpf_map_lookup_elem(fd, bytes(4), value) else bytes(ffi.buffer(value))


def _has_members(maps: _Descriptors) -> bool:
    """Whether a VM has a place; asked when all that is needed is open."""
    ffi, lib = binding()
    return not lib.bpf_map_get_next_key(maps["host_members"], ffi.NULL, ffi.new("uint32_t *"))


def _open_links(members: int, maps: _Descriptors, links: _Descriptors) -> None:
    """Of all programs with the same `host_members`, whose other maps are added."""
    lib = binding()[1]
    for name in ATTACHED:
        for other in _attached(name):
            if members in other.map[0:other.map_count] and (fd := lib.bpf_link_get_fd_by_id(other.link)) >= 0:
                links[name] = fd
                _open_maps(other, maps)
                break
