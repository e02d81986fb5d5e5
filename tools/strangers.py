"""What reads bytes of others, fuzzed by atheris for as long as one likes: an input is taken, or refused by an error of
the user's; whatever else is raised is a defect, and the input that raises it is kept in a file.

    pip install atheris
    python -m tools.strangers elf|bzimage|multiboot|recording|vcpu|device|options [libFuzzer's options]

tests/strangers has the same by hypothesis, bounded, as a part of `make test`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from vmm.errors import UserError
from vmm.paths import BUILD

MEMORY = 4 << 20            # bytes of a guest's
INPUT_BYTES = 16384         # of an input, unless -max_len says otherwise
TIMEOUT_S = 10              # for one input, unless -timeout says otherwise
MEMORY_MIB = 2048           # that all of it may take
HDRS_AT, HDRS, ELF, MULTIBOOT = 0x202, b"HdrS", b"\x7fELF\2\1\1", b"\x02\xb0\xad\x1b"


Target = tuple[Callable[[bytes], object], list[bytes]]      # what reads an input, and inputs to begin with


def _guest(put: Callable[[bytes], bytes], *seeds: bytes) -> Target:
    """Loads a guest's file, of which `put` makes one that is looked at."""
    from vmm.boot import boot
    from vmm.kvm.memory import GuestMemory
    memory, path = GuestMemory(MEMORY), Path(mkdtemp()) / "guest"

    def load(data: bytes) -> None:
        path.write_bytes(put(data))
        boot.load(memory, path, "", [], None)
    return load, list(seeds)


def _elf() -> Target:
    """The beginnings of our own guests."""
    return _guest(lambda data: ELF + data, *(path.read_bytes()[len(ELF):INPUT_BYTES] for path in BUILD.glob("*.elf")))


def _bzimage() -> Target:
    """Everything but its magic is free; the seed is of protocol 2.15, with a 64-bit entry."""
    seed = bytearray(INPUT_BYTES - len(HDRS))
    seed[HDRS_AT:HDRS_AT + 2], seed[0x211 - len(HDRS)], seed[0x236 - len(HDRS)] = b"\x0f\x02", 1, 1
    return _guest(lambda data: data[:HDRS_AT].ljust(HDRS_AT, b"\0") + HDRS + data[HDRS_AT:], bytes(seed))


def _recording() -> Target:
    import msgpack

    from vmm.devmodel.recording import FORMAT, VERSION
    from vmm.tracefile.lines import as_json, line
    from vmm.tracefile.reader import FIELDS, Reader
    path = Path(mkdtemp()) / "run.rec"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for event in Reader(path):
            if not (line(event) + as_json(event)).isprintable():
                raise AssertionError(f"{event}: wanted what can be printed")
    header = {"format": FORMAT, "version": VERSION, "monotonic_ns": 0, "wall_ns": 7, "event": FIELDS}
    device = {"device": 0, "name": "disk0", "schema": "blk", "queues": ["q"], "reasons": {8: "x"}, "registers": [
        {"name": "r", "offset": 80, "width": 4, "doorbell": True, "values": {1: "v"}, "bits": [["b", 0, 1, {}]]}]}
    seed = [header, device, [1, 0, 77, 0, 80, 0, 0, 4, 0, 0, 1], {"dropped": 1, "time": 2},
            {"end": "closed", "dropped": 0}]
    return read, [b"".join(map(msgpack.packb, seed))]


def _vcpu() -> Target:
    from vmm.executors.reset import reset
    from vmm.executors.saved import pack, unpack
    from vmm.executors.state import blank, write_all
    state, seed = blank(), blank()
    write_all(seed, reset())
    return lambda data: unpack(data, state), [pack(seed)]


def _device() -> Target:
    from vmm.devmodel import layout_device
    from vmm.devmodel.devices.rng import Rng
    from vmm.devmodel.view import ffi, view_of
    from vmm.sync.snapshot import pack, unpack
    layout = layout_device(Rng)
    raw = ffi.new("uint64_t[]", layout.state.size // 8)
    saved = pack(layout, view_of(layout.state)(int(ffi.cast("uintptr_t", raw)), raw))
    return lambda data: unpack(layout, data), [saved]


def _options() -> Target:
    """Options of `run`, with a line for each."""
    from vmm.cli.main import make_parser
    from vmm.cli.run import _machine_config
    parser = make_parser(only_run=True)

    def parse(data: bytes) -> None:
        words = os.fsdecode(data.replace(b"\0", b"")).splitlines()
        with suppress(SystemExit):
            _machine_config(parser.parse_args(["run", "guest", *(f"--{word}" for word in words)]))
    return parse, [b"disk=a,queues=2,serial=x\nmem=1G", b"net=tap=a,mac=02:00:00:00:00:01\nrng=offload=off",
                   b"flat=0x1000"]


TARGETS: dict[str, Callable[[], Target]] = {
    "elf": _elf, "bzimage": _bzimage, "multiboot": lambda: _guest(lambda data: MULTIBOOT + data, bytes(40)),
    "recording": _recording, "vcpu": _vcpu, "device": _device, "options": _options}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.strangers", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("target", metavar="TARGET", choices=TARGETS, help=", ".join(TARGETS))
    given, more = parser.parse_known_args()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("strangers: no atheris; wanted it installed: pip install atheris")
    with atheris.instrument_imports(include=["vmm"]):
        read, seeds = TARGETS[given.target]()
        from vmm.sync.snapshot import SnapshotError
    corpus = Path(mkdtemp())
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def one(data: bytes) -> None:
        with suppress(UserError, SnapshotError):
            read(data)
    limits = [f"-max_len={INPUT_BYTES}", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MIB}"]
    atheris.Setup([sys.argv[0], *limits, str(corpus), *more], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
