"""`splitvmm bench`: what to measure, and what to do with rows that were saved."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from pathlib import Path

from ..errors import UserError
from . import options as parse
from . import standard

WHAT = {"exits": "the exit path itself, and the longest visits of a handler to a queue",
        "blk": "block requests", "net": "packets", "linux": "a Linux guest's disk, network and boot",
        "shadow": "consistent reads of a disk's shared state while a guest runs",
        "start": "a VM's start, from that of the process to the guest's first instruction",
        "host": "what the VMs of a host cost each other: beside idle ones, and beside a hostile one"}
PEERS = {"exits": (), "blk": ("qemu",), "net": ("qemu",), "linux": ("qemu", "vhost"), "shadow": (), "start": ("qemu",),
         "host": ()}
VMS, QUICK_VMS = "1,8,64", "1,2"


def add(commands) -> None:
    bench = commands.add_parser(
        "bench", help="time exits, block requests, packets or a Linux guest, with offload off and on",
        description="Time the exit path, block requests, packets, a Linux guest's disk and network, or reads of shared "
        "state, in several modes, interleaved in one run; compare two such runs, or draw one.")
    bench.set_defaults(parser=bench)
    parts = bench.add_subparsers(title="what to do", metavar="WHAT", required=True)
    for what, meaning in WHAT.items():
        measured = parts.add_parser(what, help=f"time {meaning}", description=f"Time {meaning}.")
        measured.set_defaults(func=measure, parser=measured, what=what)
        _add_measuring(measured, what)
    _add_compare(parts)
    _add_draw(parts)


def _add_measuring(measured: ArgumentParser, what: str) -> None:
    if what == "host":
        measured.set_defaults(modes="on")
        measured.add_argument("--vms", metavar="LIST", help="how many VMs with offload on there are, the measured one "
                              f"included (default: {VMS}; with --quick {QUICK_VMS})")
    else:
        measured.add_argument("--modes", metavar="LIST", default=",".join(parse.MODES),
                              help="which modes to compare (default: off,host,on)")
    measured.add_argument("--peer", metavar="LIST", default="", help="run the same guest there as well: "
                          + {"linux": "qemu, vhost (QEMU with the kernel's network device)"}.get(what, "qemu")
                          if PEERS[what] else SUPPRESS)
    if what == "exits":
        measured.add_argument("--executors", metavar="LIST", help="instead, drivers that go through many "
                              "registers in a row, on KVM alone and with partial emulation: so many basic blocks "
                              "after an exit, or auto, as it pays (0,1,4,16,64,auto, say)")
    measured.add_argument("--one-cpu", action="store_true", help="everything on one CPU")
    measured.add_argument("--directory", metavar="DIR", type=Path, help="where the disk image lies while it is "
                          "measured: its file system counts" if what in ("blk", "linux") else SUPPRESS)
    if what == "blk":
        measured.add_argument("--on", metavar="LIST", help="instead, the quick rows, with an image on each of these "
                              "beside each other: ext4, xfs, tmpfs, block (a loop device, with cache=none); what they "
                              "are made of lies in --directory, and is gone afterwards")
        measured.add_argument("--vcpus", metavar="LIST", help="instead, requests of so many vCPUs at once, 1 to 4, "
                              "each with a queue of its own: how many a second, in sum and of each (1,2,4, say)")
    measured.add_argument("--repeat", metavar="N", default="5", help="repetitions of each row (default: 5, from which "
                          "on compare can tell a change from noise)")
    measured.add_argument("--quick", action="store_true", help="few rows and few requests, for a first look")
    measured.add_argument("--json", metavar="FILE", type=Path, help="write the rows to FILE as well")
    measured.add_argument("--html", metavar="FILE", type=Path, help="draw them to FILE, a page that needs nothing else")
    measured.add_argument("--in-nested", action="store_true", help="in a machine with hardware-style KVM that is "
                          "emulated on this one, built if need be; for hosts whose KVM does not run Linux")


def measure(options) -> int:
    from ..bench.rows import Wanted
    peers = parse.words(options.peer, "--peer") if options.peer else []
    for peer in peers:
        if peer not in PEERS[options.what]:
            raise UserError(f"--peer {peer!r} with {options.what}; wanted "
                            + (" or ".join(PEERS[options.what]) or "none"))
    modes = [parse.choice(mode, "--modes", parse.MODES) for mode in parse.words(options.modes, "--modes")]
    _writable(options.json, "--json")
    _writable(options.html, "--html", options.json)
    wanted = Wanted(options.what, modes, peers, parse.whole(options.repeat, "--repeat", 1, 100), options.quick,
                    options.one_cpu, options.directory, _executors(options), _vcpus(options),
                    _vms(options), _storages(options), options.json, options.html)
    if options.in_nested:
        from ..bench import nested
        return nested.bench(wanted)
    from ..bench import run
    return run.main(wanted)


def _executors(options) -> tuple[str, ...]:
    """Raises UserError."""
    from ..bench.executors import named
    given = getattr(options, "executors", None)
    words = [] if given is None else parse.words(given, "--executors")
    for word in words:
        named(word)
    return tuple(words)


def _vcpus(options) -> tuple[int, ...]:
    """Raises UserError."""
    from ..bench.rows import MOST_VCPUS
    given = getattr(options, "vcpus", None)
    return () if given is None else tuple(parse.whole(word, "--vcpus", 1, MOST_VCPUS)
                                          for word in parse.words(given, "--vcpus"))


def _vms(options) -> tuple[int, ...]:
    """Raises UserError."""
    from ..bench.rows import MOST_VMS
    if options.what != "host":
        return ()
    given = (QUICK_VMS if options.quick else VMS) if options.vms is None else options.vms
    return tuple(parse.whole(word, "--vms", 1, MOST_VMS) for word in parse.words(given, "--vms"))


def _storages(options) -> tuple[str, ...]:
    """Raises UserError."""
    from ..bench.rows import STORAGES
    given = getattr(options, "on", None)
    return () if given is None else tuple(parse.choice(word, "--on", STORAGES) for word in parse.words(given, "--on"))


def _writable(path: Path | None, option: str, *others: Path | None) -> None:
    """Whether it can be, and is none of the others; said before anything is measured.  Raises UserError."""
    if path is None:
        return
    for other in others:
        if other and path.resolve() == other.resolve():
            raise UserError(f"{option} {path}: the same file as {other}; wanted another one")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: no folder {path.parent}; wanted it to be there")
    if not standard.may_write(path):
        raise UserError(f"{option} {path}: {'a folder' if path.is_dir() else 'may not be written'}; wanted a file to "
                        "write")


def _add_compare(parts) -> None:
    compared = parts.add_parser(
        "compare", help="say what changed between two runs beyond noise",
        description="Say which rows of B, a run's --json, are faster or slower than those of A, beyond noise.",
        epilog="The exit status is 0 if no row of ours is slower beyond noise, 1 if one is, and 64 if a file cannot be "
        "used.")
    compared.set_defaults(func=compare, parser=compared)
    compared.add_argument("a", metavar="A.json", type=Path, help="what --json wrote before")
    compared.add_argument("b", metavar="B.json", type=Path, help="and after")
    compared.add_argument("--html", metavar="FILE", type=Path, help="draw it to FILE, a page that needs nothing else")


def compare(options) -> int:
    from ..bench import compare as compared
    _writable(options.html, "--html", options.a, options.b)
    return compared.main(options.a, options.b, options.html)


def _add_draw(parts) -> None:
    drawn = parts.add_parser("draw", help="draw the rows that --json wrote",
                             description="Draw the rows that --json wrote as a page that needs nothing else.")
    drawn.set_defaults(func=draw, parser=drawn)
    drawn.add_argument("rows", metavar="A.json", type=Path, help="what --json wrote")
    drawn.add_argument("html", metavar="FILE", type=Path, help="the page to write")


def draw(options) -> int:
    from ..bench import draw as drawn
    from ..bench import saved
    _writable(options.html, "FILE", options.rows)
    drawn.write(saved.read(options.rows), options.html)
    return 0
