"""What a network device is plugged into: a TAP interface, or a UNIX datagram socket.

Both carry whole packets behind a virtio-net header of 12 bytes (Linux, Documentation/networking/
tuntap.rst; drivers/net/tun.c).  Descriptors stay blocking: io_uring polls only such ones.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
from pathlib import Path

from ..devmodel.devices.net import HEADER_BYTES
from ..errors import UserError

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ, TUNGETFEATURES, TUNGETIFF = \
    0x400454ca, 0x400454d0, 0x400454d8, 0x800454cf, 0x800454d2     # linux/if_tun.h
TUNSETQUEUE = 0x400454d9
IFF_ATTACH_QUEUE, IFF_DETACH_QUEUE = 0x0200, 0x0400
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x0100, 0x1000, 0x4000
OFFLOAD_CSUM, OFFLOAD_TSO4, OFFLOAD_TSO6, OFFLOAD_ECN, OFFLOAD_UFO = 1, 2, 4, 8, 16
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFMTU, SIOCSIFMTU, IFF_UP = 0x8913, 0x8914, 0x8921, 0x8922, 1   # linux/sockios.h
NAME_BYTES = 16         # IFNAMSIZ


class BackendError(UserError):
    """A network device cannot be plugged in as asked."""


def receive(fd: int, buffer: memoryview) -> int:
    """One packet, without waiting; its length.  Raises BlockingIOError if there is none, and OSError."""
    try:
        return os.preadv(fd, [buffer], -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    if not select.select([fd], [], [], 0)[0]:      # a TAP before Linux 6.4; nobody else reads it
        raise BlockingIOError
    return os.readv(fd, [buffer])


def send(fd: int, packet: bytes) -> None:
    """One packet, without waiting.  Raises OSError, BlockingIOError among them."""
    try:
        os.pwritev(fd, [packet], -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        os.write(fd, packet)        # which a TAP takes at once, or not at all


class Tap:
    """A TAP interface, one descriptor for each queue pair.  One that we make goes when we do."""

    takes_at_once = True    # it takes a packet at once, or not at all

    def __init__(self, name: str = "", fds: list[int] | None = None, queues: int = 1, mtu: int | None = None):
        self.fds: list[int] = []
        self.offloads = True
        try:
            if fds:
                self._take(fds, queues)
            else:
                self._open(name, queues)
            self._several = len(self.fds) > 1
            self._attached = [True] * len(self.fds)
            self._set_up(mtu)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str, queues: int) -> None:
        if not 0 < len(os.fsencode(name)) < NAME_BYTES:
            raise BackendError(f"TAP {name!r}; wanted a name of 1 to {NAME_BYTES - 1} bytes")
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0)
        for _ in range(queues):
            try:
                self.fds.append(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
                fcntl.ioctl(self.fds[-1], TUNSETIFF, struct.pack("16sH22x", os.fsencode(name), flags))
            except OSError as error:
                raise BackendError(f"TAP {name}: {error.strerror}; wanted {self._hint(error, queues)}") from None
        self.name = name

    @staticmethod
    def _hint(error: OSError, queues: int) -> str:
        if error.errno == errno.ENOENT:
            return "/dev/net/tun: load the module tun"
        if error.errno in (errno.EPERM, errno.EACCES):
            return "CAP_NET_ADMIN, or an interface made for this user: ip tuntap add"
        if error.errno == errno.EBUSY:
            return "one that no other process has open"
        if error.errno == errno.EINVAL:
            return f"an interface made as tap, with vnet_hdr{' and multi_queue' if queues > 1 else ''}"
        return "a TAP interface"

    def _take(self, fds: list[int], queues: int) -> None:
        if len(fds) != queues:
            raise BackendError(f"{len(fds)} descriptors for {queues} queue pairs; wanted one each")
        for fd in fds:
            try:
                answer = fcntl.ioctl(fd, TUNGETIFF, bytes(40))
            except OSError as error:
                raise BackendError(f"descriptor {fd}: {error.strerror}; wanted an open TAP") from None
            name, flags = struct.unpack_from("16sH", answer)
            if not flags & IFF_VNET_HDR or not flags & IFF_TAP or not flags & IFF_NO_PI:
                raise BackendError(f"descriptor {fd}: flags {flags:#x}; wanted a TAP with vnet_hdr and no_pi")
            self.fds.append(os.dup(fd))
            os.set_blocking(self.fds[-1], True)
        self.name = os.fsdecode(name.rstrip(b"\0"))

    def _set_up(self, mtu: int | None) -> None:
        for fd in self.fds:
            fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", HEADER_BYTES))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            try:
                self.mtu = self._interface(control, SIOCGIFMTU)
            except OSError:
                raise BackendError(f"TAP {self.name}: not in this network namespace; wanted it here") from None
            try:
                if mtu:
                    self._interface(control, SIOCSIFMTU, mtu)
                    self.mtu = mtu
                self._interface(control, SIOCSIFFLAGS, self._interface(control, SIOCGIFFLAGS) & 0xffff | IFF_UP)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EACCES):
                    raise BackendError(f"TAP {self.name}: {error.strerror}; wanted to set it up") from None

    def _interface(self, control: socket.socket, request: int, value: int = 0) -> int:
        """A setting of the interface, read or written (netdevice(7); by netlink the library's import alone
        took longer than the rest of the start)."""
        answer = fcntl.ioctl(control, request, struct.pack("16sI20x", os.fsencode(self.name), value))
        return struct.unpack_from("16xI", answer)[0]

    def set_active(self, pairs: int) -> None:
        """Take part with the first `pairs` descriptors: the host spreads packets over those."""
        for i, fd in enumerate(self.fds if self._several else ()):
            wanted = i < pairs
            if wanted != self._attached[i]:
                flag = IFF_ATTACH_QUEUE if wanted else IFF_DETACH_QUEUE
                fcntl.ioctl(fd, TUNSETQUEUE, struct.pack("16sH22x", b"", flag))
                self._attached[i] = wanted

    def set_offload(self, csum: bool, tso4: bool, tso6: bool, ecn: bool, ufo: bool) -> None:
        """What the guest takes unfinished (its driver negotiated it)."""
        flags = sum(bit for bit, on in ((OFFLOAD_CSUM, csum), (OFFLOAD_TSO4, tso4), (OFFLOAD_TSO6, tso6),
                                        (OFFLOAD_ECN, ecn), (OFFLOAD_UFO, ufo)) if on and csum)
        for fd in self.fds:
            try:
                fcntl.ioctl(fd, TUNSETOFFLOAD, flags)
            except OSError:     # a kernel without UFO
                fcntl.ioctl(fd, TUNSETOFFLOAD, flags & ~OFFLOAD_UFO)

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.pop())


class Socket:
    """A UNIX datagram socket whose peer takes and gives packets: a path, or one end of a pair."""

    offloads = False
    takes_at_once = False   # its peer may be slow
    mtu = 1500

    def __init__(self, path: Path | None = None, connected: list[socket.socket] | None = None):
        self.sockets = connected or [self._connect(path)]
        self.fds = [s.fileno() for s in self.sockets]
        self.name = str(path or "socket pair")
        for each in self.sockets:
            each.setblocking(True)

    @staticmethod
    def _connect(path: Path) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            made.bind("")           # a name of the kernel's, so that the peer can answer
            made.connect(str(path))
        except OSError as error:
            made.close()
            raise BackendError(f"socket {path}: {error.strerror}; wanted a bound UNIX datagram socket") from None
        return made

    def set_active(self, _pairs: int) -> None:
        """Each pair has a socket of its own."""

    def set_offload(self, *_wanted: bool) -> None:
        """A socket's packets are always whole."""

    def close(self) -> None:
        for each in self.sockets:
            each.close()
