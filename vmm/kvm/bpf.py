"""libbpf, as much of it as the exit path needs.  Everything made here is held by file
descriptors of this process and pinned nowhere, so a crash leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from .verifier import LogFile


class BpfUnavailable(UserError):
    """BPF cannot be used here; says why."""


def binding():
    try:
        from . import _bpf
    except ImportError as error:
        raise BpfUnavailable(f"libbpf: {error}; wanted libbpf 1, and in a checkout `make`") from None
    return _bpf.ffi, _bpf.lib


class Maps:
    """The maps of one VM, made before any program is loaded and handed to each."""

    def __init__(self):
        self.ffi, self.lib = binding()
        self.fds: dict[str, int] = {}

    def array(self, name: str, value: int, entries: int, shared: bool = True) -> int:
        """A mappable array of `entries` elements of `value` bytes; returns its descriptor, which is
        the caller's to close unless the map is `shared` by all objects."""
        return self._new(self.lib.BPF_MAP_TYPE_ARRAY, name, 4, value, entries,
                         self.lib.BPF_F_MMAPABLE, shared)

    def hash(self, name: str, key: int, value: int, entries: int) -> int:
        return self._new(self.lib.BPF_MAP_TYPE_HASH, name, key, value, entries, 0)

    def per_cpu(self, name: str, value: int) -> int:
        """One element for each CPU, for programs alone."""
        return self._new(self.lib.BPF_MAP_TYPE_PERCPU_ARRAY, name, 4, value, 1, 0)

    def programs(self, name: str, entries: int) -> int:
        return self._new(self.lib.BPF_MAP_TYPE_PROG_ARRAY, name, 4, 4, entries, 0)

    def ring(self, name: str, size: int) -> int:
        """A ring buffer of `size` bytes, by which programs call userspace."""
        return self._new(self.lib.BPF_MAP_TYPE_RINGBUF, name, 0, 0, size, 0)

    def _new(self, kind: int, name: str, key: int, value: int, entries: int, flags: int,
             shared: bool = True) -> int:
        assert not shared or name not in self.fds, f"map {name}, made twice"
        fd = self.lib.map_new(kind, name.encode(), key, value, entries, flags)
        if fd < 0:
            raise BpfUnavailable(f"BPF map {name} of {entries} times {value} bytes: "
                                 f"{os.strerror(-fd)}; wanted CAP_BPF and the memory for it")
        if shared:
            self.fds[name] = fd
        return fd

    def update(self, fd: int, key: bytes, value: bytes) -> None:
        if self.lib.bpf_map_update_elem(fd, key, value, self.lib.BPF_ANY):
            raise OSError(self.ffi.errno, f"BPF map update: {os.strerror(self.ffi.errno)}")

    def delete(self, fd: int, key: bytes) -> None:
        self.lib.bpf_map_delete_elem(fd, key)

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()


class RingBuffer:
    """Records of one size out of a ring buffer, for whoever polls its descriptor."""

    MOST = 64       # records taken at once

    def __init__(self, maps: Maps, fd: int, record_bytes: int):
        """`fd` is of the map, which stays its owner's."""
        self._ffi, self._lib, self._record_bytes = maps.ffi, maps.lib, record_bytes
        self._reader = maps.lib.records_open(fd, record_bytes)
        if not self._reader:
            raise BpfUnavailable("BPF ring buffer: mapping it failed; wanted it to work")
        self._records = maps.ffi.new("char[]", record_bytes * self.MOST)

    def fileno(self) -> int:
        """Readable while there are records."""
        return self._lib.records_fd(self._reader)

    def take(self) -> list[bytes]:
        """The next ones, MOST at most."""
        count = self._lib.records_take(self._reader, self._records, self.MOST)
        data, size = self._ffi.buffer(self._records), self._record_bytes
        return [data[at:at + size] for at in range(0, count * size, size)]

    def close(self) -> None:
        self._lib.records_close(self._reader)


def why_not() -> str:
    """Why there is no BPF to be had here, or "": asked of the kernel, with the smallest of maps."""
    try:
        maps = Maps()
        maps.array("try", 4096, 1)
        maps.close()
    except BpfUnavailable as error:
        return str(error)
    return ""


class Object:
    """A loaded BPF object; a context manager that unloads it."""

    def __init__(self, path: Path, maps: Maps, own: dict[str, int], constants: dict[str, bytes],
                 log: LogFile | None = None, prefer: tuple[str, str] | None = None):
        """Load `path` with the VM's maps and the device's `own` ones (name -> descriptor).

        `constants` fill `const volatile` variables, by name, before the verifier sees them.  If the object has the
        first program of `prefer`, the second is left out, and it is the one that is meant by that name.
        Raises BpfUnavailable with the line of C that is refused, and why; `log` keeps all that is said then.
        """
        self.ffi, self.lib, self.path = maps.ffi, maps.lib, path
        self._log, self._other_names = log, {}
        self.lib.messages_clear()
        self.handle = self.lib.object_open(str(path).encode())
        if not self.handle:
            raise self._refused()
        try:
            if prefer and self.lib.object_prefer(self.handle, *(name.encode() for name in prefer)):
                self._other_names[prefer[1]] = prefer[0]
            self._fill(constants)
            self._reuse({**maps.fds, **own})
            self._load()
        except BaseException:
            self.close()
            raise

    def _reuse(self, maps: dict[str, int]) -> None:
        for name, fd in maps.items():
            found = self.lib.bpf_object__find_map_by_name(self.handle, name.encode())
            if found and self.lib.bpf_map__reuse_fd(found, fd):
                raise BpfUnavailable(f"{self.path}: map {name} does not take the VM's")

    def _load(self) -> None:
        """What libbpf says meanwhile is this thread's."""
        if self.lib.bpf_object__load(self.handle):
            raise self._refused()
        self.lib.messages_clear()

    def _refused(self) -> BpfUnavailable:
        """What libbpf and the kernel said of it."""
        from .verifier import explain
        error, length, log = os.strerror(self.ffi.errno), self.ffi.new("size_t *"), self._log
        text = self.lib.messages_text(length)
        said = self.ffi.buffer(text, length[0])[:] if text else b""
        self.lib.messages_clear()
        if log:
            log.add(said)
        return BpfUnavailable(explain(self.path, error, said, log.path if log else None))

    def _fill(self, constants: dict[str, bytes]) -> None:
        for name, value in constants.items():
            place = self._place(name)
            if place is None:
                continue        # this object has no use for it
            if len(place) != len(value):
                raise BpfUnavailable(f"{self.path}: {name} of {len(place)} bytes; wanted {len(value)}")
            place[:] = value

    def _place(self, name: str):
        """A constant's bytes in .rodata, or None."""
        at = self.ffi.NULL
        while at := self.lib.bpf_object__next_map(self.handle, at):
            if self.ffi.string(self.lib.bpf_map__name(at)).endswith(b".rodata"):
                break
        length, size = self.ffi.new("uint32_t *"), self.ffi.new("size_t *")
        offset = self.lib.constant_place(self.handle, name.encode(), length)
        if not at or offset < 0:
            return None
        start = self.ffi.cast("char *", self.lib.bpf_map__initial_value(at, size))
        return self.ffi.buffer(start + offset, length[0])

    def constant(self, name: str) -> bytes:
        """A constant of the object, as it was built or filled in."""
        place = self._place(name)
        if place is None:
            raise BpfUnavailable(f"{self.path}: no constant {name}")
        return bytes(place)

    def program(self, name: str) -> int:
        """Descriptor of a program, or of the one that was preferred."""
        fd = self.lib.program_fd(self.handle, self._other_names.get(name, name).encode())
        if fd < 0:
            raise BpfUnavailable(f"{self.path}: no program {name}")
        return fd

    def map(self, name: str) -> int:
        """Descriptor of a map, which stays the object's."""
        fd = self.lib.bpf_object__find_map_fd_by_name(self.handle, name.encode())
        if fd < 0:
            raise BpfUnavailable(f"{self.path}: no map {name}")
        return fd

    def run(self, name: str, *arguments: int) -> int:
        """Run a tracepoint's program once, on this thread, with its arguments (BPF_PROG_RUN)."""
        result = self.lib.run_program(self.program(name), arguments, len(arguments))
        if result < 0:
            raise BpfUnavailable(f"{self.path}: running {name}: {os.strerror(-result)}")
        return result

    def close(self) -> None:
        self.lib.bpf_object__close(self.handle)     # NULL is none
        self.handle = self.ffi.NULL

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_) -> None:
        self.close()

