"""What is measured: the rows of each benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

UNROLLED = 32       # the measuring guest's batches come in multiples of this
BENCHES = ("exits", "blk", "net", "linux", "shadow", "start", "host")
MODES = ("off", "host", "on")
PEERS = ("qemu", "vhost")       # modes that are not ours begin so
IDENTITY = ("bench", "mode", "op", "pattern", "bytes", "depth", "wait", "ring", "notify", "cache", "storage", "vcpus",
            "vms", "beside", "placed")
MOST_VCPUS = 4      # of a guest whose vCPUs have a queue each: MOST of guests/vcpus.c
MOST_VMS = 512      # that one host's benchmark may start
STORAGES = ("ext4", "xfs", "tmpfs", "block")    # what images may lie on beside each other
ALWAYS, EVENT = "always", "event"       # when a driver rings: for each batch, or where the device asks for it (2.7.10)
DECLINED = 0.05     # of the requests, from which on a row says why


@dataclass(frozen=True)
class Wanted:
    """One run of a benchmark, as it was asked for; `json` and `html` are the files to write."""

    what: str
    modes: list[str]
    peers: list[str]
    repeat: int = 5
    quick: bool = False
    one_cpu: bool = False
    directory: Path | None = None
    executors: tuple[str, ...] = ()     # of exits: those that dances are measured with, instead
    vcpus: tuple[int, ...] = ()         # of blk: how many are to have a queue each, instead of one with all requests
    vms: tuple[int, ...] = ()           # of host: how many of ours there are, the measured one included
    storages: tuple[str, ...] = ()      # of blk: what the same image is to lie on; none for the folder alone
    json: Path | None = None
    html: Path | None = None


@dataclass(frozen=True)
class BlkCase:
    """One kind of block request; `bytes` each, `depth` of them for one doorbell.  With `vcpus`, by so many at once,
    each of which has a queue of its own."""

    op: str = "read"
    pattern: str = "random"
    bytes: int = 4096
    depth: int = 1
    wait: str = "poll"
    ring: int = 0
    notify: str = ALWAYS
    vcpus: int | None = None

    def cmdline(self, **loop: int) -> str:
        """What the guest is told; `loop` says how long it is to go on."""
        return " ".join(f"{k}={v}" for k, v in {**asdict(self), **loop}.items() if v is not None)


QUICK_BLK = (BlkCase(), BlkCase(wait="interrupt"), BlkCase(depth=32), BlkCase(ring=3),
             BlkCase(ring=3, notify=EVENT), BlkCase(pattern="sequential", bytes=1 << 20), BlkCase(op="write"))
VCPU_BLK = (BlkCase(ring=3), BlkCase(depth=32, ring=3), BlkCase(op="write", ring=3))


def blk_cases() -> list[BlkCase]:
    """Sizes, depths, patterns and directions, then the ways to wait, to run and to ring of 4 KiB."""
    cases = [BlkCase(op, pattern, size, depth)
             for op in ("read", "write") for pattern in ("random", "sequential")
             for size in (512, 4096, 65536, 1 << 20) for depth in (1, 32)]
    base = BlkCase()
    for depth in (1, 32):
        cases += [replace(base, depth=depth, wait="interrupt"), replace(base, depth=depth, ring=3),
                  replace(base, depth=depth, ring=3, notify=EVENT)]
    return cases


@dataclass(frozen=True)
class NetCase:
    """One direction; frames of `bytes`, `depth` of them for one doorbell."""

    op: str
    bytes: int = 64
    depth: int = 1


QUICK_NET = (NetCase("transmit", 64, 32), NetCase("receive"), NetCase("udp-rtt"))


def net_cases() -> list[NetCase]:
    return [*(NetCase("transmit", size, depth) for size in (64, 1500, 65536) for depth in (1, 32)),
            *(NetCase("receive", size) for size in (64, 1500, 65536)), NetCase("udp-rtt")]


@dataclass(frozen=True)
class LinuxCase:
    """What a Linux guest does; `cache` is that of the disk on the host."""

    op: str
    bytes: int = 0
    depth: int = 1
    cache: str | None = None


def linux_disk_cases() -> list[LinuxCase]:
    return [LinuxCase(op, 4096, depth, cache) for cache in ("writeback", "none") for op in ("read", "write")
            for depth in (1, 32)]


def linux_net_cases() -> list[LinuxCase]:
    """TCP is counted in 64 KiB, which is what a large packet carries."""
    return [LinuxCase("ping", 64), *(LinuxCase(f"{protocol}-{direction}", size)
                                     for protocol, size in (("tcp", 65536), ("udp", 64))
                                     for direction in ("send", "receive"))]


@dataclass(frozen=True)
class ExitCase:
    """One way for an access to go: registers of Probe that are written in turn, or one read.  The first
    `coalesced` of the writes, of registers side by side, go into KVM's own ring.  `recorded`: all that is
    done is recorded, too."""

    op: str
    mode: str
    writes: tuple[str, ...] = ()
    read: str = ""
    coalesced: int = 0
    recorded: bool = False


ARGUMENTS = ("posted0", "posted1", "posted2", "posted3")    # of a command, which a driver writes first
EXIT_CASES = (
    ExitCase("claimed", "off", ("claimed",)),
    ExitCase("handled", "on", ("handled",)),
    ExitCase("handled-recorded", "on", ("handled",), recorded=True),
    ExitCase("declined", "on", ("declined",)),
    ExitCase("declined-recorded", "on", ("declined",), recorded=True),
    ExitCase("user-c", "host", ("claimed",)),
    ExitCase("user-python", "off", ("user",)),
    ExitCase("user-python-recorded", "off", ("user",), recorded=True),
    ExitCase("register-read-page", "off", read="constant"),
    ExitCase("register-read-exit", "off", read="counter"),
    ExitCase("user-5", "off", (*ARGUMENTS, "user")),
    ExitCase("coalesced-4-user-1", "off", (*ARGUMENTS, "user"), coalesced=4),
    ExitCase("posted-4-user-1", "on", (*ARGUMENTS, "user")),
    ExitCase("posted-4-handled-1", "on", (*ARGUMENTS, "handled")),
)


def spread(values: list[float]) -> dict:
    """A row's median and range, and what they are of."""
    return {"ns_per_request": round(median(values), 1), "ns_min": round(min(values), 1),
            "ns_max": round(max(values), 1), "ns_each": [round(value, 1) for value in values]}


def identity(row: dict) -> tuple:
    """What makes two rows of two runs the same row."""
    return tuple(notify(row) if key == "notify" else row.get(key) for key in IDENTITY)


def notify(row: dict) -> str:
    """When its driver rings; rows of before that was kept are of one that always does."""
    return row.get("notify", ALWAYS)


def is_peer(row: dict) -> bool:
    return row["mode"].startswith(PEERS)


def declined_share(row: dict) -> float:
    return (row["declined"] or 0) / max(1, row["requests"])


def longer(ratio: float, than: str) -> str:
    """In words, how much longer something takes."""
    if ratio >= 2:
        return f"{ratio:,.1f} times as long as {than}"
    if ratio <= 1 / 2:
        return f"{1 / ratio:,.1f} times as fast as {than}"
    percent = abs(ratio - 1) * 100
    return f"{percent:.{0 if percent >= 10 else 1}f} % {'longer' if ratio >= 1 else 'shorter'} than {than}"


def label(row: dict) -> str:
    """What a row asks for, its mode aside."""
    labels = {"exits": lambda row: row["op"], "blk": _blk_label, "net": _net_label, "linux": _linux_label,
              "shadow": lambda row: f"read {row['op']}", "start": _start_label, "host": _host_label}
    return labels[row["bench"]](row)


def _blk_label(row: dict) -> str:
    size = f"{row['bytes'] >> 10} KiB" if row["bytes"] >= 1024 else f"{row['bytes']} B"
    extra = "" if row["wait"] == "poll" else f", {row['wait']}"
    extra += "" if row["ring"] == 0 else f", ring {row['ring']}"
    extra += "" if notify(row) == ALWAYS else f", {notify(row)} index"
    extra += f", {row['vcpus']} vCPU{'s' if row['vcpus'] > 1 else ''}" if row.get("vcpus") else ""
    extra += f", on {row['storage']}" if row.get("storage") else ""
    return f"{row['op']} {size} x{row['depth']} {row['pattern']}{extra}"


def _net_label(row: dict) -> str:
    return f"{row['op']} {row['bytes']} B" + (f" x{row['depth']}" if row["op"] == "transmit" else "")


def _start_label(row: dict) -> str:
    what = {"first": "first instruction", "end": "its end"}[row["op"]]
    return f"{what}, {row['bytes'] >> 20} MiB" + (f", {row['depth']} at once" if row["depth"] > 1 else "")


def _host_label(row: dict) -> str:
    """What it is, and who is there."""
    if row.get("beside"):
        return f"{host_op(row)}, {row.get('placed')}, beside {row['beside']}"
    return f"{host_op(row)}, {row.get('vms')} VM{'' if row.get('vms') == 1 else 's'}"


def host_op(row: dict) -> str:
    """What a row of `host` is of, whoever is there."""
    return {"claimed": "doorbell claimed", "handled": "doorbell handled", "declined": "doorbell declined",
            "message": "message", "read": "read 4 KiB", "foreign": "doorbell of no VM of ours",
            "start": "start of the last VM"}.get(row["op"], row["op"])


def _linux_label(row: dict) -> str:
    if row["cache"]:
        return f"{row['op']} 4 KiB x{row['depth']}, {'O_DIRECT' if row['cache'] == 'none' else 'cached'}"
    return {"boot": "boot to userspace", "ping": "ping"}.get(row["op"]) or f"{row['op']} {row['bytes']} B"
