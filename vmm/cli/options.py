"""Command-line values: sizes, switches, and `key=value,…` lists as cloud-hypervisor has them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError
from ..values import choice, size, switch, whole

__all__ = ["choice", "size", "switch", "whole"]


def parts(text: str) -> list[str]:
    """What commas part.  One that is written twice is one that belongs to the text."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


def words(text: str, option: str) -> list[str]:
    """`a,b` as a list, each once."""
    found = text.split(",")
    for word in found:
        if found.count(word) > 1:
            raise UserError(f"{option} {text}: {word} given twice; wanted it once")
    return found


def pairs(text: str, option: str, known: tuple[str, ...], first: str = "") -> dict[str, str]:
    """`a=1,b=2` as a dict; without a key, the first value is that of `first`."""
    head, *rest = parts(text)
    if first and head and "=" not in head:
        head = f"{first}={head}"
    return _keyed([head, *rest], text, option, known)


def _keyed(given: list[str], text: str, option: str, known: tuple[str, ...]) -> dict[str, str]:
    found = keyed(given, f"{option} {text}")
    for key in found:
        if key not in known:
            raise UserError(f"{option} {text}: unknown key {key!r}; wanted one of {', '.join(known)}")
    return found


def keyed(given: list[str], what: str) -> dict[str, str]:
    """`["a=1", "b=2"]` as a dict.  Raises UserError, which begins with `what` was given."""
    found: dict[str, str] = {}
    for part in given:
        key, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"{what}: {part!r}; wanted key=value")
        if key in found:
            raise UserError(f"{what}: {key} given twice; wanted it once")
        found[key] = value
    return found


RECORD_SMALLEST = 64 << 10      # bytes
MODES = ("off", "host", "on")
VIRTIO = ("offload", "async", "poll", "idle_us", "transport", "packed")      # keys that every virtio device has


def virtio(given: dict[str, str], option: str, transport: str = "mmio") -> dict:
    """Those keys, as fields of a VirtioConfig; `transport` is the default."""
    from ..machine.config import MOST_IDLE_US, ON_OFF_AUTO, POLL_IDLE_US, TRANSPORTS
    return {"offload": choice(given.get("offload", "auto"), f"{option} offload", ("on", "host", "off", "auto")),
            "asynchronous": choice(given.get("async", "auto"), f"{option} async", ON_OFF_AUTO),
            "poll": choice(given.get("poll", "auto"), f"{option} poll", ON_OFF_AUTO),
            "idle_us": whole(given.get("idle_us", str(POLL_IDLE_US)), f"{option} idle_us", 1, MOST_IDLE_US),
            "transport": choice(given.get("transport", transport), f"{option} transport", TRANSPORTS),
            "packed": switch(given.get("packed", "off"), f"{option} packed")}


def _queue_size(given: dict[str, str], option: str) -> int:
    found = whole(given.get("queue_size", "256"), f"{option} queue_size", 1, 256)
    if found & (found - 1):
        raise UserError(f"{option} queue_size {found}; wanted a power of two")
    return found


def disk(text: str, transport: str = "mmio"):
    """One --disk, as a DiskConfig; `transport` is the default."""
    from ..machine.config import CACHES, DiskConfig
    given = pairs(text, "--disk", ("path", "readonly", "cache", "queues", "queue_size", "serial", "format", *VIRTIO),
                  first="path")
    if not given.get("path"):
        raise UserError(f"--disk {text}: no path; wanted path=FILE")
    return DiskConfig(
        Path(given["path"]), read_only=switch(given.get("readonly", "off"), "--disk readonly"),
        cache=choice(given.get("cache", "writeback"), "--disk cache", CACHES),
        queues=whole(given.get("queues", "1"), "--disk queues", 1, 16), serial=_serial(given.get("serial", "")),
        raw=choice(given["format"], "--disk format", ("raw",)) == "raw" if "format" in given else False,
        queue_size=_queue_size(given, "--disk"), **virtio(given, "--disk", transport))


def _serial(text: str) -> str:
    """A disk's, as the guest can read it."""
    from ..devmodel.devices.blk import ID_BYTES
    if (length := len(os.fsencode(text))) > ID_BYTES:
        raise UserError(f"--disk serial {text!r}: {length} bytes; wanted at most {ID_BYTES}")
    return text


def where(text: str, option: str) -> str:
    """Where output leads, without keys behind it."""
    found, *more = parts(text)
    if more:
        raise UserError(f"{option} {text}: {more[0]!r} behind a comma; wanted nothing, or the comma twice if it "
                        "belongs to the path")
    return found


def console(text: str):
    """One --console, as a ConsoleConfig: where it leads, then keys."""
    from ..machine.config import ConsoleConfig
    found, *rest = parts(text)
    return ConsoleConfig(found, **virtio(_keyed(rest, text, "--console", VIRTIO), "--console"))


def rng(text: str):
    """--rng, as an RngConfig."""
    from ..machine.config import RngConfig
    return RngConfig(**virtio(pairs(text, "--rng", VIRTIO) if text else {}, "--rng"))


def mac(text: str, what: str) -> bytes:
    """`52:54:00:12:34:56` as bytes; a unicast address."""
    try:
        found = bytes(int(part, 16) for part in text.split(":"))
    except ValueError:
        found = b""
    if len(found) != 6 or found[0] & 1:
        raise UserError(f"{what} {text!r}; wanted six hexadecimal bytes with colons, the first one even")
    return found


def net(text: str):
    """One --net, as a NicConfig."""
    from ..devmodel.devices.net import PAIRS
    from ..machine.config import NicConfig
    given = pairs(text, "--net", ("tap", "fd", "socket", "mac", "queues", "mtu", "spoof", "tx_packets", "tx_bytes",
                                  "queue_size", *VIRTIO))
    if sum(key in given for key in ("tap", "fd", "socket")) != 1:
        raise UserError(f"--net {text}: wanted one of tap=NAME, fd=N and socket=PATH")
    own = {"mac": mac(given["mac"], "--net mac")} if "mac" in given else {}
    return NicConfig(
        tap=given.get("tap", ""),
        fds=[whole(fd, "--net fd", 0, 1 << 20) for fd in given["fd"].split(":")] if "fd" in given else None,
        socket=Path(given["socket"]) if "socket" in given else None,
        queues=whole(given.get("queues", "1"), "--net queues", 1, PAIRS),
        mtu=whole(given["mtu"], "--net mtu", 68, 65521) if "mtu" in given else None,
        anti_spoof=choice(given.get("spoof", "allow"), "--net spoof", ("allow", "drop")) == "drop",
        packets_per_s=whole(given.get("tx_packets", "0"), "--net tx_packets", 0, 1 << 40),
        bytes_per_s=whole(given.get("tx_bytes", "0"), "--net tx_bytes", 0, 1 << 50),
        queue_size=_queue_size(given, "--net"), **own, **virtio(given, "--net"))


def executor(text: str):
    """--executor, as an ExecutorConfig."""
    from ..machine.config import EXECUTORS, MOST_BLOCKS, ExecutorConfig
    given = pairs(text, "--executor", ("name", "blocks"), first="name")
    found = ExecutorConfig(choice(given.get("name", ""), "--executor", EXECUTORS))
    if "blocks" in given:
        if found.name != "auto":
            raise UserError(f"--executor {text}: blocks; wanted it with auto alone")
        found.blocks = whole(given["blocks"], "--executor blocks", 0, MOST_BLOCKS)
    return found


def record(text: str):
    """--record, as a RecordConfig."""
    from ..machine.config import RecordConfig
    given = pairs(text, "--record", ("path", "max"), first="path")
    if not given.get("path"):
        raise UserError(f"--record {text}: no path; wanted FILE")
    found = RecordConfig(Path(given["path"]))
    if "max" in given:
        found.most_bytes = size(given["max"], "--record max")
        if found.most_bytes < RECORD_SMALLEST:
            raise UserError(f"--record max={given['max']}; wanted {RECORD_SMALLEST >> 10}K or more")
    return found
